/* The engine's second door: models as files. Fetching, finding, removing and looking into them,
 * without an engine that runs. Beside engine.h and base/ the only header that the server includes.
 *
 * hub_pull() makes "org/repo[:quant]" complete in the cache shared with huggingface_hub;
 * local_models_read() lists what is on this machine, whoever downloaded it; engine_inspect() looks
 * into one; engine_doctor() looks at the machine. */
#ifndef WICARA_ENGINE_ENGINE_MODELS_H
#define WICARA_ENGINE_ENGINE_MODELS_H

#include "engine/engine_doctor.h"
#include "engine/engine_inspect.h"
#include "engine/formats/hub_pull.h"
#include "engine/formats/local_models.h"

#endif
