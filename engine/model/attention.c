/* Attention of a step: how it is cut into tasks, and what one task does.
 *
 * Arithmetic (kernels/attention.h): a row's tokens are walked in tiles of 32 (KV blocks), the
 * softmax state starts anew at every absolute multiple of 256 tokens (a split), and the splits are
 * merged in ascending order into an empty state. That order is the same in every phase; the cutting
 * below only decides who computes which split, so it may depend on anything without changing a bit.
 *
 * Cutting: rows of one sequence form units of up to STACK_ROWS / (heads per kv head) rows; one item
 * is one kv head of a unit, so that a tile is read once for the whole stack. When one item would
 * hold more than its share of the step's work (few rows over a long context), the unit's splits
 * become items of their own, leave their states in `states`, and a second pass merges them.
 *
 * Source: Dao et al. 2023, "Flash-Decoding for long-context inference", with absolute splits. */
#include "engine/model/attention.h"

#include <assert.h>
#include <math.h>

#include "engine/base/mem.h"
#include "engine/kernels/attention.h"
#include "engine/model/carve.h"
#include "engine/model/config.h"

enum {
    STACK_ROWS = 64,            // attention_tile() widens K and V once for this many
    ITEMS_A_THREAD = 4,         // fine enough that the last item does not keep all others waiting
    STATE_BYTES_MAX = 1 << 24,  // of o in `states`, but always room for one row
    MERGE_INLINE_FLOATS = 1 << 14,  // less than this is merged sooner than workers wake
    TILES_A_SPLIT = ATTENTION_SPLIT_TOKENS / KV_BLOCK_TOKENS,
};
#define STATE_NONE SIZE_MAX

/* ---- memory ---- */

static void carve_states(struct carve *from, struct attention_states *states, size_t n,
                         size_t value_dim)
{
    states->m = carve(from, n, sizeof *states->m);
    states->l = carve(from, n, sizeof *states->l);
    states->o = carve(from, n, sizeof *states->o);
    states->o_memory = carve(from, n * value_dim, sizeof *states->o_memory);
    for (size_t i = 0; from->memory && i < n; i++)
        states->o[i] = states->o_memory + i * value_dim;
}

static size_t splits_of(size_t n_tokens)
{
    return (n_tokens + ATTENTION_SPLIT_TOKENS - 1) / ATTENTION_SPLIT_TOKENS;
}

/* Bytes in all; 0 when they do not fit a size. */
static size_t lay_out(struct attention *a, uint8_t *memory)
{
    struct carve from = {.memory = memory};
    a->units = carve(&from, a->rows_max, sizeof *a->units);
    a->items = carve(&from, a->items_max, sizeof *a->items);
    carve_states(&from, &a->states, a->states_max, a->shape.value_dim);
    a->workers = carve(&from, a->n_workers, sizeof *a->workers);
    for (size_t w = 0; w < a->n_workers; w++) {
        struct attention_worker unused, *worker = memory ? &a->workers[w] : &unused;
        worker->q = carve(&from, a->stack_max, sizeof *worker->q);
        worker->n_visible = carve(&from, a->stack_max, sizeof *worker->n_visible);
        worker->n_first = carve(&from, a->stack_max, sizeof *worker->n_first);
        carve_states(&from, &worker->split, a->stack_max, a->shape.value_dim);
        carve_states(&from, &worker->total, a->stack_max, a->shape.value_dim);
    }
    return from.overflow ? 0 : from.used;
}

static struct attention sizes(const struct attention_shape *shape, size_t rows_max, size_t ctx_size,
                              size_t n_workers)
{
    struct attention a = {.shape = *shape, .rows_max = rows_max, .n_workers = n_workers};
    size_t gqa = shape->n_heads / shape->n_kv_heads;
    a.stack_max = gqa > STACK_ROWS ? gqa : STACK_ROWS;
    size_t row_states = shape->n_heads * splits_of(ctx_size);
    a.states_max = STATE_BYTES_MAX / (shape->value_dim * sizeof(float));
    if (a.states_max > row_states * rows_max)
        a.states_max = row_states * rows_max;
    if (a.states_max < row_states)
        a.states_max = row_states;
    a.items_max = rows_max * shape->n_kv_heads + a.states_max;
    return a;
}

