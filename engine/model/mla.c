/* Multi-head latent attention: keys and values of all heads come from one latent vector a token.
 *
 *   q = Wq x (or Wqb norm(Wqa x));        a head: [nope | rotated]
 *   [c | r] = Wkva x;  c = norm(c);       c [kv_rank] and the rotated key part r are what is stored
 *   k = [Wkb c | r],  v = Wvb c           of each head, never made:
 *   score = (Wkb^T q_nope) c + q_rot r;   values are summed over c and then multiplied by Wvb
 *
 * This absorbed form runs in every phase, so that decode and prefill have the same bits; the cache
 * holds kv_rank + n_rot halves a token and layer, of which the leading kv_rank are the values too
 * (kernels/attention.h). The products of one head are parts of one pool task; the query goes into
 * them and the values come out sorted by head.
 *
 * Source: DeepSeek-AI 2024 (DeepSeek-V2, section 2.1); rope on pairs (2i, 2i + 1). */
#include "engine/model/forward.h"

/* First products: q, or its low rank, and the latent vector with the rotated key part. */
static void project_low(const struct forward *f, const struct layer_weights *layer, size_t n_layer)
{
    const struct mla_scratch *m = &f->model->scratch.mla;
    const struct weight *q = f->model->config.mla.q_rank ? &layer->q_a : &layer->q;
    bool q8 = weight_needs_q8(q) || weight_needs_q8(&layer->kv_a);
    struct norm_pass norm = norm_before_attention(f, n_layer, q8);
    norm_rows(f, &norm);
    struct matmul_part parts[] = {
        {.weight = q, .y = m->low, .y_stride = m->low_stride},
        {.weight = &layer->kv_a, .y = m->low + m->kv_offset, .y_stride = m->low_stride},
    };
    matmul_many(f->model->kernels, f->pool, parts, 2, &norm.to);
}

struct q_norm_pass {
    const struct layer_weights *layer;
    struct activations to;
};

static void q_norm_row(const struct forward *f, const void *arguments, size_t row)
{
    const struct q_norm_pass *pass = arguments;
    const struct model *model = f->model;
    size_t n = model->config.mla.q_rank;
    const float *low = model->scratch.mla.low + row * model->scratch.mla.low_stride;
    model->kernels->rms_norm(low, pass->layer->q_a_norm, n, model->config.rms_epsilon,
                             model->scratch.input + row * n);
    quantize_input(f, &pass->to, row);
}

/* q [R, n_heads * key dim] from its low rank. */
static void project_q(const struct forward *f, const struct layer_weights *layer)
{
    const struct model *model = f->model;
    const struct model_config *config = &model->config;
    struct q_norm_pass pass = {
        layer, input_of(f, f->n_rows, config->mla.q_rank, weight_needs_q8(&layer->q_b))};
    each_row(f, f->n_rows, config->mla.q_rank, q_norm_row, &pass);
    matmul(model->kernels, f->pool, &layer->q_b, &pass.to, model->scratch.mla.q,
           config->n_heads * config_key_dim(config));
}

struct position_pass {
    const struct layer_weights *layer;
    size_t n_layer;
    struct activations by_head;  // [n_heads * R, nope_dim]
};

/* The latent vector is normed and stored with its rotated part; of q, the rotated part goes to its
 * place behind where the latent one will be, the rest to the rows of its head. */
