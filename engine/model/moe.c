/* Mixture of experts: a feed-forward block of which each token goes through a few experts, and in
 * some families through a shared one.
 *
 * Rows are sorted by expert and gathered, so that an expert is one product over its rows; the
 * products of all experts, and of the shared one over all rows, are parts of one pool task, dealt
 * out by panels. Experts that no row chose are not touched. A pair's numbers depend on its row and
 * its expert alone, and moe_sum_row() adds a row's pairs in the order of its own choice, so neither
 * the batch nor the sorting can change a bit. The sum is left to the norm that reads it.
 *
 * Source: Shazeer et al. 2017; Dai et al. 2024 (shared experts). */
#include "engine/model/forward.h"

#include <assert.h>

#include "engine/kernels/attention.h"
#include "engine/model/router.h"

/* What one block works on. */
struct mixture {
    const struct forward *f;
    const struct layer_weights *layer;
    struct activations x;       // of all rows
    struct activations pairs;   // gathered, or x when there is one row
    struct activations hidden;  // input of down
    struct activations shared_hidden;
    size_t n_pairs;
    size_t n_shared;  // rows of the shared expert: all or none
};

static struct activations activations_of(const float *f32, const struct q8_rows *q8, bool use_q8,
                                         size_t n_rows, size_t n_cols)
{
    struct activations x = {.f32 = f32, .n_rows = n_rows, .n_cols = n_cols};
    if (use_q8)
        x.q8 = q8_of_width(q8, n_cols);
    return x;
}

/* ---- who goes where ---- */

static void choose_row(const struct forward *f, const void *arguments, size_t row)
{
    const struct layer_weights *layer = arguments;
    const struct moe_config *moe = &f->model->config.moe;
    const struct moe_scratch *m = &f->model->scratch.moe;
    float *logits = m->logits + row * m->logits_stride;
    if (layer->router_bias)
        f->model->kernels->add(logits, layer->router_bias, moe->n_experts);
    router_choose(moe, logits, layer->choice_bias, m->expert + row * moe->n_used,
                  m->weight + row * moe->n_used);
}

static void route(const struct mixture *mix)
{
    const struct forward *f = mix->f;
    const struct layer_weights *layer = mix->layer;
    const struct moe_scratch *m = &f->model->scratch.moe;
    struct matmul_part parts[] = {
        {.weight = &layer->router, .y = m->logits, .y_stride = m->logits_stride},
        {.weight = &layer->shared_router,
         .y = m->logits + m->shared_logit,
         .y_stride = m->logits_stride},
    };
    size_t n_parts = layer->shared_router.panels ? 2 : 1;
    matmul_many(f->model->kernels, f->pool, parts, n_parts, &mix->x);
    each_row(f, f->n_rows, 4 * f->model->config.moe.n_experts, choose_row, layer);
}

/* Sorts the pairs by expert, rows ascending. */
static void sort_pairs(const struct mixture *mix)
{
    const struct moe_config *moe = &mix->f->model->config.moe;
    const struct moe_scratch *m = &mix->f->model->scratch.moe;
    uint32_t next[EXPERTS_MAX] = {0}, first = 0;
    for (size_t i = 0; i < mix->n_pairs; i++)
        next[m->expert[i]]++;
    for (size_t e = 0; e < moe->n_experts; e++) {
        uint32_t n = next[e];
        m->first_pair[e] = next[e] = first;
        first += n;
    }
    m->first_pair[moe->n_experts] = first;
    for (size_t i = 0; i < mix->n_pairs; i++) {
        uint32_t pair = next[m->expert[i]]++;
        m->pair[i] = pair;
        m->pair_row[pair] = (uint32_t)(i / moe->n_used);
        m->pair_expert[pair] = m->expert[i];
    }
}

