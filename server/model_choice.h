/* Which model is served: from --model, --hf-repo or the default, to a path and a name. */
#ifndef WICARA_SERVER_MODEL_CHOICE_H
#define WICARA_SERVER_MODEL_CHOICE_H

#include <signal.h>

#include "engine/base/error.h"
#include "engine/engine.h"
#include "server/options.h"

enum { MODEL_PATH_BYTES = 4096, MODEL_ID_BYTES = 256 };

struct model_choice {
    char path[MODEL_PATH_BYTES];  // a file, or a checkpoint's folder
    char id[MODEL_ID_BYTES];      // its name in the API, unless there is an alias
};

/* --model takes a path or a name that `wicara models` lists; --hf-repo is downloaded where it is
 * not in the cache, with progress on stderr, until one of `signals` arrives. Of the two the one
 * that was said more closely (flag, environment, config file) wins. */
enum status model_choose(struct model_choice *out, const struct options_state *state,
                         const sigset_t *signals, struct error *err) MUST_CHECK;

/* The model that a name or a path means, already on this machine. */
enum status model_find(struct model_choice *out, const char *name, struct error *err) MUST_CHECK;

/* The settings as the engine takes them; the texts are borrowed. */
struct engine_options model_engine_options(const struct model_choice *model,
                                           const struct options *options);

#endif
