/* Inside of the model: what is open and the scratch of a step. Shared by model.c and the passes. */
#ifndef WICARA_MODEL_MODEL_STATE_H
#define WICARA_MODEL_MODEL_STATE_H

#include "engine/model/attention.h"
#include "engine/model/carve.h"
#include "engine/model/config.h"
#include "engine/model/model.h"
#include "engine/model/rope.h"
#include "engine/model/weights.h"

/* The rows of a buffer with another number of columns, at most the buffer's. */
static inline struct q8_rows q8_of_width(const struct q8_rows *q8, size_t n_cols)
{
    struct q8_rows rows = *q8;
    rows.n_cols = n_cols;
    return rows;
}

/* Mixture of experts in one step. A pair is a row and one of the experts it goes through; pairs are
 * sorted by expert, rows ascending within one. P = R * n_used pairs. */
struct moe_scratch {
    float *logits;           // [R, logits_stride]: n_experts of the router, then the shared one's
    int32_t *expert;         // [P] choice of (row, slot), best first
    float *weight;           // [P] of (row, slot)
    uint32_t *pair;          // [P] place of (row, slot) among the sorted pairs
    uint32_t *pair_row;      // [P] row of each sorted pair
    int32_t *pair_expert;    // [P] expert of each sorted pair
    uint32_t *first_pair;    // [n_experts + 1] where each expert's pairs begin
    struct weight *weights;  // [3 * (n_experts + 1)] of the experts in use
    struct matmul_part *parts;            // [2 * (n_experts + 1)]
    float *x;                             // [P, n_embd] gathered input; the same memory as out
    struct q8_rows x_q8;                  // [P, n_embd] gathered input
    float *wide;                          // [P, wide_stride] gate | up
    float *hidden;                        // [P, n_ff] input of down
    struct q8_rows hidden_q8;             // [P, n_ff]
    float *out;                           // [P, y_stride]
    float *shared_wide;                   // [R, shared_stride] gate | up
    float *shared_hidden;                 // [R, n_ff_shared]
    struct q8_rows shared_q8;             // [R, n_ff_shared]
    size_t logits_stride, shared_logit;   // floats
    size_t wide_stride, up_offset;        // floats
    size_t shared_stride, shared_offset;  // floats
};

/* Latent attention in one step. */
struct mla_scratch {
    float *low;              // [R, low_stride] q in its low rank, or all of q when it has none | kv
    float *q;                // [R, n_heads * key dim]
    float *by_head;          // [n_heads, R, by_head_cols]: unrotated q, then values in latent space
    struct q8_rows q8;       // the same quantised
    struct weight *weights;  // [n_heads]
    struct matmul_part *parts;  // [n_heads]
    size_t low_stride, kv_offset;
    size_t by_head_cols;
};

/* Buffers of one step, R = rows_max rows. Strides of product outputs are multiples of 16. Buffers
 * of quantised rows have twice the rows that are named in the numerics class precise. */
struct scratch {
    float *x;              // [R, n_embd] residual stream
    float *y;              // [R, y_stride] output of the attention or feed-forward block
    float *wide;           // [R, qkv_stride] q | k | v, then [R, ff_stride] gate | up
    float *input;          // [R, input_cols] input of the next product, f32
    struct q8_rows q8;     // the same quantised, R rows of up to input_cols; n_cols set by the user
    float *cos_sin;        // [R, n_rot] rope angles of each row
    int32_t *row_block;    // [n_groups, R] KV block of each row's position
    uint32_t *output_row;  // [R] step rows with logits, in order; rows to score at the end
    struct moe_scratch moe;
    struct mla_scratch mla;
    size_t y_stride;
    size_t qkv_stride, k_offset, v_offset;  // floats
    size_t ff_stride, up_offset;            // floats
    size_t input_cols;
    void *memory;
    size_t bytes;
};

/* Where a layer's keys and values are. */
struct layer_place {
    size_t group;
    size_t layer;  // within the group
};

struct model {
    struct model_config config;
    struct model_weights weights;
    struct rope rope;
    struct kv_layout kv_layout;
    struct layer_place *places;  // [n_layers]
    struct model_info info;
    const struct kernels *kernels;
    struct account *account;  // holds account_bytes of ACCOUNT_SCRATCH, or NULL
    size_t account_bytes;
    size_t rows_max;
    size_t outputs_max;
    size_t ctx_size;
    bool is_precise;   // numerics class
    size_t n_workers;  // most threads of a pool that forward may be given
    bool is_measured;  // model_measure(): sizes are known, nothing is in memory
    struct scratch scratch;
    struct attention attention[KV_GROUPS_MAX];  // [kv_layout.n_groups]
    char *name;                                 // info.name
    float *frequencies;                         // rope.frequencies
    uint8_t digest[SHA256_BYTES];
};

/* Cuts the scratch out of one mapping; without memory it only counts (scratch.c). */
bool scratch_lay_out(struct scratch *scratch, const struct model *model, uint8_t *memory);

#endif
