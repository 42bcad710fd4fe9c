/* What the engine makes of its options: shared by opening a model and by saying what opening one
 * would take, so that the two cannot differ. */
#ifndef WICARA_ENGINE_ENGINE_DEFAULTS_H
#define WICARA_ENGINE_ENGINE_DEFAULTS_H

#include <stddef.h>

#include "engine/cache/kv_size.h"
#include "engine/engine.h"
#include "engine/model/model.h"

/* Puts the defaults where the numbers are 0; ctx_size and kv_bytes wait for the model. */
void engine_fill_defaults(struct engine_options *options);
/* Rows of guessed tokens in one step. */
size_t engine_draft_rows(const struct engine_options *options);
/* How the model is opened under filled options; without an account. */
struct model_options engine_model_options(const struct engine_options *options,
                                          const struct kernels *kernels);

/* How full the KV cache can get under filled options. */
struct kv_demand engine_kv_demand(const struct engine_options *options);
/* Blocks of the KV pools: kv_bytes, else a quarter of the free memory (0 = not known), and no more
 * than all sequences of ctx_size need. 0 when not one fits into *bytes, the limit meant. */
size_t engine_kv_blocks(const struct engine_options *options, const struct kv_layout *layout,
                        size_t ctx_size, size_t available, size_t *bytes);

/* The tokenizer and the embedding must have equally many tokens: ERR_FORMAT. */
enum status engine_check_vocab(size_t n_vocab, size_t n_tokens, struct error *err) MUST_CHECK;

/* Shows the file's matrices as options->quantize asks, if it does; ERR_INVALID for another type. */
enum status engine_quantize_file(const struct engine_options *options, struct model_file *file,
                                 struct error *err) MUST_CHECK;

#endif
