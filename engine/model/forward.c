/* The forward pass over one step, top to bottom as in the paper.
 *
 * Shape of the work: products over all rows of the step (their work is cut over output rows),
 * attention (cut over rows, kv heads and splits), and between them passes over single rows: norm,
 * bias, rope, activation, quantisation of the next product's input. Nothing here depends on how
 * many rows there are, which thread does what, or what the other rows are: the bits of a row are a
 * function of its token, its position and the stored K and V.
 *
 * Each layer is a mixer (attention_block.c or mla.c) and a feed-forward block (ffn.c or moe.c); a
 * block reads the residual stream through its norm, which first adds what the block before left.
 *
 * Source: Vaswani et al. 2017; Touvron et al. 2023 (llama); checked by tests/golden/model. */
#include "engine/model/forward.h"

#include <assert.h>

#include "engine/base/mem.h"
#include "engine/kernels/pack.h"

enum { ROW_PASS_INLINE_FLOATS = 6144 };  // about 1 us of work, what two workers' wake-up costs

/* ---- row passes ---- */

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

void each_row(const struct forward *f, size_t n_rows, size_t n_floats, row_fn *fn,
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

struct activations input_of(const struct forward *f, size_t n_rows, size_t n_cols, bool q8)
{
    const struct scratch *s = &f->model->scratch;
    struct activations x = {.f32 = s->input, .n_rows = n_rows, .n_cols = n_cols};
    if (q8)
        x.q8 = q8_of_width(&s->q8, n_cols);
    return x;
}

void quantize_input(const struct forward *f, const struct activations *x, size_t row)
{
    activations_quantize(f->model->kernels, x, row);
}

void quantize_input_row(const struct forward *f, const void *arguments, size_t row)
{
    quantize_input(f, arguments, row);
}

/* y of step row `row`, complete: what the block before left, with its bias. */
static float *finish_block(const struct forward *f, const struct norm_pass *pass, size_t row)
{
    const struct model *model = f->model;
    const struct layer_weights *layer = &model->weights.layers[pass->layer];
    bool attention = pass->before == BEFORE_ATTENTION;
    const float *bias = attention ? layer->o_bias : layer->down_bias;
    float *y = model->scratch.y + row * model->scratch.y_stride;
    if (!attention && config_has_experts(&model->config, pass->layer))
        moe_sum_row(f, pass->layer, row);
    if (bias)
        model->kernels->add(y, bias, model->config.n_embd);
    return y;
}

static void norm_row(const struct forward *f, const void *arguments, size_t row)
{
    const struct norm_pass *pass = arguments;
    const struct model *model = f->model;
    size_t n_embd = model->config.n_embd, from = pass->source ? pass->source[row] : row;
    float *x = model->scratch.x + from * n_embd;
    if (pass->before != BEFORE_NOTHING)
        model->kernels->add(x, finish_block(f, pass, from), n_embd);
    model->kernels->rms_norm(x, pass->weight, n_embd, model->config.rms_epsilon,
                             model->scratch.input + row * n_embd);
    quantize_input(f, &pass->to, row);
}

void norm_rows(const struct forward *f, const struct norm_pass *pass)
{
    each_row(f, pass->to.n_rows, pass->to.n_cols, norm_row, pass);
}

struct norm_pass norm_before_attention(const struct forward *f, size_t layer, bool q8)
{
    return (struct norm_pass){
        .before = layer > 0 ? BEFORE_FEED_FORWARD : BEFORE_NOTHING,
        .layer = layer > 0 ? layer - 1 : 0,
        .weight = f->model->weights.layers[layer].attn_norm,
        .to = input_of(f, f->n_rows, f->model->config.n_embd, q8),
    };
}

/* ---- the step ---- */

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

/* Block tables of one run of adjacent rows: each row's block, and the plan of its attention. */
static void plan_run(struct forward *f, size_t first_row, size_t n_rows)
{
    struct model *model = f->model;
    const struct step_row *first = &f->step->rows[first_row];
    for (size_t g = 0; g < model->kv_layout.n_groups; g++) {
        size_t n_blocks;
        const int32_t *blocks = sequence_blocks(f->step->sequences[first->sequence], g, &n_blocks);
        int32_t *row_block = model->scratch.row_block + g * model->rows_max;
        for (size_t i = 0; i < n_rows; i++) {
            size_t block = (size_t)first[i].position / KV_TOKENS_PER_BLOCK;
            assert(block < n_blocks);
            row_block[first_row + i] = blocks[block];
        }
        attention_plan_run(&model->attention[g], blocks, first_row, n_rows, first->position);
    }
}

/* Checks the rows, plans attention, collects the rows with logits. */
static void plan_step(struct forward *f)
{
    struct model *model = f->model;
    const struct step *step = f->step;
    assert(step->n_rows <= model->rows_max);
    for (size_t g = 0; g < model->kv_layout.n_groups; g++)
        attention_plan_begin(&model->attention[g]);
    size_t next;
    for (size_t row = 0; row < step->n_rows; row = next) {
        const struct step_row *first = &step->rows[row];
        assert(first->sequence >= 0 && (size_t)first->sequence < step->n_sequences);
        for (next = row; next < step->n_rows; next++) {
            const struct step_row *r = &step->rows[next];
            if (r->sequence != first->sequence)
                break;
            assert(r->position == first->position + (int32_t)(next - row) && r->position >= 0 &&
                   (size_t)r->position < model->ctx_size);
            assert(r->token >= 0 && (size_t)r->token < model->config.n_vocab);
            if (r->outputs & ROW_LOGITS)
                model->scratch.output_row[f->n_outputs++] = (uint32_t)next;
            else if (r->outputs & ROW_SCORE)
                model->scratch.output_row[model->rows_max - ++f->n_scores] = (uint32_t)next;
        }
        plan_run(f, row, next - row);
    }
    assert(f->n_outputs <= model->outputs_max);
    for (size_t g = 0; g < model->kv_layout.n_groups; g++)
        attention_plan_end(&model->attention[g], pool_threads(f->pool));
}

/* Final norm and logits of `n` step rows, those of `source` alone. */
static void output_block(const struct forward *f, const uint32_t *source, size_t n)
{
    const struct model *model = f->model;
    const struct model_weights *weights = &model->weights;
    struct norm_pass norm = {
        .before = BEFORE_FEED_FORWARD,
        .layer = weights->n_layers - 1,
        .weight = weights->output_norm,
        .source = source,
        .to = input_of(f, n, model->config.n_embd, weight_needs_q8(&weights->output)),
    };
    norm_rows(f, &norm);
    matmul(model->kernels, f->pool, &weights->output, &norm.to, f->step->logits,
           model->config.n_vocab);
}

/* The rows to score, a tile of logits at a time. They were listed from the end of the array. */
static void score_rows(const struct forward *f)
{
    const struct model *model = f->model;
    uint32_t *rows = model->scratch.output_row + model->rows_max - f->n_scores;
    for (size_t i = 0, k = f->n_scores; i + 1 < k; i++) {
        uint32_t row = rows[--k];
        rows[k] = rows[i];
        rows[i] = row;
    }
    for (size_t first = 0, n; first < f->n_scores; first += n) {
        size_t left = f->n_scores - first;
        n = left < model->outputs_max ? left : model->outputs_max;
        output_block(f, rows + first, n);
        f->step->score(f->step->context, first, n, f->step->logits);
    }
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
        bool latent = model->config.arch->mixer == MIX_MLA;
        (latent ? mla_block : attention_block)(&f, layer);
        (config_has_experts(&model->config, layer) ? moe_block : feed_forward_block)(&f, layer);
        if (step->abandoned && step->abandoned(step->context))
            status = ERR_CANCELLED;
    }
    if (status == OK && f.n_scores > 0)
        score_rows(&f);
    if (status == OK && f.n_outputs > 0)
        output_block(&f, model->scratch.output_row, f.n_outputs);
    mem_guard_leave();
    return status;
}
