/* The forward pass over one step, top to bottom as in the paper.
 *
 * Shape of the work: products over all rows of the step (their work is cut over output rows),
 * attention (cut over rows, kv heads and splits), and between them passes over single rows: norm,
 * bias, rope, activation, quantisation of the next product's input. A row pass of a small step runs
 * on the caller alone, because waking the others costs more than the work. Nothing here depends on
 * how many rows there are, which thread does what, or what the other rows are: the bits of a row
 * are a function of its token, its position and the stored K and V.
 *
 * K and V are rounded to f16 when they are stored and only read as stored, also by rows of the same
 * step, so that a prompt in one piece, in chunks, or found in the prefix cache gives the same bits.
 *
 * Source: Vaswani et al. 2017; Touvron et al. 2023 (llama); checked by tests/golden/model. */
#include <assert.h>

#include "engine/base/mem.h"
#include "engine/kernels/pack.h"
#include "engine/model/model_state.h"

enum { ROW_PASS_INLINE_FLOATS = 6144 };  // about 1 us of work, what two workers' wake-up costs

/* What all passes of a step share. */
struct forward {
    struct model *model;
    struct pool *pool;
    const struct kv_cache *cache;
    const struct step *step;
    size_t n_rows;
    size_t n_outputs;
};

/* ---- row passes ---- */

typedef void row_fn(const struct forward *f, const void *arguments, size_t row);

struct row_pass {
    const struct forward *f;
    row_fn *fn;
    const void *arguments;
};

static void row_pass_slice(void *context, size_t first, size_t last, size_t worker)
{
    (void)worker;
    const struct row_pass *pass = context;
    for (size_t row = first; row < last; row++)
        pass->fn(pass->f, pass->arguments, row);
}

/* fn for rows [0, n_rows); n_floats tells how much one row works on. */
static void each_row(const struct forward *f, size_t n_rows, size_t n_floats, row_fn *fn,
                     const void *arguments)
{
    struct row_pass pass = {f, fn, arguments};
    if (n_rows == 0)
        return;
    if (n_rows == 1 || n_rows * n_floats <= ROW_PASS_INLINE_FLOATS)
        row_pass_slice(&pass, 0, n_rows, 0);
    else
        pool_run(f->pool, n_rows, 1 + ROW_PASS_INLINE_FLOATS / 4 / n_floats, row_pass_slice, &pass);
}

/* Input of the next products: f32 rows in scratch.input, and quantised when a consumer is. */
static struct activations input_of(const struct forward *f, size_t n_rows, size_t n_cols, bool q8)
{
    const struct scratch *s = &f->model->scratch;
    struct activations x = {.f32 = s->input, .n_rows = n_rows, .n_cols = n_cols};
    if (q8)
        x.q8 = (struct q8_rows){s->q8.q, s->q8.d, s->q8.sum, n_cols};
    return x;
}

static void quantize_input(const struct forward *f, const struct activations *x, size_t row)
{
    if (!x->q8.q)
        return;
    size_t n_blocks = x->n_cols / ACT_BLOCK;
    f->model->kernels->quantize_q8(x->f32 + row * x->n_cols, x->n_cols, x->q8.q + row * x->n_cols,
                                   x->q8.d + row * n_blocks, x->q8.sum + row * n_blocks);
}

static void embed_row(const struct forward *f, const void *arguments, size_t row)
{
    (void)arguments;
    const struct model *model = f->model;
    const struct weight *embedding = &model->weights.embedding;
    size_t token = (size_t)f->step->rows[row].token;
    const uint8_t *panel =
        (const uint8_t *)embedding->panels + token / PANEL_ROWS * embedding->panel_bytes;
    unpack_row(embedding->dtype, embedding->n_cols, panel, token % PANEL_ROWS,
               model->scratch.x + row * embedding->n_cols);
    rope_angles(&model->rope, f->step->rows[row].position,
                model->scratch.cos_sin + row * model->rope.n_rot);
}

/* x += y (the block before, with its bias), then input = norm(x). */
struct norm_pass {
    bool add;
    const float *bias;  // of y, or NULL
    const float *weight;
    const uint32_t *source;  // step row of each row of the pass, or NULL for all rows
    struct activations to;
};

static void norm_row(const struct forward *f, const void *arguments, size_t row)
{
    const struct norm_pass *pass = arguments;
    const struct model *model = f->model;
    size_t n_embd = model->config.n_embd, from = pass->source ? pass->source[row] : row;
    float *x = model->scratch.x + from * n_embd, *y = model->scratch.y;
    y += from * model->scratch.y_stride;
    if (pass->bias)
        model->kernels->add(y, pass->bias, n_embd);
    if (pass->add)
        model->kernels->add(x, y, n_embd);
    model->kernels->rms_norm(x, pass->weight, n_embd, model->config.rms_epsilon,
                             model->scratch.input + row * n_embd);
    quantize_input(f, &pass->to, row);
}

static void norm_rows(const struct forward *f, struct norm_pass pass)
{
    each_row(f, pass.to.n_rows, pass.to.n_cols, norm_row, &pass);
}