static void position_row(const struct forward *f, const void *arguments, size_t row)
{
    const struct position_pass *pass = arguments;
    const struct model *model = f->model;
    const struct model_config *config = &model->config;
    const struct scratch *s = &model->scratch;
    size_t rank = config->mla.kv_rank, nope = config->mla.nope_dim, n_rot = config->rope.n_rot;
    const float *cos_sin = s->cos_sin + row * n_rot;
    float *latent = s->mla.low + row * s->mla.low_stride + s->mla.kv_offset;
    model->kernels->rms_norm(latent, pass->layer->kv_a_norm, rank, config->rms_epsilon, latent);
    model->kernels->rope(latent + rank, cos_sin, n_rot, config->arch->rope_neox);
    store_kv(f, pass->n_layer, row, latent, NULL);
    size_t q_stride = config->mla.q_rank ? config->n_heads * (nope + n_rot) : s->mla.low_stride;
    float *q = (config->mla.q_rank ? s->mla.q : s->mla.low) + row * q_stride;
    for (size_t head = 0; head < config->n_heads; head++, q += nope + n_rot) {
        model->kernels->rope(q + nope, cos_sin, n_rot, config->arch->rope_neox);
        for (size_t i = 0; i < nope + n_rot; i++)
            q[i] *= config->attention_scale;
        float *to = s->wide + row * s->qkv_stride + head * config->head_dim + rank;
        memcpy(to, q + nope, n_rot * sizeof *q);
        size_t place = head * f->n_rows + row;
        memcpy(s->mla.by_head + place * nope, q, nope * sizeof *q);
        quantize_input(f, &pass->by_head, place);
    }
}

/* Rows of each head through the head's own matrix; y of head h begins at y + h * head_offset. */
static void multiply_heads(const struct forward *f, const struct weight_stack *stack,
                           const struct activations *x, float *y, size_t y_stride,
                           size_t head_offset)
{
    const struct mla_scratch *m = &f->model->scratch.mla;
    for (size_t head = 0; head < stack->n; head++) {
        m->weights[head] = weight_stack_at(stack, head);
        m->parts[head] = (struct matmul_part){.weight = &m->weights[head],
                                              .y = y + head * head_offset,
                                              .y_stride = y_stride,
                                              .first_row = head * f->n_rows,
                                              .n_rows = f->n_rows};
    }
    matmul_many(f->model->kernels, f->pool, m->parts, stack->n, x);
}

static struct activations by_head(const struct forward *f, size_t n_cols, bool q8)
{
    const struct mla_scratch *m = &f->model->scratch.mla;
    struct activations x = {
        .f32 = m->by_head, .n_rows = f->model->config.n_heads * f->n_rows, .n_cols = n_cols};
    if (q8)
        x.q8 = q8_of_width(&m->q8, n_cols);
    return x;
}

static void attend(const struct forward *f, size_t n_layer)
{
    const struct model *model = f->model;
    const struct layer_place *place = &model->places[n_layer];
    size_t rank = model->config.mla.kv_rank;
    struct attention_call call = {
        .kernels = model->kernels,
        .cache = f->cache,
        .group = place->group,
        .layer = place->layer,
        .q = model->scratch.wide,
        .q_stride = model->scratch.qkv_stride,
        .out = model->scratch.mla.by_head,
        .out_stride = rank,
        .out_head_stride = f->n_rows * rank,
    };
    attention_run(&f->model->attention[place->group], f->pool, &call);
}

void mla_block(const struct forward *f, size_t n_layer)
{
    const struct model *model = f->model;
    const struct model_config *config = &model->config;
    const struct layer_weights *layer = &model->weights.layers[n_layer];
    const struct scratch *s = &model->scratch;
    const struct mla_config *mla = &config->mla;
    project_low(f, layer, n_layer);
    if (mla->q_rank)
        project_q(f, layer);
    struct position_pass position = {layer, n_layer,
                                     by_head(f, mla->nope_dim, weight_needs_q8(&layer->k_b.first))};
    each_row(f, f->n_rows, config->n_heads * config_key_dim(config), position_row, &position);
    multiply_heads(f, &layer->k_b, &position.by_head, s->wide, s->qkv_stride, config->head_dim);
    attend(f, n_layer);
    struct activations values = by_head(f, mla->kv_rank, weight_needs_q8(&layer->v_b.first));
    if (values.q8.q)
        each_row(f, values.n_rows, mla->kv_rank, quantize_input_row, &values);
    size_t n_out = config->n_heads * mla->value_dim;
    multiply_heads(f, &layer->v_b, &values, s->input, n_out, mla->value_dim);
    struct activations heads = input_of(f, f->n_rows, n_out, weight_needs_q8(&layer->o));
    if (heads.q8.q)
        each_row(f, f->n_rows, n_out, quantize_input_row, &heads);
    matmul(model->kernels, f->pool, &layer->o, &heads, s->y, s->y_stride);
}
