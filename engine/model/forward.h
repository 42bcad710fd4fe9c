/* Inside of the forward pass: what all parts of a step share. Included by forward.c and the blocks
 * that it calls (attention_block.c, mla.c, ffn.c, moe.c). */
#ifndef WICARA_MODEL_FORWARD_H
#define WICARA_MODEL_FORWARD_H

#include "engine/model/model_state.h"

struct forward {
    struct model *model;
    struct pool *pool;
    const struct kv_cache *cache;
    const struct step *step;
    size_t n_rows;
    size_t n_outputs;
    size_t n_scores;
};

/* ---- row passes ---- */

typedef void row_fn(const struct forward *f, const void *arguments, size_t row);

/* fn for rows [0, n_rows); n_floats tells how much one row works on. A small pass runs on the
 * caller alone, because waking the others costs more than the work. */
void each_row(const struct forward *f, size_t n_rows, size_t n_floats, row_fn *fn,
              const void *arguments);

/* Input of the next products: f32 rows in scratch.input, and quantised when a consumer is. */
struct activations input_of(const struct forward *f, size_t n_rows, size_t n_cols, bool q8);
/* Quantises one row of x, when x has a quantised form. */
void quantize_input(const struct forward *f, const struct activations *x, size_t row);
/* The same as a row pass; arguments is the struct activations. */
row_fn quantize_input_row;

/* x += y (the block before), then input = norm(x) with `weight`, for the rows of `to`. `before` is
 * the block that left y: its bias is added, and a mixture of experts is summed up here. */
enum block_before { BEFORE_NOTHING, BEFORE_ATTENTION, BEFORE_FEED_FORWARD };
struct norm_pass {
    enum block_before before;
    size_t layer;  // of the block before
    const float *weight;
    const uint32_t *source;  // step row of each row of the pass, or NULL for all rows
    struct activations to;
};
void norm_rows(const struct forward *f, const struct norm_pass *pass);
/* Norm in front of layer `layer`'s attention, to rows that are quantised when `q8`. */
struct norm_pass norm_before_attention(const struct forward *f, size_t layer, bool q8);

/* ---- blocks ---- */

/* Each leaves its output in scratch.y, without the bias, from the residual stream. */
void attention_block(const struct forward *f, size_t layer);
void mla_block(const struct forward *f, size_t layer);
void feed_forward_block(const struct forward *f, size_t layer);
/* Leaves pairs; moe_sum_row() makes y of them. */
void moe_block(const struct forward *f, size_t layer);
/* y of one row: shared expert, then the chosen ones by their weights, best first. */
void moe_sum_row(const struct forward *f, size_t layer, size_t row);

/* One row's K and V of layer `layer` into their block, rounded to f16; v NULL when K holds it. */
void store_kv(const struct forward *f, size_t layer, size_t row, const float *k, const float *v);

#endif
