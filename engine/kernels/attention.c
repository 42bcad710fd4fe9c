/* Attention, the portable part: how the vector levels walk a tile, the merge of splits, the end.
 *
 * A tile with few rows (decode) is computed straight from the f16 blocks. With more rows (prefill)
 * each piece of K and V is widened to f32 once into a stack buffer of 8 KB that stays in the first
 * cache, and used by all rows; 64 rows at a time, so that the stack holds for any tile. Neither
 * changes a bit: each element of the result is one fma chain in ascending order, however rows and
 * columns are grouped, and a chain that pauses in memory between two pieces goes on unchanged.
 *
 * Masked tokens: their scores may be computed (a lane of its own each) but are dropped before the
 * softmax; of V only visible rows are ever read, since 0 * NaN would not be 0. */
#include "engine/kernels/attention.h"

#include <assert.h>
#include <math.h>

#include "engine/kernels/attention_ops.h"
#include "engine/kernels/kernel_math.h"

enum {
    BATCH_ROWS = 64,   // rows that share one widening of K and V
    PIECE_COLUMNS = 64 // dimensions widened at a time: 32 * 64 floats
};

/* The visible rows of one batch, without gaps. */
struct batch {
    size_t n_rows;
    const float *q[BATCH_ROWS];
    float *o[BATCH_ROWS];
    float *s[BATCH_ROWS];         // rows of scores
    int32_t first[BATCH_ROWS];
    int32_t visible[BATCH_ROWS];
    float m[BATCH_ROWS];
    float l[BATCH_ROWS];
    float c[BATCH_ROWS];
    size_t source[BATCH_ROWS];    // row in the tile
    _Alignas(64) float scores[BATCH_ROWS][KV_BLOCK_TOKENS];
    _Alignas(64) float piece[KV_BLOCK_TOKENS * PIECE_COLUMNS];
};

/* Takes up to BATCH_ROWS visible rows from row `next` on; returns the first row not looked at. */
static size_t batch_gather(struct batch *batch, const struct attention_tile *tile, size_t next)
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
    batch->n_rows = n;
    return next;
}

/* Asks for columns [column, column + n) of the next group's rows while this group computes: queries
 * and accumulators of a long stack live in the second cache. */
static void prefetch_rows(const struct batch *batch, const struct attention_ops *ops,
                          float *const *rows, size_t row, size_t column, size_t n, int write)
{
    size_t end = row + ops->rows_max < batch->n_rows ? row + ops->rows_max : batch->n_rows;
    for (; row < end; row++) {
        for (size_t i = 0; i < n; i += 16) {
            if (write)
                __builtin_prefetch(rows[row] + column + i, 1, 3);
            else
                __builtin_prefetch(rows[row] + column + i, 0, 3);
        }
    }
}

static void batch_scores(struct batch *batch, const struct attention_ops *ops,
                         const struct attention_tile *tile)
{
    static const float ones[BATCH_ROWS] = {[0 ... BATCH_ROWS - 1] = 1.0f};
    bool widen = batch->n_rows > ops->rows_max;
    size_t step = widen ? PIECE_COLUMNS : tile->head_dim;
    for (size_t d = 0; d < tile->head_dim; d += step) {
        size_t n_k = tile->head_dim - d < step ? tile->head_dim - d : step;
        const uint16_t *k = tile->k + d * KV_BLOCK_TOKENS;
        if (widen)
            ops->widen(k, n_k * KV_BLOCK_TOKENS, batch->piece);
        for (size_t row = 0; row < batch->n_rows; row += ops->rows_max) {
            size_t left = batch->n_rows - row;
            struct attention_product product = {
                .a = batch->q + row,
                .a_first = d,
                .b = widen ? (const void *)batch->piece : k,
                .b_stride = KV_BLOCK_TOKENS,
                .n_k = n_k,
                .c = batch->s + row,
                .n_columns = KV_BLOCK_TOKENS,
                .scale = d > 0 ? ones : NULL,
            };
            prefetch_rows(batch, ops, (float *const *)batch->q, row + ops->rows_max, d, n_k, 0);
            (widen ? ops->product_f32 : ops->product_f16)(&product,
                                                          left < ops->rows_max ? left
                                                                               : ops->rows_max);
        }
    }
}

/* One stretch of tokens [begin, end) for rows that all see it. */
static void values_stretch(const struct attention_ops *ops, bool widened,
                           struct attention_product product, size_t n_rows, size_t begin,
                           size_t end)
{
    product.a_first = begin;
    product.n_k = end - begin;
    size_t element = widened ? sizeof(float) : sizeof(uint16_t);
    product.b = (const char *)product.b + begin * product.b_stride * element;
    (widened ? ops->product_f32 : ops->product_f16)(&product, n_rows);
}

