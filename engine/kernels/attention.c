/* Attention, the portable part: how the vector levels walk a tile, the merge of splits, the end.
 *
 * A tile with few rows (decode) is computed straight from the f16 blocks. With more rows (prefill)
 * each piece of K and V is widened to f32 once into a stack buffer of 8 KB that stays in the first
 * cache, and used by all rows; 64 rows at a time, so that the stack holds for any tile. Neither
 * changes a bit: each element of the result is one fma chain in ascending order, however rows and
 * columns are grouped, and a chain that pauses in memory between two pieces goes on unchanged.
 *
 * Latent attention stores no V: each piece of K is turned while it is widened, whatever the rows.
 *
 * Masked tokens: their scores may be computed (a lane of its own each) but are dropped before the
 * softmax; of V only visible rows are ever read, since 0 * NaN would not be 0. */
#include "engine/kernels/attention.h"

#include <assert.h>
#include <math.h>

#include "engine/kernels/attention_ops.h"
#include "engine/kernels/kernel_math.h"

enum {
    BATCH_ROWS = 64,    // rows that share one widening of K and V
    PIECE_COLUMNS = 64  // dimensions widened at a time: 32 * 64 floats
};

static const float ones[BATCH_ROWS] = {[0 ... BATCH_ROWS - 1] = 1.0f};

/* The visible rows of one batch, without gaps. */
struct batch {
    size_t n_rows;
    size_t group_rows;  // rows of one product: rows_max, or less so that groups are even
    const float *q[BATCH_ROWS];
    float *o[BATCH_ROWS];
    float *s[BATCH_ROWS];  // rows of scores
    int32_t first[BATCH_ROWS];
    int32_t visible[BATCH_ROWS];
    float m[BATCH_ROWS];
    float l[BATCH_ROWS];
    float c[BATCH_ROWS];
    size_t source[BATCH_ROWS];  // row in the tile
    _Alignas(64) float scores[BATCH_ROWS][KV_BLOCK_TOKENS];
    _Alignas(64) float piece[KV_BLOCK_TOKENS * PIECE_COLUMNS];
};

/* Takes up to BATCH_ROWS visible rows from row `next` on; returns the first row not looked at. */
static size_t batch_gather(struct batch *batch, const struct attention_ops *ops,
                           const struct attention_tile *tile, size_t next)
{
    size_t n = 0;
    for (; next < tile->n_rows && n < BATCH_ROWS; next++) {
        if (tile->n_visible[next] <= 0)
            continue;
        batch->q[n] = tile->q[next];
        batch->o[n] = tile->o[next];
        batch->s[n] = batch->scores[n];
        batch->first[n] = tile->n_first[next];
        batch->visible[n] = tile->n_visible[next];
        batch->m[n] = tile->m[next];
        batch->l[n] = tile->l[next];
        batch->source[n] = next;
        n++;
    }
    size_t n_groups = (n + ops->rows_max - 1) / ops->rows_max;
    batch->n_rows = n;
    batch->group_rows = n ? (n + n_groups - 1) / n_groups : 0;
    return next;
}

