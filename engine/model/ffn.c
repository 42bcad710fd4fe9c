/* The dense feed-forward block: down(silu(gate x) * up x), gate and up in one pass over the pool.
 *
 * Source: Shazeer 2020 (SwiGLU). */
#include "engine/model/forward.h"

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

void feed_forward_block(const struct forward *f, size_t n_layer)
{
    const struct model *model = f->model;
    const struct layer_weights *layer = &model->weights.layers[n_layer];
    const struct scratch *s = &model->scratch;
    bool q8 = weight_needs_q8(&layer->gate) || weight_needs_q8(&layer->up);
    struct norm_pass norm = {.before = BEFORE_ATTENTION,
                             .layer = n_layer,
                             .weight = layer->ffn_norm,
                             .to = input_of(f, f->n_rows, model->config.n_embd, q8)};
    norm_rows(f, &norm);
    struct matmul_part gate_up[] = {
        {.weight = &layer->gate, .y = s->wide, .y_stride = s->ff_stride},
        {.weight = &layer->up, .y = s->wide + s->up_offset, .y_stride = s->ff_stride},
    };
    matmul_many(model->kernels, f->pool, gate_up, 2, &norm.to);
    struct silu_pass silu = {
        layer, input_of(f, f->n_rows, model->config.n_ff, weight_needs_q8(&layer->down))};
    each_row(f, f->n_rows, model->config.n_ff, silu_row, &silu);
    matmul(model->kernels, f->pool, &layer->down, &silu.to, s->y, s->y_stride);
}
