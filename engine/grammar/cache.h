/* The grammars of one model: compiled when they are first asked for, kept while there is room.
 *
 * Thread-safe. Compiling happens in the caller's thread, outside of the lock. */
#ifndef WICARA_GRAMMAR_CACHE_H
#define WICARA_GRAMMAR_CACHE_H

#include "engine/grammar/grammar.h"

struct tokenizer;
struct grammar_cache;

enum {
    GRAMMAR_CACHE_MAX = 64,               // grammars kept
    GRAMMAR_CACHE_BYTES_MAX = 256 << 20,  // of all of them; the least recently used one goes
};

/* n_tokens: logits of the model. The vocabulary's tree is built with the first grammar.
 * ERR_MEMORY. */
enum status grammar_cache_create(struct grammar_cache **out, const struct tokenizer *tokenizer,
                                 size_t n_tokens, struct error *err) MUST_CHECK;
void grammar_cache_free(struct grammar_cache *cache);  // all grammars must have been released

/* A reference to the grammar of this source. Errors as grammar_compile(). */
enum status grammar_cache_get(struct grammar_cache *cache, const struct grammar_source *source,
                              struct grammar **out, struct error *err) MUST_CHECK;

#endif