static void gather_pair(const struct forward *f, const void *arguments, size_t pair)
{
    const struct mixture *mix = arguments;
    const struct moe_scratch *m = &f->model->scratch.moe;
    size_t n = mix->x.n_cols, row = m->pair_row[pair];
    if (!weight_needs_q8(&mix->layer->gate_exps.first) ||
        !weight_needs_q8(&mix->layer->up_exps.first))
        memcpy(m->x + pair * n, mix->x.f32 + row * n, n * sizeof *m->x);
    if (mix->x.q8.q) {
        size_t n_q = n * (1 + mix->x.q8.has_rest), n_blocks = n_q / ACT_BLOCK;
        memcpy(m->x_q8.q + pair * n_q, mix->x.q8.q + row * n_q, n_q);
        memcpy(m->x_q8.d + pair * n_blocks, mix->x.q8.d + row * n_blocks,
               n_blocks * sizeof *m->x_q8.d);
        memcpy(m->x_q8.sum + pair * n_blocks, mix->x.q8.sum + row * n_blocks,
               n_blocks * sizeof *m->x_q8.sum);
    }
}

/* ---- the products ---- */

/* Gate and up of all experts in use and of the shared one. */
static void gate_up(const struct mixture *mix)
{
    const struct forward *f = mix->f;
    const struct layer_weights *layer = mix->layer;
    const struct moe_scratch *m = &f->model->scratch.moe;
    size_t n_parts = 0;
    bool gathered = f->n_rows > 1;
    for (size_t e = 0; e < f->model->config.moe.n_experts; e++) {
        size_t first = m->first_pair[e], n = m->first_pair[e + 1] - first;
        if (n == 0)
            continue;
        struct weight *weights = m->weights + 3 * e;
        weights[0] = weight_stack_at(&layer->gate_exps, e);
        weights[1] = weight_stack_at(&layer->up_exps, e);
        float *y = m->wide + first * m->wide_stride;
        struct matmul_part part = {.weight = &weights[0],
                                   .y = y,
                                   .y_stride = m->wide_stride,
                                   .x = &mix->pairs,
                                   .first_row = gathered ? first : 0,
                                   .n_rows = n};
        m->parts[n_parts++] = part;
        part.weight = &weights[1];
        part.y = y + m->up_offset;
        m->parts[n_parts++] = part;
    }
    if (mix->n_shared > 0) {
        struct matmul_part part = {.weight = &layer->shared_gate,
                                   .y = m->shared_wide,
                                   .y_stride = m->shared_stride,
                                   .x = &mix->x};
        m->parts[n_parts++] = part;
        part.weight = &layer->shared_up;
        part.y = m->shared_wide + m->shared_offset;
        m->parts[n_parts++] = part;
    }
    matmul_many(f->model->kernels, f->pool, m->parts, n_parts, NULL);
}

/* Activation of one pair, or of one row of the shared expert behind all pairs. */
static void activate_pair(const struct forward *f, const void *arguments, size_t pair)
{
    const struct mixture *mix = arguments;
    const struct model *model = f->model;
    const struct moe_scratch *m = &model->scratch.moe;
    const struct layer_weights *layer = mix->layer;
    size_t n = model->config.moe.n_ff, row = pair - mix->n_pairs;
    if (pair >= mix->n_pairs) {
        size_t n_shared = model->config.moe.n_ff_shared;
        float *gate = m->shared_wide + row * m->shared_stride;
        model->kernels->silu_mul(gate, gate + m->shared_offset, n_shared,
                                 m->shared_hidden + row * n_shared);
        quantize_input(f, &mix->shared_hidden, row);
        return;
    }
    float *gate = m->wide + pair * m->wide_stride, *up = gate + m->up_offset;
    size_t expert = (size_t)m->pair_expert[pair];
    if (layer->gate_exps_bias) {
        model->kernels->add(gate, layer->gate_exps_bias + expert * n, n);
        model->kernels->add(up, layer->up_exps_bias + expert * n, n);
    }
    bool clamped = model->config.arch->activation == ACTIVATION_CLAMPED;
    (clamped ? model->kernels->swiglu_clamped : model->kernels->silu_mul)(gate, up, n,
                                                                          m->hidden + pair * n);
    quantize_input(f, &mix->hidden, pair);
}