size_t attention_bytes(const struct attention_shape *shape, size_t rows_max, size_t ctx_size,
                       size_t n_workers)
{
    struct attention a = sizes(shape, rows_max, ctx_size, n_workers);
    return lay_out(&a, NULL);
}

bool attention_init(struct attention *a, const struct attention_shape *shape, size_t rows_max,
                    size_t ctx_size, size_t n_workers)
{
    *a = sizes(shape, rows_max, ctx_size, n_workers);
    a->bytes = lay_out(a, NULL);
    a->memory = mem_map(a->bytes);  // NULL for 0 bytes too
    if (!a->memory)
        return false;
    lay_out(a, a->memory);
    return true;
}

void attention_release(struct attention *a)
{
    mem_unmap(a->memory, a->bytes);
    a->memory = NULL;
}

/* ---- the plan of a step ---- */

/* First token that the row at `position` sees. */
static int32_t first_visible(const struct attention *a, int32_t position)
{
    int32_t window = (int32_t)a->shape.window;
    return window == 0 || position < window ? 0 : position + 1 - window;
}

void attention_plan_begin(struct attention *a)
{
    a->n_units = a->n_items = a->n_states = a->n_state_rows = 0;
}

void attention_plan_run(struct attention *a, const int32_t *blocks, size_t first_row, size_t n_rows,
                        int32_t position)
{
    size_t unit_rows = a->stack_max / (a->shape.n_heads / a->shape.n_kv_heads);
    for (size_t done = 0; done < n_rows; done += unit_rows) {
        assert(a->n_units < a->rows_max);
        struct attention_unit *unit = &a->units[a->n_units++];
        unit->blocks = blocks;
        unit->first_row = first_row + done;
        unit->n_rows = n_rows - done < unit_rows ? n_rows - done : unit_rows;
        unit->position = position + (int32_t)done;
        size_t last = (size_t)unit->position + unit->n_rows - 1;
        unit->first_split = (size_t)first_visible(a, unit->position) / ATTENTION_SPLIT_TOKENS;
        unit->n_splits = last / ATTENTION_SPLIT_TOKENS - unit->first_split + 1;
        unit->first_state = STATE_NONE;
    }
}

/* Work of one item that does all splits of a unit, in query rows times tiles. */
static size_t unit_cost(const struct attention *a, const struct attention_unit *unit)
{
    size_t n_tokens = (size_t)(unit->position - first_visible(a, unit->position)) + unit->n_rows;
    return unit->n_rows * (n_tokens / KV_BLOCK_TOKENS + 1);
}

void attention_plan_end(struct attention *a, size_t n_threads)
{
    size_t cost = 0, n_kv_heads = a->shape.n_kv_heads;
    for (size_t u = 0; u < a->n_units; u++)
        cost += unit_cost(a, &a->units[u]) * n_kv_heads;
    size_t share = cost / (ITEMS_A_THREAD * n_threads);
    for (size_t u = 0; u < a->n_units; u++) {
        struct attention_unit *unit = &a->units[u];
        size_t n_states = unit->n_splits * unit->n_rows * a->shape.n_heads;
        if (n_threads > 1 && unit->n_splits > 1 && unit_cost(a, unit) > share &&
            n_states <= a->states_max - a->n_states) {
            unit->first_state = a->n_states;
            a->n_states += n_states;
            a->n_state_rows += unit->n_rows;
        }
    }
    /* Heads outside, units inside: units of one sequence, or of several with a common prefix, find
     * the head's K and V still in the cache of the core. */
    for (size_t kv_head = 0; kv_head < n_kv_heads; kv_head++) {
        for (size_t u = 0; u < a->n_units; u++) {
            const struct attention_unit *unit = &a->units[u];
            size_t step = unit->first_state == STATE_NONE ? unit->n_splits : 1;
            for (size_t split = 0; split < unit->n_splits; split += step) {
                assert(a->n_items < a->items_max);
                a->items[a->n_items++] = (struct attention_item){(uint32_t)u, (uint32_t)kv_head,
                                                                 (uint32_t)split, (uint32_t)step};
            }
        }
    }
}

