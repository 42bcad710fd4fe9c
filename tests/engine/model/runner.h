/* A tiny model opened for tests, and the ways to push tokens through it. */
#ifndef WICARA_TESTS_RUNNER_H
#define WICARA_TESTS_RUNNER_H

#include "engine/base/mem.h"
#include "engine/model/model.h"
#include "tests/engine/model/tiny_model.h"

enum { RUNNER_ROWS = 320, RUNNER_BLOCKS = 128 };

struct runner {
    struct model_file *file;
    struct model *model;
    struct pool *pool;
    struct kv_cache *cache;
    size_t n_vocab;
};

static inline enum status runner_open_class(struct runner *r, const struct tiny_model *tiny,
                                            enum cpu_level level, size_t n_threads, bool precise,
                                            struct error *err)
{
    char path[64];
    const struct kernels *kernels;
    *r = (struct runner){.n_vocab = tiny->n_vocab};
    enum status status = kernels_get(level, &kernels, err);
    if (status == OK && !tiny_model_write(tiny, path))
        status = error_set(err, ERR_IO, "cannot write the tiny model");
    if (status != OK)
        return status;
    status = model_file_open(&r->file, path, err);
    if (status == OK)
        status = pool_create(&r->pool, n_threads, err);
    struct model_options options = {.kernels = kernels,
                                    .rows_max = RUNNER_ROWS,
                                    .outputs_max = RUNNER_ROWS,
                                    .is_precise = precise};
    if (status == OK)
        status = model_open(&r->model, r->file, &options, r->pool, err);
    unlink(path);
    if (status != OK)
        return status;
    uint8_t root[SHA256_BYTES];
    model_digest(r->model, root);
    size_t n_blocks[KV_GROUPS_MAX];
    for (size_t g = 0; g < KV_GROUPS_MAX; g++)
        n_blocks[g] = RUNNER_BLOCKS;
    return kv_cache_create(&r->cache, model_kv_layout(r->model), n_blocks, root, true, err);
}

static inline enum status runner_open(struct runner *r, const struct tiny_model *tiny,
                                      enum cpu_level level, size_t n_threads, struct error *err)
{
    return runner_open_class(r, tiny, level, n_threads, false, err);
}

static inline void runner_close(struct runner *r)
{
    kv_cache_free(r->cache);
    model_close(r->model);
    pool_free(r->pool);
    model_file_close(r->file);
}

static inline struct sequence *runner_sequence(struct runner *r)
{
    static const uint8_t TENANT[32] = {1};
    struct sequence *s;
    return sequence_create(&s, r->cache, TINY_CTX, TENANT, NULL) == OK ? s : NULL;
}

/* A conversation in a step: its tokens, how many are stored, how many come next. */
struct feed {
    struct sequence *sequence;
    const int32_t *tokens;
    size_t n_rows;
    float *logits;  // [n_rows, n_vocab] out
};

/* One step over all feeds, in order. */
static inline enum status runner_step(struct runner *r, const struct feed *feeds, size_t n_feeds)
{
    static struct step_row rows[RUNNER_ROWS];
    const struct sequence *sequences[16];
    size_t n = 0;
    for (size_t f = 0; f < n_feeds; f++) {
        size_t first = sequence_tokens(feeds[f].sequence);
        enum status status = sequence_reserve(feeds[f].sequence, first + feeds[f].n_rows, NULL);
        if (status != OK)
            return status;
        sequences[f] = feeds[f].sequence;
        for (size_t i = 0; i < feeds[f].n_rows; i++)
            rows[n++] = (struct step_row){.sequence = (int32_t)f,
                                          .position = (int32_t)(first + i),
                                          .token = feeds[f].tokens[first + i],
                                          .outputs = ROW_LOGITS};
    }
    float *logits = mem_alloc_array(n, r->n_vocab * sizeof(float));
    struct step step = {.rows = rows,
                        .n_rows = n,
                        .sequences = sequences,
                        .n_sequences = n_feeds,
                        .logits = logits};
    enum status status = logits ? model_forward(r->model, r->pool, r->cache, &step) : ERR_MEMORY;
    for (size_t f = 0, row = 0; f < n_feeds && status == OK; row += feeds[f++].n_rows) {
        memcpy(feeds[f].logits, logits + row * r->n_vocab,
               feeds[f].n_rows * r->n_vocab * sizeof(float));
        sequence_commit(feeds[f].sequence, feeds[f].tokens,
                        sequence_tokens(feeds[f].sequence) + feeds[f].n_rows);
    }
    mem_free(logits);
    return status;
}

/* Tokens up to n_tokens in steps of at most `chunk`; logits [n_tokens, n_vocab] of what ran. */
static inline enum status runner_prefill(struct runner *r, struct sequence *s,
                                         const int32_t *tokens, size_t n_tokens, size_t chunk,
                                         float *logits)
{
    enum status status = OK;
    while (status == OK && sequence_tokens(s) < n_tokens) {
        size_t first = sequence_tokens(s), left = n_tokens - first;
        struct feed feed = {s, tokens, left < chunk ? left : chunk, logits + first * r->n_vocab};
        status = runner_step(r, &feed, 1);
    }
    return status;
}

#endif
