/* Text to token ids and back, exact against the model's reference tokenizer.
 *
 * Immutable after opening; encode and piece may run in several threads at once. Byte-level BPE and
 * SPM are chosen by the file. Works for every byte string, valid UTF-8 or not. */
#ifndef WICARA_TOKENIZER_TOKENIZER_H
#define WICARA_TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/prompt_text.h"

struct model_file;
struct tokenizer;

enum { TOKEN_NONE = -1 };

struct token_list {
    int32_t *ids;  // mem_free through token_list_release
    size_t n_ids;
    size_t capacity;
};
void token_list_release(struct token_list *list);

/* Reads tokenizer.ggml.* of the file. Errors: ERR_FORMAT naming the key and token, ERR_UNSUPPORTED
 * naming the model or pre-tokenizer and what is supported, ERR_MEMORY. */
enum status tokenizer_open(struct tokenizer **out, const struct model_file *file,
                           struct error *err) MUST_CHECK;
void tokenizer_close(struct tokenizer *tokenizer);

size_t tokenizer_vocab(const struct tokenizer *tokenizer);  // number of tokens
int32_t tokenizer_bos(const struct tokenizer *tokenizer);   // or TOKEN_NONE
int32_t tokenizer_eos(const struct tokenizer *tokenizer);   // or TOKEN_NONE
bool tokenizer_adds_bos(const struct tokenizer *tokenizer);
bool tokenizer_is_eog(const struct tokenizer *tokenizer, int32_t id);      // ends a generation
bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id);  // never shown
/* Control or user-defined: the model writes it whole. */
bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id);

/* Markers around what is before and behind the text to fill in. False when the model has none. */
struct fim_tokens {
    int32_t prefix, suffix, middle;
};
bool tokenizer_fim(const struct tokenizer *tokenizer, struct fim_tokens *out);

/* Appends the ids of `text` to `out`. With add_special, BOS (and EOS) are added as the file asks,
 * a BOS that the text itself starts with is not doubled. On an error `out` is as before.
 * Errors: ERR_LIMIT when more than tokens_max ids come out (0 = no limit), ERR_MEMORY. */
enum status tokenizer_encode(const struct tokenizer *tokenizer, const struct prompt_text *text,
                             bool add_special, size_t tokens_max, struct token_list *out,
                             struct error *err) MUST_CHECK;

/* The bytes that the token stands for: raw bytes after the byte-level map, `\u2581` as a space for
 * SPM, the text of a control token. They may be part of a UTF-8 character. Valid as long as the
 * tokenizer; id must be in [0, vocab). */
const char *tokenizer_piece(const struct tokenizer *tokenizer, int32_t id, size_t *n_bytes);

/* The token's text as it stands in the vocabulary ("\u0120the"). */
const char *tokenizer_token_text(const struct tokenizer *tokenizer, int32_t id, size_t *n_bytes);

/* Id of a token by its vocabulary text, or TOKEN_NONE. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *text, size_t n_bytes);

#endif
