/* What a request that says nothing is sampled with, where it is not the API's own default: values
 * from the model's file (general.sampling.* of a GGUF file, generation_config.json of a checkpoint)
 * and, over them, those of the option `sampling`. Included by engine.h. */
#ifndef WICARA_ENGINE_ENGINE_SAMPLING_H
#define WICARA_ENGINE_ENGINE_SAMPLING_H

#include <stddef.h>

#include "engine/base/error.h"

struct model_file;

enum { SAMPLING_FIELDS = 8, SAMPLING_TEXT_BYTES = 320 };

enum sampling_origin { SAMPLING_BUILT_IN, SAMPLING_FROM_MODEL, SAMPLING_FROM_OPTION };

struct engine_sampling {
    struct {
        enum sampling_origin origin;
        double value;  // in the field's range; 0 when built in
    } fields[SAMPLING_FIELDS];
};

/* A field's name in a request ("temperature"); field < SAMPLING_FIELDS. */
const char *engine_sampling_name(size_t field);

/* Takes the file's values (NULL: none), then those of `option`: "NAME=VALUE,..."; "builtin" first
 * in it leaves the file's values out; NULL = "". What the file has outside a field's range, or
 * cannot be done here (mirostat), is logged and not taken. ERR_INVALID naming the option. */
enum status engine_sampling_read(struct engine_sampling *out, const struct model_file *file,
                                 const char *option, struct error *err) MUST_CHECK;

/* "temperature=0.6,top_p=0.95", "" when all are built in. */
void engine_sampling_text(const struct engine_sampling *sampling, char out[SAMPLING_TEXT_BYTES]);

#endif
