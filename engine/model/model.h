/* A loaded model: configuration, packed weights, and the forward pass over one step.
 *
 * Several models can be open at once; nothing is global. A model is used by one thread at a time
 * (the scheduler thread), its step work is spread over the pool. forward allocates nothing: scratch
 * is sized at open for rows_max rows. */
#ifndef WICARA_MODEL_MODEL_H
#define WICARA_MODEL_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/account.h"
#include "engine/base/error.h"
#include "engine/base/pool.h"
#include "engine/base/sha256.h"
#include "engine/cache/kv_cache.h"
#include "engine/cache/sequence.h"
#include "engine/formats/model_file.h"
#include "engine/kernels/kernels.h"

struct model;

struct model_options {
    const struct kernels *kernels;
    size_t rows_max;     // most rows in a step
    size_t outputs_max;  // most rows with logits in a step
    size_t ctx_size;     // tokens of one sequence (rope tables), 0 = the file's training context
    bool is_precise;     // numerics class: activations of quantised products have a rest (matmul.h)
    struct account *account;
};

/* Reads and packs the weights with the pool. Errors: ERR_UNSUPPORTED naming the architecture or
 * tensor type and what is supported (before anything large is allocated), ERR_FORMAT naming the key
 * or tensor, ERR_IO, ERR_MEMORY, ERR_LIMIT. */
enum status model_open(struct model **out, const struct model_file *file,
                       const struct model_options *options, struct pool *pool,
                       struct error *err) MUST_CHECK;
void model_close(struct model *model);

/* What model_open() would take, by the same plans, without reading a weight; errors are the same.
 * `n_threads` is what the pool would have. */
struct model_needs {
    size_t ctx_size, n_vocab;
    size_t weight_bytes, scratch_bytes;
    struct kv_layout kv_layout;
};
enum status model_measure(struct model_needs *out, const struct model_file *file,
                          const struct model_options *options, size_t n_threads,
                          struct error *err) MUST_CHECK;

struct model_info {
    const char *architecture;  // "llama"
    const char *name;          // general.name or ""
    size_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, n_vocab;
    size_t ctx_train;  // the file's context_length
    size_t ctx_size;   // positions that forward accepts
    uint64_t n_parameters;
    size_t weight_bytes;  // packed
    size_t scratch_bytes;
};
const struct model_info *model_info(const struct model *model);
const struct kv_layout *model_kv_layout(const struct model *model);
/* Digest of everything that KV contents depend on (weights, KV type and layout, numerics class,
 * rope settings): the root of the prefix cache and the source of system_fingerprint. */
void model_digest(const struct model *model, uint8_t out[SHA256_BYTES]);

/* Purposes for which a row's output is computed. */
enum row_output {
    ROW_NONE = 0,
    ROW_LOGITS = 1 << 0,  // logits after this row, for sampling
    ROW_SCORE = 1 << 1,   // logits after this row, for step.score; not together with ROW_LOGITS
};

struct step_row {
    int32_t sequence;  // index into step.sequences
    int32_t position;  // position of the token in its sequence
    int32_t token;     // id in [0, n_vocab)
    uint32_t outputs;  // enum row_output bits
};

/* One flat batch. Rows of a sequence are adjacent and ascend by one in position; blocks for all
 * positions are reserved; positions below the sequence's first row are stored. */
struct step {
    const struct step_row *rows;
    size_t n_rows;  // <= rows_max
    const struct sequence *const *sequences;
    size_t n_sequences;
    float *logits;  // [rows with ROW_LOGITS, n_vocab] f32, in row order; [outputs_max, n_vocab] for
                    // tiles of the rows with ROW_SCORE before that
    /* Called by worker 0 for tiles of the rows with ROW_SCORE, in their order: `first` counts them,
     * logits [n, n_vocab] are gone when it returns. All rows' logits never exist at once. It must
     * not allocate; it may use the pool. NULL when no row has ROW_SCORE. */
    void (*score)(void *context, size_t first, size_t n, const float *logits);
    /* Asked between layers by worker 0: true = nobody wants this step any more. May be NULL. */
    bool (*abandoned)(void *context);
    void *context;
};

/* `pool` has at most as many threads as the one given to model_open(). Returns
 * OK, or ERR_CANCELLED when the step was abandoned (KV of its positions is then undefined).
 * Shapes are asserted. */
enum status model_forward(struct model *model, struct pool *pool, const struct kv_cache *cache,
                          const struct step *step) MUST_CHECK;

#endif