static void run_product(const struct attention_ops *ops, bool widened,
                        const struct attention_product *product, size_t n_rows)
{
    (widened ? ops->product_f32 : ops->product_f16)(product, n_rows);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void batch_scores(struct batch *batch, const struct attention_ops *ops,
                         const struct attention_tile *tile)
{
    bool widen = batch->n_rows > ops->rows_max;
    size_t step = widen ? PIECE_COLUMNS : tile->head_dim;
    struct attention_product product = {
        .b_stride = KV_BLOCK_TOKENS,
        .n_columns = KV_BLOCK_TOKENS,
        .ahead = tile->v ? tile->v : tile->k,
    };
    for (size_t d = 0; d < tile->head_dim; d += step) {
        const uint16_t *k = tile->k + d * KV_BLOCK_TOKENS;
        product.n_k = smaller(tile->head_dim - d, step);
        product.a_first = d;
        product.scale = d > 0 ? ones : NULL;
        product.b = widen ? (const void *)batch->piece : k;
        if (widen)
            ops->widen(k, 0, 1, product.n_k * KV_BLOCK_TOKENS, batch->piece, 0);
        for (size_t row = 0; row < batch->n_rows; row += batch->group_rows) {
            product.a = batch->q + row;
            product.c = batch->s + row;
            run_product(ops, widen, &product, smaller(batch->n_rows - row, batch->group_rows));
        }
    }
}

/* One stretch of tokens [begin, end) for rows that all see it; product->b is V's token 0. */
static void values_stretch(const struct attention_ops *ops, bool widened,
                           struct attention_product *product, size_t n_rows, size_t begin,
                           size_t end)
{
    const char *token_0 = product->b;
    size_t element = widened ? sizeof(float) : sizeof(uint16_t);
    product->a_first = begin;
    product->n_k = end - begin;
    product->b = token_0 + begin * product->b_stride * element;
    run_product(ops, widened, product, n_rows);
    product->b = token_0;
}

/* Rows that see different tokens (the causal edge, windows). What all of them see, [begin, end), is
 * one blocked product; what only some see before and behind it is done row by row, so that each
 * row goes through its tokens in ascending order. */
static void values_ragged(const struct batch *batch, const struct attention_ops *ops, bool widened,
                          struct attention_product *product, size_t row, size_t n_rows,
                          int32_t begin, int32_t end)
{
    float scale[BATCH_ROWS];
    bool common = begin < end;
    for (size_t i = 0; i < n_rows; i++) {
        int32_t first = batch->first[row + i];
        int32_t stop = common ? begin : first + batch->visible[row + i];
        scale[i] = batch->c[row + i];
        product->a = (const float *const *)batch->s + row + i;
        product->c = batch->o + row + i;
        product->scale = &batch->c[row + i];
        if (first < stop) {
            values_stretch(ops, widened, product, 1, (size_t)first, (size_t)stop);
            scale[i] = 1.0f;
        }
    }
    if (!common)
        return;
    product->a = (const float *const *)batch->s + row;
    product->c = batch->o + row;
    product->scale = scale;
    values_stretch(ops, widened, product, n_rows, (size_t)begin, (size_t)end);
    product->scale = ones;
    for (size_t i = 0; i < n_rows; i++) {
        int32_t stop = batch->first[row + i] + batch->visible[row + i];
        product->a = (const float *const *)batch->s + row + i;
        product->c = batch->o + row + i;
        if (end < stop)
            values_stretch(ops, widened, product, 1, (size_t)end, (size_t)stop);
    }
}

/* o = o * c + p V for a group of rows. */
static void values_group(const struct batch *batch, const struct attention_ops *ops, bool widened,
                         struct attention_product *product, size_t row, size_t n_rows)
{
    int32_t begin = 0, end = KV_BLOCK_TOKENS;
    bool ragged = false;
    for (size_t i = row; i < row + n_rows; i++) {
        int32_t stop = batch->first[i] + batch->visible[i];
        ragged |= i > row && (batch->first[i] != begin || stop != end);
        begin = batch->first[i] > begin ? batch->first[i] : begin;
        end = stop < end ? stop : end;
    }
    if (ragged) {
        values_ragged(batch, ops, widened, product, row, n_rows, begin, end);
        return;
    }
    product->a = (const float *const *)batch->s + row;
    product->c = batch->o + row;
    product->scale = batch->c + row;
    values_stretch(ops, widened, product, n_rows, (size_t)begin, (size_t)end);
}

/* Widens the tokens that any row sees, columns [column, column + n), into the piece. */
static void widen_values(struct batch *batch, const struct attention_ops *ops,
                         const struct attention_tile *tile, size_t column, size_t n)
{
    size_t begin = KV_BLOCK_TOKENS, end = 0;
    if (!tile->v) {
        ops->widen_turned(tile->k + column * KV_BLOCK_TOKENS, n, batch->piece, PIECE_COLUMNS);
        return;
    }
    for (size_t row = 0; row < batch->n_rows; row++) {
        size_t first = (size_t)batch->first[row], stop = first + (size_t)batch->visible[row];
        begin = first < begin ? first : begin;
        end = stop > end ? stop : end;
    }
    ops->widen(tile->v + begin * tile->value_dim + column, tile->value_dim, end - begin, n,
               batch->piece + begin * PIECE_COLUMNS, PIECE_COLUMNS);
}

static void batch_values(struct batch *batch, const struct attention_ops *ops,
                         const struct attention_tile *tile)
{
    bool widen = batch->n_rows > ops->rows_max || !tile->v;
    size_t step = widen ? PIECE_COLUMNS : tile->value_dim;
    const uint16_t *last = tile->v ? tile->v : tile->k;
    struct attention_product product = {
        .b = widen ? (const void *)batch->piece : tile->v,
        .b_stride = widen ? PIECE_COLUMNS : tile->value_dim,
        .ahead = tile->next_k ? tile->next_k : last,
    };
    for (size_t d = 0; d < tile->value_dim; d += step) {
        product.c_first = d;
        product.n_columns = smaller(tile->value_dim - d, step);
        if (widen)
            widen_values(batch, ops, tile, d, product.n_columns);
        for (size_t row = 0; row < batch->n_rows; row += batch->group_rows)
            values_group(batch, ops, widen, &product, row,
                         smaller(batch->n_rows - row, batch->group_rows));
    }
}

void attention_tile_run(const struct attention_ops *ops, const struct attention_tile *tile)
{
    struct batch batch;
    for (size_t next = 0; next < tile->n_rows;) {
        next = batch_gather(&batch, ops, tile, next);
        if (batch.n_rows == 0)
            break;
        batch_scores(&batch, ops, tile);
        struct attention_softmax softmax = {
            .s = batch.s,
            .n_first = batch.first,
            .n_visible = batch.visible,
            .m = batch.m,
            .l = batch.l,
            .c = batch.c,
        };
        ops->softmax(&softmax, batch.n_rows);
        batch_values(&batch, ops, tile);
        for (size_t i = 0; i < batch.n_rows; i++) {
            tile->m[batch.source[i]] = batch.m[i];
            tile->l[batch.source[i]] = batch.l[i];
        }
    }
}

/* Four floats that the compiler keeps in a register of the baseline instruction set; only multiply,
 * add and divide, which every machine rounds alike. */
typedef float f32x4 __attribute__((vector_size(16)));

static f32x4 load4(const float *from)
{
    f32x4 v;
    memcpy(&v, from, sizeof v);
    return v;
}

void attention_merge(float *m_a, float *l_a, float *o_a, float m_b, float l_b, const float *o_b,
                     size_t value_dim)
{
    assert(value_dim % 16 == 0);
    if (l_b == 0.0f)
        return;
    float m = math_max(m_b, *m_a);
    float scale_a = math_exp(*m_a - m), scale_b = math_exp(m_b - m);
    *m_a = m;
    *l_a = *l_a * scale_a + l_b * scale_b;
    for (size_t d = 0; d < value_dim; d += 4) {
        f32x4 o = load4(o_a + d) * scale_a + load4(o_b + d) * scale_b;
        memcpy(o_a + d, &o, sizeof o);
    }
}

void attention_finish(const float *o, float l, float *out, size_t value_dim)
{
    assert(value_dim % 16 == 0);
    for (size_t d = 0; d < value_dim; d += 4) {
        f32x4 v = l == 0.0f ? (f32x4){0} : load4(o + d) / l;
        memcpy(out + d, &v, sizeof v);
    }
}

float kernel_exp(float x)
{
    return math_exp(x);
}