/* ---- one item ---- */

struct run {
    struct attention *a;
    const struct attention_call *call;
};

static void states_reset(const struct attention_states *states, size_t n, size_t value_dim)
{
    for (size_t i = 0; i < n; i++) {
        states->m[i] = -INFINITY;
        states->l[i] = 0.0f;
    }
    memset(states->o[0], 0, n * value_dim * sizeof(float));  // the rows are adjacent
}

/* Which of the 32 tokens from `first_token` on each stacked row sees: stack row r belongs to
 * position unit->position + r / gqa. */
static void tile_visibility(const struct attention *a, const struct attention_unit *unit,
                            int32_t first_token, struct attention_worker *worker)
{
    size_t gqa = a->shape.n_heads / a->shape.n_kv_heads;
    for (size_t row = 0; row < unit->n_rows; row++) {
        int32_t position = unit->position + (int32_t)row;
        int32_t first = first_visible(a, position) - first_token;
        int32_t last = position + 1 - first_token;
        first = first > 0 ? first : 0;
        last = last < KV_BLOCK_TOKENS ? last : KV_BLOCK_TOKENS;
        for (size_t h = 0; h < gqa; h++) {
            worker->n_first[row * gqa + h] = first;
            worker->n_visible[row * gqa + h] = last > first ? last - first : 0;
        }
    }
}

/* All tiles of one split, into states that are empty before. */
static void run_split(const struct run *run, const struct attention_unit *unit, size_t kv_head,
                      size_t split, struct attention_worker *worker,
                      const struct attention_states *states)
{
    const struct attention *a = run->a;
    const struct attention_call *call = run->call;
    size_t n_stack = unit->n_rows * (a->shape.n_heads / a->shape.n_kv_heads);
    size_t first = (size_t)first_visible(a, unit->position) / KV_BLOCK_TOKENS;
    size_t last = ((size_t)unit->position + unit->n_rows - 1) / KV_BLOCK_TOKENS;
    first = first > split * TILES_A_SPLIT ? first : split * TILES_A_SPLIT;
    last = last < (split + 1) * TILES_A_SPLIT - 1 ? last : (split + 1) * TILES_A_SPLIT - 1;
    size_t stored = kv_head / a->shape.kv_share;
    states_reset(states, n_stack, a->shape.value_dim);
    for (size_t t = first; t <= last; t++) {
        tile_visibility(a, unit, (int32_t)(t * KV_BLOCK_TOKENS), worker);
        struct attention_tile tile = {
            .k = kv_cache_k(call->cache, call->group, unit->blocks[t], call->layer, stored),
            .v = kv_cache_v(call->cache, call->group, unit->blocks[t], call->layer, stored),
            .next_k = t < last ? kv_cache_k(call->cache, call->group, unit->blocks[t + 1],
                                            call->layer, stored)
                               : NULL,
            .head_dim = a->shape.head_dim,
            .value_dim = a->shape.value_dim,
            .n_rows = n_stack,
            .q = worker->q,
            .n_visible = worker->n_visible,
            .n_first = worker->n_first,
            .m = states->m,
            .l = states->l,
            .o = states->o,
        };
        call->kernels->attention_tile(&tile);
    }
}

/* The end of one (row, head): the sink as a last split, the division, the output. */
static void finish_head(const struct run *run, const struct attention_states *total, size_t state,
                        size_t row, size_t head)
{
    static const float NOTHING[HEAD_DIM_MAX];
    const struct attention_call *call = run->call;
    size_t value_dim = run->a->shape.value_dim;
    if (call->sinks)
        attention_merge(&total->m[state], &total->l[state], total->o[state], call->sinks[head],
                        1.0f, NOTHING, value_dim);
    attention_finish(total->o[state], total->l[state],
                     call->out + row * call->out_stride + head * call->out_head_stride, value_dim);
}