static void down(const struct mixture *mix)
{
    const struct forward *f = mix->f;
    const struct layer_weights *layer = mix->layer;
    const struct scratch *s = &f->model->scratch;
    const struct moe_scratch *m = &s->moe;
    size_t n_parts = 0;
    for (size_t e = 0; e < f->model->config.moe.n_experts; e++) {
        size_t first = m->first_pair[e], n = m->first_pair[e + 1] - first;
        if (n == 0)
            continue;
        struct weight *weight = &m->weights[3 * e + 2];
        *weight = weight_stack_at(&layer->down_exps, e);
        m->parts[n_parts++] = (struct matmul_part){.weight = weight,
                                                   .y = m->out + first * s->y_stride,
                                                   .y_stride = s->y_stride,
                                                   .x = &mix->hidden,
                                                   .first_row = first,
                                                   .n_rows = n};
    }
    if (mix->n_shared > 0)
        m->parts[n_parts++] = (struct matmul_part){.weight = &layer->shared_down,
                                                   .y = s->y,
                                                   .y_stride = s->y_stride,
                                                   .x = &mix->shared_hidden};
    matmul_many(f->model->kernels, f->pool, m->parts, n_parts, NULL);
}

void moe_block(const struct forward *f, size_t n_layer)
{
    const struct model *model = f->model;
    const struct layer_weights *layer = &model->weights.layers[n_layer];
    const struct moe_config *moe = &model->config.moe;
    const struct moe_scratch *m = &model->scratch.moe;
    bool shared = moe->n_ff_shared > 0;
    bool q8 =
        weight_needs_q8(&layer->router) || weight_needs_q8(&layer->gate_exps.first) ||
        weight_needs_q8(&layer->up_exps.first) ||
        (shared && (weight_needs_q8(&layer->shared_gate) || weight_needs_q8(&layer->shared_up) ||
                    (layer->shared_router.panels && weight_needs_q8(&layer->shared_router))));
    struct norm_pass norm = {.before = BEFORE_ATTENTION,
                             .layer = n_layer,
                             .weight = layer->ffn_norm,
                             .to = input_of(f, f->n_rows, model->config.n_embd, q8)};
    norm_rows(f, &norm);
    struct mixture mix = {
        .f = f,
        .layer = layer,
        .x = norm.to,
        .n_pairs = f->n_rows * moe->n_used,
        .n_shared = shared ? f->n_rows : 0,
    };
    mix.hidden = activations_of(m->hidden, &m->hidden_q8, weight_needs_q8(&layer->down_exps.first),
                                mix.n_pairs, moe->n_ff);
    mix.shared_hidden =
        activations_of(m->shared_hidden, &m->shared_q8,
                       shared && weight_needs_q8(&layer->shared_down), f->n_rows, moe->n_ff_shared);
    route(&mix);
    sort_pairs(&mix);
    mix.pairs = mix.x;
    if (f->n_rows > 1) {
        mix.pairs = activations_of(m->x, &m->x_q8, q8, mix.n_pairs, model->config.n_embd);
        each_row(f, mix.n_pairs, model->config.n_embd / 4, gather_pair, &mix);
    }
    gate_up(&mix);
    each_row(f, mix.n_pairs + mix.n_shared, moe->n_ff, activate_pair, &mix);
    down(&mix);
}

void moe_sum_row(const struct forward *f, size_t n_layer, size_t row)
{
    const struct model *model = f->model;
    const struct layer_weights *layer = &model->weights.layers[n_layer];
    const struct moe_config *moe = &model->config.moe;
    const struct scratch *s = &model->scratch;
    const struct moe_scratch *m = &s->moe;
    size_t n = model->config.n_embd;
    float *y = s->y + row * s->y_stride;
    if (moe->n_ff_shared == 0)
        memset(y, 0, n * sizeof *y);
    if (layer->shared_router.panels) {
        float logit = m->logits[row * m->logits_stride + m->shared_logit];
        float gate = 1.0f / (1.0f + kernel_exp(-logit));
        for (size_t i = 0; i < n; i++)
            y[i] *= gate;
    }
    for (size_t i = row * moe->n_used; i < (row + 1) * moe->n_used; i++) {
        model->kernels->add_scaled(y, m->out + m->pair[i] * s->y_stride, m->weight[i], n);
        if (layer->down_exps_bias)
            model->kernels->add_scaled(y, layer->down_exps_bias + (size_t)m->expert[i] * n,
                                       m->weight[i], n);
    }
}
