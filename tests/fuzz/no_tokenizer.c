/* The tokenizer functions that engine/grammar/vocabulary.c refers to, for programs that make their
 * vocabularies from plain items and never call them. */
#include <assert.h>

#include "engine/tokenizer/tokenizer.h"

size_t tokenizer_vocab(const struct tokenizer *tokenizer)
{
    (void)tokenizer;
    return 0;
}

bool tokenizer_is_eog(const struct tokenizer *tokenizer, int32_t id)
{
    (void)tokenizer;
    (void)id;
    return false;
}

bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id)
{
    (void)tokenizer;
    (void)id;
    return false;
}

const char *tokenizer_piece(const struct tokenizer *tokenizer, int32_t id, size_t *n_bytes)
{
    (void)tokenizer;
    (void)id;
    *n_bytes = 0;
    return "";
}