/* Bias and norm of q, k and v, rope, and K and V into their blocks. */
struct position_pass {
    const struct layer_weights *layer;
    size_t n_layer;
};

/* One head of q or k: its own norm where the family has one, then the rotation. */
static void position_head(const struct model *model, float *head, const float *norm,
                          const float *cos_sin)
{
    const struct model_config *config = &model->config;
    if (norm)
        model->kernels->rms_norm(head, norm, config->head_dim, config->rms_epsilon, head);
    model->kernels->rope(head, cos_sin, config->rope.n_rot, config->arch->rope_neox);
}

/* One row's K goes into a column of its block, V into a row of it. */
static void store_kv(const struct forward *f, size_t n_layer, size_t row, const float *k,
                     const float *v)
{
    const struct model *model = f->model;
    size_t head_dim = model->config.head_dim;
    size_t slot = (size_t)f->step->rows[row].position % KV_TOKENS_PER_BLOCK;
    uint16_t half[HEAD_DIM_MAX];
    for (size_t head = 0; head < model->config.n_kv_heads; head++) {
        int32_t block = model->scratch.row_block[row];
        uint16_t *k_column = kv_cache_k(f->cache, 0, block, n_layer, head) + slot;
        uint16_t *v_row = kv_cache_v(f->cache, 0, block, n_layer, head) + slot * head_dim;
        model->kernels->f32_to_f16(k + head * head_dim, head_dim, half);
        for (size_t d = 0; d < head_dim; d++)
            k_column[d * KV_TOKENS_PER_BLOCK] = half[d];
        model->kernels->f32_to_f16(v + head * head_dim, head_dim, v_row);
    }
}

static void position_row(const struct forward *f, const void *arguments, size_t row)
{
    const struct position_pass *pass = arguments;
    const struct layer_weights *layer = pass->layer;
    const struct model *model = f->model;
    const struct model_config *config = &model->config;
    const struct scratch *s = &model->scratch;
    size_t head_dim = config->head_dim;
    size_t n_q = config->n_heads * head_dim, n_kv = config->n_kv_heads * head_dim;
    float *q = s->wide + row * s->qkv_stride, *k = q + s->k_offset, *v = q + s->v_offset;
    const float *cos_sin = s->cos_sin + row * model->rope.n_rot;
    if (layer->q_bias)
        model->kernels->add(q, layer->q_bias, n_q);
    if (layer->k_bias)
        model->kernels->add(k, layer->k_bias, n_kv);
    if (layer->v_bias)
        model->kernels->add(v, layer->v_bias, n_kv);
    for (size_t head = 0; head < config->n_heads; head++)
        position_head(model, q + head * head_dim, layer->q_norm, cos_sin);
    for (size_t head = 0; head < config->n_kv_heads; head++)
        position_head(model, k + head * head_dim, layer->k_norm, cos_sin);
    for (size_t i = 0; i < n_q; i++)
        q[i] *= config->attention_scale;
    store_kv(f, pass->n_layer, row, k, v);
}

static void quantize_row(const struct forward *f, const void *arguments, size_t row)
{
    quantize_input(f, arguments, row);
}

struct silu_pass {
    const struct layer_weights *layer;
    struct activations to;
};

static void silu_row(const struct forward *f, const void *arguments, size_t row)
{
    const struct silu_pass *pass = arguments;
    const struct model *model = f->model;
    size_t n_ff = model->config.n_ff;
    float *gate = model->scratch.wide + row * model->scratch.ff_stride;
    float *up = gate + model->scratch.up_offset;
    if (pass->layer->gate_bias)
        model->kernels->add(gate, pass->layer->gate_bias, n_ff);
    if (pass->layer->up_bias)
        model->kernels->add(up, pass->layer->up_bias, n_ff);
    model->kernels->silu_mul(gate, up, n_ff, model->scratch.input + row * n_ff);
    quantize_input(f, &pass->to, row);
}

/* ---- the step ---- */

/* Checks the rows, finds each one's block, plans attention, collects the rows with logits. */
static void plan_step(struct forward *f)
{
    struct model *model = f->model;
    const struct step *step = f->step;
    assert(step->n_rows <= model->rows_max);
    attention_plan_begin(&model->attention);
    size_t next;
    for (size_t row = 0; row < step->n_rows; row = next) {
        const struct step_row *first = &step->rows[row];
        assert(first->sequence >= 0 && (size_t)first->sequence < step->n_sequences);
        size_t n_blocks;
        const int32_t *blocks = sequence_blocks(step->sequences[first->sequence], 0, &n_blocks);
        for (next = row; next < step->n_rows; next++) {
            const struct step_row *r = &step->rows[next];
            if (r->sequence != first->sequence)
                break;
            assert(r->position == first->position + (int32_t)(next - row) && r->position >= 0 &&
                   (size_t)r->position < model->ctx_size &&
                   (size_t)r->position < n_blocks * KV_TOKENS_PER_BLOCK);
            assert(r->token >= 0 && (size_t)r->token < model->config.n_vocab);
            model->scratch.row_block[next] = blocks[r->position / KV_TOKENS_PER_BLOCK];
            if (r->outputs & ROW_LOGITS)
                model->scratch.output_row[f->n_outputs++] = (uint32_t)next;
        }
        attention_plan_run(&model->attention, blocks, row, next - row, first->position);
    }
    assert(f->n_outputs <= model->outputs_max);
    attention_plan_end(&model->attention, pool_threads(f->pool));
}

