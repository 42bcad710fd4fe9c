/* Causal attention of one KV group for all rows of a step, grouped-query.
 *
 * Memory and plan of one model; the plan is made once a step and used by every layer of the group.
 * Owned by the scheduler thread; compute workers have scratch of their own. */
#ifndef WICARA_MODEL_ATTENTION_H
#define WICARA_MODEL_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/pool.h"
#include "engine/cache/kv_cache.h"
#include "engine/kernels/kernels.h"

struct attention_shape {
    size_t n_heads;
    size_t n_kv_heads;  // stacks of query heads, each over one stored head
    size_t head_dim;    // of q and k
    size_t window;      // visible tokens, 0 = all
    size_t value_dim;   // of v and of the output
    size_t kv_share;    // neighbouring stacks that read the same stored head: 1, but for latent
                        // attention, whose one head is cut into stacks that suit the cores
};

/* Adjacent rows of one sequence, few enough that a stack of their heads suits the cache. */
struct attention_unit {
    const int32_t *blocks;  // block table of the sequence
    size_t first_row;       // in the step
    size_t n_rows;
    int32_t position;    // of the first row; the others follow
    size_t first_split;  // splits [first_split, first_split + n_splits) hold visible tokens
    size_t n_splits;
    size_t first_state;  // in `states`, or STATE_NONE when one item does all splits
};

/* The task of one worker: one kv head of a unit, all of its splits or one. */
struct attention_item {
    uint32_t unit;
    uint32_t kv_head;
    uint32_t first_split;
    uint32_t n_splits;
};

/* Softmax states (m, l, o) of a stack of query rows. */
struct attention_states {
    float *m;   // [n]
    float *l;   // [n]
    float **o;  // [n] pointers to [value_dim]
    float *o_memory;
};

/* One worker's stack. */
struct attention_worker {
    const float **q;                // [stack_max] pointers to [head_dim]
    int32_t *n_visible;             // [stack_max]
    int32_t *n_first;               // [stack_max]
    struct attention_states split;  // [stack_max] of the running split
    struct attention_states total;  // [stack_max] merged so far
};

struct attention {
    struct attention_shape shape;
    size_t rows_max;
    size_t stack_max;  // query rows of one item
    size_t n_workers;
    size_t states_max;
    size_t items_max;
    struct attention_unit *units;      // [rows_max]
    struct attention_item *items;      // [items_max]
    struct attention_states states;    // [states_max] of units whose splits are separate items
    struct attention_worker *workers;  // [n_workers]
    void *memory;
    size_t bytes;

    size_t n_units, n_items, n_states, n_state_rows;  // the plan of this step
};

/* False when memory is out. ctx_size bounds the splits of a sequence. */
bool attention_init(struct attention *attention, const struct attention_shape *shape,
                    size_t rows_max, size_t ctx_size, size_t n_workers);
void attention_release(struct attention *attention);
/* Bytes that attention_init() will map; 0 when they do not fit a size. */
size_t attention_bytes(const struct attention_shape *shape, size_t rows_max, size_t ctx_size,
                       size_t n_workers);

/* Plan: begin, then one call for each run of rows of a sequence in row order, then end. */
void attention_plan_begin(struct attention *attention);
void attention_plan_run(struct attention *attention, const int32_t *blocks, size_t first_row,
                        size_t n_rows, int32_t position);
void attention_plan_end(struct attention *attention, size_t n_threads);

/* q [n_rows, q_stride] f32, n_heads * head_dim columns, is rotated and scaled; out [value_dim] f32
 * of a row and a head at row * out_stride + head * out_head_stride is overwritten. K and V of all
 * positions up to each row's own are read as they are stored in layer `layer` of `group`. */
struct attention_call {
    const struct kernels *kernels;
    const struct kv_cache *cache;
    size_t group;
    size_t layer;
    const float *q;
    size_t q_stride;
    float *out;
    size_t out_stride;
    size_t out_head_stride;
    const float *sinks;  // [n_heads] logit that joins each head's softmax, or NULL
};
void attention_run(struct attention *attention, struct pool *pool,
                   const struct attention_call *call);

#endif