/* o = o * c + p V for a group of rows. What all of them see is one blocked product; what only some
 * of them see before and behind it (the causal edge) is done row by row, in ascending order. */
static void values_group(const struct batch *batch, const struct attention_ops *ops, bool widened,
                         struct attention_product product, size_t row, size_t n_rows)
{
    static const float ones[BATCH_ROWS] = {[0 ... BATCH_ROWS - 1] = 1.0f};
    int32_t begin = 0, end = KV_BLOCK_TOKENS;
    bool ragged = false;
    for (size_t i = row; i < row + n_rows; i++) {
        int32_t last = batch->first[i] + batch->visible[i];
        ragged |= i > row && (batch->first[i] != begin || last != end);
        begin = batch->first[i] > begin ? batch->first[i] : begin;
        end = last < end ? last : end;
    }
    product.a = (const float *const *)batch->s + row;
    product.c = batch->o + row;
    product.scale = batch->c + row;
    if (!ragged) {
        values_stretch(ops, widened, product, n_rows, (size_t)begin, (size_t)end);
        return;
    }
    bool common = begin < end;
    float scale[BATCH_ROWS];
    for (size_t i = 0; i < n_rows; i++) {
        int32_t first = batch->first[row + i];
        int32_t stop = common ? begin : first + batch->visible[row + i];
        scale[i] = batch->c[row + i];
        if (first < stop) {
            struct attention_product one = product;
            one.a += i, one.c += i, one.scale += i;
            values_stretch(ops, widened, one, 1, (size_t)first, (size_t)stop);
            scale[i] = 1.0f;
        }
    }
    if (!common)
        return;
    product.scale = scale;
    values_stretch(ops, widened, product, n_rows, (size_t)begin, (size_t)end);
    for (size_t i = 0; i < n_rows; i++) {
        int32_t stop = batch->first[row + i] + batch->visible[row + i];
        if (end < stop) {
            struct attention_product one = product;
            one.a += i, one.c += i, one.scale = ones;
            values_stretch(ops, widened, one, 1, (size_t)end, (size_t)stop);
        }
    }
}

static void batch_values(struct batch *batch, const struct attention_ops *ops,
                         const struct attention_tile *tile)
{
    bool widen = batch->n_rows > ops->rows_max;
    size_t step = widen ? PIECE_COLUMNS : tile->head_dim;
    size_t begin = KV_BLOCK_TOKENS, end = 0;  // tokens that any row sees
    for (size_t row = 0; widen && row < batch->n_rows; row++) {
        size_t first = (size_t)batch->first[row], last = first + (size_t)batch->visible[row];
        begin = first < begin ? first : begin;
        end = last > end ? last : end;
    }
    for (size_t d = 0; d < tile->head_dim; d += step) {
        size_t n_columns = tile->head_dim - d < step ? tile->head_dim - d : step;
        for (size_t t = begin; widen && t < end; t++)
            ops->widen(tile->v + t * tile->head_dim + d, n_columns,
                       batch->piece + t * PIECE_COLUMNS);
        struct attention_product product = {
            .b = widen ? (const void *)batch->piece : tile->v,
            .b_stride = widen ? PIECE_COLUMNS : tile->head_dim,
            .c_first = d,
            .n_columns = n_columns,
        };
        for (size_t row = 0; row < batch->n_rows; row += ops->rows_max) {
            size_t left = batch->n_rows - row;
            prefetch_rows(batch, ops, batch->o, row + ops->rows_max, d, n_columns, 1);
            values_group(batch, ops, widen, product, row,
                         left < ops->rows_max ? left : ops->rows_max);
        }
    }
}

void attention_tile_run(const struct attention_ops *ops, const struct attention_tile *tile)
{
    struct batch batch;
    for (size_t next = 0; next < tile->n_rows;) {
        next = batch_gather(&batch, tile, next);
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
                     size_t head_dim)
{
    assert(head_dim % 16 == 0);
    if (l_b == 0.0f)
        return;
    float m = math_max(m_b, *m_a);
    float scale_a = math_exp(*m_a - m), scale_b = math_exp(m_b - m);
    *m_a = m;
    *l_a = *l_a * scale_a + l_b * scale_b;
    for (size_t d = 0; d < head_dim; d += 4) {
        f32x4 o = load4(o_a + d) * scale_a + load4(o_b + d) * scale_b;
        memcpy(o_a + d, &o, sizeof o);
    }
}

void attention_finish(const float *o, float l, float *out, size_t head_dim)
{
    assert(head_dim % 16 == 0);
    for (size_t d = 0; d < head_dim; d += 4) {
        f32x4 v = l == 0.0f ? (f32x4){0} : load4(o + d) / l;
        memcpy(out + d, &v, sizeof v);
    }
}

float kernel_exp(float x)
{
    return math_exp(x);
}