static void attention_block(const struct forward *f, size_t n_layer)
{
    const struct model *model = f->model;
    const struct layer_weights *layer = &model->weights.layers[n_layer];
    const struct scratch *s = &model->scratch;
    size_t n_q = model->config.n_heads * model->config.head_dim;
    bool q8 =
        weight_needs_q8(&layer->q) || weight_needs_q8(&layer->k) || weight_needs_q8(&layer->v);
    const struct layer_weights *before = n_layer ? layer - 1 : NULL;
    struct norm_pass norm = {.add = before != NULL,
                             .bias = before ? before->down_bias : NULL,
                             .weight = layer->attn_norm,
                             .to = input_of(f, f->n_rows, model->config.n_embd, q8)};
    norm_rows(f, norm);
    struct matmul_part qkv[] = {
        {&layer->q, s->wide, s->qkv_stride},
        {&layer->k, s->wide + s->k_offset, s->qkv_stride},
        {&layer->v, s->wide + s->v_offset, s->qkv_stride},
    };
    matmul_many(model->kernels, f->pool, qkv, 3, &norm.to);
    each_row(f, f->n_rows, s->qkv_stride, position_row, &(struct position_pass){layer, n_layer});
    struct attention_call call = {
        .kernels = model->kernels,
        .cache = f->cache,
        .group = 0,
        .layer = n_layer,
        .q = s->wide,
        .q_stride = s->qkv_stride,
        .out = s->input,
        .out_stride = n_q,
    };
    attention_run(&f->model->attention, f->pool, &call);
    struct activations heads = input_of(f, f->n_rows, n_q, weight_needs_q8(&layer->o));
    if (heads.q8.q)
        each_row(f, f->n_rows, n_q, quantize_row, &heads);
    matmul(model->kernels, f->pool, &layer->o, &heads, s->y, s->y_stride);
}

static void feed_forward_block(const struct forward *f, size_t n_layer)
{
    const struct model *model = f->model;
    const struct layer_weights *layer = &model->weights.layers[n_layer];
    const struct scratch *s = &model->scratch;
    bool q8 = weight_needs_q8(&layer->gate) || weight_needs_q8(&layer->up);
    struct norm_pass norm = {.add = true,
                             .bias = layer->o_bias,
                             .weight = layer->ffn_norm,
                             .to = input_of(f, f->n_rows, model->config.n_embd, q8)};
    norm_rows(f, norm);
    struct matmul_part gate_up[] = {
        {&layer->gate, s->wide, s->ff_stride},
        {&layer->up, s->wide + s->up_offset, s->ff_stride},
    };
    matmul_many(model->kernels, f->pool, gate_up, 2, &norm.to);
    struct silu_pass silu = {
        layer, input_of(f, f->n_rows, model->config.n_ff, weight_needs_q8(&layer->down))};
    each_row(f, f->n_rows, model->config.n_ff, silu_row, &silu);
    matmul(model->kernels, f->pool, &layer->down, &silu.to, s->y, s->y_stride);
}

/* Final norm and logits, of the rows that ask for them alone. */
static void output_block(const struct forward *f)
{
    const struct model *model = f->model;
    const struct model_weights *weights = &model->weights;
    struct norm_pass norm = {
        .add = true,
        .bias = weights->layers[weights->n_layers - 1].down_bias,
        .weight = weights->output_norm,
        .source = model->scratch.output_row,
        .to = input_of(f, f->n_outputs, model->config.n_embd, weight_needs_q8(&weights->output)),
    };
    norm_rows(f, norm);
    matmul(model->kernels, f->pool, &weights->output, &norm.to, f->step->logits,
           model->config.n_vocab);
}

enum status model_forward(struct model *model, struct pool *pool, const struct kv_cache *cache,
                          const struct step *step)
{
    struct forward f = {
        .model = model, .pool = pool, .cache = cache, .step = step, .n_rows = step->n_rows};
    assert(pool_threads(pool) <= model->n_workers);
    enum status status = OK;
    mem_guard_enter();
    plan_step(&f);
    each_row(&f, f.n_rows, model->config.n_embd, embed_row, NULL);
    for (size_t layer = 0; layer < model->config.n_layers && status == OK; layer++) {
        attention_block(&f, layer);
        feed_forward_block(&f, layer);
        if (step->abandoned && step->abandoned(step->context))
            status = ERR_CANCELLED;
    }
    if (status == OK && f.n_outputs > 0)
        output_block(&f);
    mem_guard_leave();
    return status;
}
