/* What a tokenizer.json says around its model: how a text is normalised, cut into pieces, and put
 * together again. Private to engine/tokenizer. */
#ifndef WICARA_TOKENIZER_PIPELINE_H
#define WICARA_TOKENIZER_PIPELINE_H

#include <stdbool.h>

#include "engine/base/error.h"
#include "engine/tokenizer/pretokenize.h"

struct model_file;

/* Where a text of U+2581 for spaces gets one more in front. */
enum prefix {
    PREFIX_NONE,
    PREFIX_EACH,           // every stretch between added tokens
    PREFIX_EACH_UNMARKED,  // the same, unless it starts with one
    PREFIX_FIRST,          // the stretch at the start of the text, unless it starts with one
};

struct pipeline {
    struct pretokenizer pretokenizer;  // whose stages are `stages`
    pretokenize_cut *stages[PRETOKENIZE_STAGES_MAX + 1];
    enum prefix prefix;      // raw models
    bool strips_space;       // decoding drops the first space
    bool prefix_normalized;  // the prefix comes before added tokens are looked for
};

/* Reads the sections under tokenizer.huggingface.*. ERR_UNSUPPORTED names the part that is not
 * known; ERR_FORMAT, ERR_MEMORY. */
enum status pipeline_read(struct pipeline *pipeline, const struct model_file *file,
                          struct error *err) MUST_CHECK;

#endif
