/* Compiled grammars by the digest of their source; see cache.h.
 *
 * Two requests that ask for the same new grammar at once both compile it, and the second one's is
 * dropped. */
#include "engine/grammar/cache.h"

#include <pthread.h>

#include "engine/base/mem.h"
#include "engine/base/sha256.h"
#include "engine/grammar/vocabulary.h"

struct entry {
    uint8_t key[SHA256_BYTES];
    struct grammar *grammar;  // NULL = free
    uint64_t last_use;
};

struct grammar_cache {
    const struct tokenizer *tokenizer;
    size_t n_tokens;
    pthread_mutex_t mu;
    struct vocabulary *vocabulary;           /* guarded by mu until made, then immutable */
    struct entry entries[GRAMMAR_CACHE_MAX]; /* guarded by mu */
    uint64_t n_uses;                         /* guarded by mu */
};

enum status grammar_cache_create(struct grammar_cache **out, const struct tokenizer *tokenizer,
                                 size_t n_tokens, struct error *err)
{
    *out = mem_calloc(1, sizeof **out);
    if (*out == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the grammars");
    (*out)->tokenizer = tokenizer;
    (*out)->n_tokens = n_tokens;
    pthread_mutex_init(&(*out)->mu, NULL);
    return OK;
}

void grammar_cache_free(struct grammar_cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < GRAMMAR_CACHE_MAX; i++)
        grammar_unref(cache->entries[i].grammar);
    vocabulary_free(cache->vocabulary);
    pthread_mutex_destroy(&cache->mu);
    mem_free(cache);
}

static void make_key(const struct grammar_source *source, uint8_t key[SHA256_BYTES])
{
    const char *marker = source->free_until != NULL ? source->free_until : "";
    const struct grammar_calls none = {0}, *calls = source->calls != NULL ? source->calls : &none;
    const char *marks[] = {calls->open, calls->close, calls->thought_open, calls->thought_close};
    char head[4 * GRAMMAR_MARKER_BYTES_MAX + 128];
    int n = snprintf(head, sizeof head, "%d %d %zu %d %d %d %d ", (int)source->kind,
                     source->is_strict, source->n_bytes, source->free_until != NULL,
                     source->calls != NULL, calls->is_bare, calls->is_thinking);
    for (size_t i = 0; i < 4; i++) {
        size_t room = sizeof head - (size_t)n;
        int more = snprintf(head + n, room, "%.*s\n", GRAMMAR_MARKER_BYTES_MAX,
                            marks[i] != NULL ? marks[i] : "");
        n += more;
    }
    sha256(key, head, (size_t)n, source->text, source->n_bytes, marker, strlen(marker));
}

/* With the lock. */
static struct grammar *find(struct grammar_cache *cache, const uint8_t key[SHA256_BYTES])
{
    for (size_t i = 0; i < GRAMMAR_CACHE_MAX; i++) {
        struct entry *entry = &cache->entries[i];
        if (entry->grammar == NULL || memcmp(entry->key, key, SHA256_BYTES) != 0)
            continue;
        entry->last_use = ++cache->n_uses;
        return grammar_ref(entry->grammar);
    }
    return NULL;
}

static struct entry *least_recent(struct grammar_cache *cache, const struct entry *but)
{
    struct entry *found = NULL;
    for (size_t i = 0; i < GRAMMAR_CACHE_MAX; i++) {
        struct entry *entry = &cache->entries[i];
        if (entry->grammar != NULL && entry != but &&
            (found == NULL || entry->last_use < found->last_use))
            found = entry;
    }
    return found;
}

/* With the lock. Dropped grammars go on living with the jobs that use them. */
static void insert(struct grammar_cache *cache, const uint8_t key[SHA256_BYTES],
                   struct grammar *grammar)
{
    struct entry *entry = NULL;
    size_t n_bytes = 0;
    for (size_t i = 0; i < GRAMMAR_CACHE_MAX; i++)
        if (cache->entries[i].grammar == NULL)
            entry = &cache->entries[i];
        else
            n_bytes += grammar_bytes(cache->entries[i].grammar);
    if (entry == NULL)
        entry = least_recent(cache, NULL);
    grammar_unref(entry->grammar);
    memcpy(entry->key, key, SHA256_BYTES);
    entry->grammar = grammar_ref(grammar);
    entry->last_use = ++cache->n_uses;
    for (struct entry *last; n_bytes > GRAMMAR_CACHE_BYTES_MAX;) {
        last = least_recent(cache, entry);
        if (last == NULL)
            return;
        size_t bytes = grammar_bytes(last->grammar);
        n_bytes -= bytes < n_bytes ? bytes : n_bytes;
        grammar_unref(last->grammar);
        last->grammar = NULL;
    }
}

enum status grammar_cache_get(struct grammar_cache *cache, const struct grammar_source *source,
                              struct grammar **out, struct error *err)
{
    uint8_t key[SHA256_BYTES];
    make_key(source, key);
    *out = NULL;
    pthread_mutex_lock(&cache->mu);
    enum status status = OK;
    if (cache->vocabulary == NULL)
        status = vocabulary_create(&cache->vocabulary, cache->tokenizer, cache->n_tokens, err);
    else
        *out = find(cache, key);
    pthread_mutex_unlock(&cache->mu);
    if (status != OK || *out != NULL)
        return status;
    status = grammar_compile(out, cache->vocabulary, source, err);
    if (status != OK)
        return status;
    pthread_mutex_lock(&cache->mu);
    struct grammar *other = find(cache, key);
    if (other != NULL) {
        grammar_unref(*out);
        *out = other;
    } else {
        insert(cache, key, *out);
    }
    pthread_mutex_unlock(&cache->mu);
    return OK;
}