static void run_item(const struct run *run, const struct attention_item *item,
                     struct attention_worker *worker)
{
    const struct attention *a = run->a;
    const struct attention_unit *unit = &a->units[item->unit];
    size_t head_dim = a->shape.head_dim, value_dim = a->shape.value_dim;
    size_t gqa = a->shape.n_heads / a->shape.n_kv_heads;
    size_t n_stack = unit->n_rows * gqa;
    for (size_t r = 0; r < n_stack; r++)
        worker->q[r] = run->call->q + (unit->first_row + r / gqa) * run->call->q_stride +
                       (item->kv_head * gqa + r % gqa) * head_dim;
    if (unit->first_state != STATE_NONE) {
        size_t first =
            unit->first_state + (item->kv_head * unit->n_splits + item->first_split) * n_stack;
        struct attention_states states = {
            .m = a->states.m + first, .l = a->states.l + first, .o = a->states.o + first};
        run_split(run, unit, item->kv_head, unit->first_split + item->first_split, worker, &states);
        return;
    }
    struct attention_states *split = &worker->split, *total = &worker->total;
    states_reset(total, n_stack, value_dim);
    for (size_t s = 0; s < item->n_splits; s++) {
        run_split(run, unit, item->kv_head, unit->first_split + s, worker, split);
        for (size_t r = 0; r < n_stack; r++)
            attention_merge(&total->m[r], &total->l[r], total->o[r], split->m[r], split->l[r],
                            split->o[r], value_dim);
    }
    for (size_t r = 0; r < n_stack; r++)
        finish_head(run, total, r, unit->first_row + r / gqa, item->kv_head * gqa + r % gqa);
}

static void run_items(void *context, size_t first, size_t last, size_t worker)
{
    const struct run *run = context;
    for (size_t i = first; i < last; i++)
        run_item(run, &run->a->items[i], &run->a->workers[worker]);
}

/* ---- merging the splits that were items of their own ---- */

/* One (row, head) of a unit: the merge of run_item() with the states where the items left them. */
static void merge_head(const struct run *run, const struct attention_unit *unit, size_t row,
                       size_t head, struct attention_worker *worker)
{
    const struct attention *a = run->a;
    size_t gqa = a->shape.n_heads / a->shape.n_kv_heads;
    const struct attention_states *total = &worker->total;
    states_reset(total, 1, a->shape.value_dim);
    for (size_t s = 0; s < unit->n_splits; s++) {
        size_t state = unit->first_state + (head / gqa * unit->n_splits + s) * unit->n_rows * gqa +
                       row * gqa + head % gqa;
        attention_merge(&total->m[0], &total->l[0], total->o[0], a->states.m[state],
                        a->states.l[state], a->states.o[state], a->shape.value_dim);
    }
    finish_head(run, total, 0, unit->first_row + row, head);
}

/* Items are the (row, head) pairs of all units with states, counted through. */
static void merge_heads(void *context, size_t first, size_t last, size_t worker)
{
    const struct run *run = context;
    const struct attention *a = run->a;
    size_t begin = 0;
    for (size_t u = 0; u < a->n_units && begin < last; u++) {
        const struct attention_unit *unit = &a->units[u];
        if (unit->first_state == STATE_NONE)
            continue;
        size_t end = begin + unit->n_rows * a->shape.n_heads;
        for (size_t i = first > begin ? first : begin; i < last && i < end; i++)
            merge_head(run, unit, (i - begin) / a->shape.n_heads, (i - begin) % a->shape.n_heads,
                       &a->workers[worker]);
        begin = end;
    }
}

void attention_run(struct attention *a, struct pool *pool, const struct attention_call *call)
{
    struct run run = {.a = a, .call = call};
    assert(pool_threads(pool) <= a->n_workers);
    pool_run(pool, a->n_items, 1, run_items, &run);
    size_t n_pairs = a->n_state_rows * a->shape.n_heads;
    if (a->n_states * a->shape.value_dim < MERGE_INLINE_FLOATS)
        merge_heads(&run, 0, n_pairs, 0);
    else
        pool_run(pool, n_pairs, 1, merge_heads, &run);
}
