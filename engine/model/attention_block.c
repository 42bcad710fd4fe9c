/* Attention with grouped queries: q, k and v of all rows, rope, K and V into their blocks, the
 * attention itself (attention.c), the output product.
 *
 * K and V are rounded to f16 when they are stored and only read as stored, also by rows of the same
 * step, so that a prompt in one piece, in chunks, or found in the prefix cache gives the same bits.
 * Source: Vaswani et al. 2017; Ainslie et al. 2023. */
#include "engine/model/forward.h"

/* Bias and norm of q, k and v, rope, and K and V into their blocks. */
struct position_pass {
    const struct layer_weights *layer;
    size_t n_layer;
};

/* One head of q or k: its own norm where the family has one, then the rotation where the layer
 * has one (cos_sin NULL: it has none). */
static void position_head(const struct model *model, float *head, const float *norm,
                          const float *cos_sin)
{
    const struct model_config *config = &model->config;
    if (norm)
        model->kernels->rms_norm(head, norm, config->head_dim, config->rms_epsilon, head);
    if (cos_sin)
        model->kernels->rope(head, cos_sin, config->rope.n_rot, config->arch->rope_neox);
}

/* One row's K goes into a column of its block, V into a row of it. */
void store_kv(const struct forward *f, size_t layer, size_t row, const float *k, const float *v)
{
    const struct model *model = f->model;
    const struct layer_place *place = &model->places[layer];
    size_t head_dim = model->config.head_dim, value_dim = model->config.value_dim;
    size_t slot = (size_t)f->step->rows[row].position % KV_TOKENS_PER_BLOCK;
    int32_t block = model->scratch.row_block[place->group * model->rows_max + row];
    uint16_t half[HEAD_DIM_MAX];
    for (size_t head = 0; head < model->config.n_kv_heads; head++) {
        uint16_t *k_column = kv_cache_k(f->cache, place->group, block, place->layer, head) + slot;
        model->kernels->f32_to_f16(k + head * head_dim, head_dim, half);
        for (size_t d = 0; d < head_dim; d++)
            k_column[d * KV_TOKENS_PER_BLOCK] = half[d];
        if (v)
            model->kernels->f32_to_f16(
                v + head * value_dim, value_dim,
                kv_cache_v(f->cache, place->group, block, place->layer, head) + slot * value_dim);
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
    size_t n_q = config->n_heads * head_dim, n_k = config->n_kv_heads * head_dim;
    float *q = s->wide + row * s->qkv_stride, *k = q + s->k_offset, *v = q + s->v_offset;
    bool rotates = !(config->layer_flags[pass->n_layer] & LAYER_UNROTATED);
    const float *cos_sin = rotates ? s->cos_sin + row * model->rope.n_rot : NULL;
    if (layer->q_bias)
        model->kernels->add(q, layer->q_bias, n_q);
    if (layer->k_bias)
        model->kernels->add(k, layer->k_bias, n_k);
    if (layer->v_bias)
        model->kernels->add(v, layer->v_bias, config->n_kv_heads * config->value_dim);
    for (size_t head = 0; head < config->n_heads; head++)
        position_head(model, q + head * head_dim, layer->q_norm, cos_sin);
    for (size_t head = 0; head < config->n_kv_heads; head++)
        position_head(model, k + head * head_dim, layer->k_norm, cos_sin);
    for (size_t i = 0; i < n_q; i++)
        q[i] *= config->attention_scale;
    store_kv(f, pass->n_layer, row, k, v);
}

void attention_block(const struct forward *f, size_t n_layer)
{
    const struct model *model = f->model;
    const struct layer_weights *layer = &model->weights.layers[n_layer];
    const struct layer_place *place = &model->places[n_layer];
    const struct scratch *s = &model->scratch;
    size_t value_dim = model->config.value_dim, n_out = model->config.n_heads * value_dim;
    bool q8 =
        weight_needs_q8(&layer->q) || weight_needs_q8(&layer->k) || weight_needs_q8(&layer->v);
    struct norm_pass norm = norm_before_attention(f, n_layer, q8);
    norm_rows(f, &norm);
    struct matmul_part qkv[] = {
        {.weight = &layer->q, .y = s->wide, .y_stride = s->qkv_stride},
        {.weight = &layer->k, .y = s->wide + s->k_offset, .y_stride = s->qkv_stride},
        {.weight = &layer->v, .y = s->wide + s->v_offset, .y_stride = s->qkv_stride},
    };
    matmul_many(model->kernels, f->pool, qkv, 3, &norm.to);
    each_row(f, f->n_rows, s->qkv_stride, position_row, &(struct position_pass){layer, n_layer});
    struct attention_call call = {
        .kernels = model->kernels,
        .cache = f->cache,
        .group = place->group,
        .layer = place->layer,
        .q = s->wide,
        .q_stride = s->qkv_stride,
        .out = s->input,
        .out_stride = n_out,
        .out_head_stride = value_dim,
        .sinks = layer->sinks,
    };
    attention_run(&f->model->attention[place->group], f->pool, &call);
    struct activations heads = input_of(f, f->n_rows, n_out, weight_needs_q8(&layer->o));
    if (heads.q8.q)
        each_row(f, f->n_rows, n_out, quantize_input_row, &heads);
    matmul(model->kernels, f->pool, &layer->o, &heads, s->y, s->y_stride);
}
