/* Inside of the model: what is open and the scratch of a step. Shared by model.c and forward.c. */
#ifndef WICARA_MODEL_MODEL_STATE_H
#define WICARA_MODEL_MODEL_STATE_H

#include "engine/model/attention.h"
#include "engine/model/config.h"
#include "engine/model/model.h"
#include "engine/model/rope.h"
#include "engine/model/weights.h"

/* Buffers of one step, R = rows_max rows. Strides of product outputs are multiples of 16. */
struct scratch {
    float *x;              // [R, n_embd] residual stream
    float *y;              // [R, y_stride] output of the attention or feed-forward block
    float *wide;           // [R, qkv_stride] q | k | v, then [R, ff_stride] gate | up
    float *input;          // [R, input_cols] input of the next product, f32
    struct q8_rows q8;     // the same quantised, R rows of up to input_cols; n_cols set by the user
    float *cos_sin;        // [R, n_rot] rope angles of each row
    int32_t *row_block;    // [R] KV block of each row's position
    uint32_t *output_row;  // [R] step rows that have logits, in order
    size_t y_stride;
    size_t qkv_stride, k_offset, v_offset;  // floats
    size_t ff_stride, up_offset;            // floats
    size_t input_cols;
    void *memory;
    size_t bytes;
};

struct model {
    struct model_config config;
    struct model_weights weights;
    struct rope rope;
    struct kv_layout kv_layout;
    struct model_info info;
    const struct kernels *kernels;
    struct account *account;  // holds account_bytes of ACCOUNT_SCRATCH, or NULL
    size_t account_bytes;
    size_t rows_max;
    size_t outputs_max;
    size_t ctx_size;
    size_t n_workers;  // most threads of a pool that forward may be given
    bool is_measured;  // model_measure(): sizes are known, nothing is in memory
    struct scratch scratch;
    struct attention attention;
    char *name;          // info.name
    float *frequencies;  // rope.frequencies
    uint8_t digest[SHA256_BYTES];
};

#endif
