/* The buffers of one step, cut out of one mapping: a layout function runs twice, see carve.h.
 *
 * Sizes follow from the configuration and from rows_max, and from the types of the weights where a
 * buffer serves only one of them (gathered inputs of experts in f32). */
#include "engine/model/model_state.h"

static size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static size_t max_of(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* R rows of up to n_cols columns; the stored n_cols is that of rows that fill it. */
static struct q8_rows carve_q8(struct carve *from, const struct model *model, size_t rows,
                               size_t n_cols)
{
    size_t cols = round_up(n_cols, ACT_BLOCK);
    struct q8_rows q8 = {.n_cols = n_cols, .has_rest = model->is_precise};
    rows *= 1 + model->is_precise;
    q8.q = carve(from, rows * cols, sizeof *q8.q);
    q8.d = carve(from, rows * (cols / ACT_BLOCK), sizeof *q8.d);
    q8.sum = carve(from, rows * (cols / ACT_BLOCK), sizeof *q8.sum);
    return q8;
}

static void lay_out_moe(struct moe_scratch *m, const struct model *model, size_t y_stride,
                        struct carve *from)
{
    const struct model_config *config = &model->config;
    const struct moe_config *moe = &config->moe;
    size_t rows = model->rows_max, pairs = rows * moe->n_used, n_parts = moe->n_experts + 1;
    m->shared_logit = round_up(moe->n_experts, PANEL_ROWS);
    m->logits_stride = m->shared_logit + PANEL_ROWS;
    m->up_offset = round_up(moe->n_ff, PANEL_ROWS);
    m->wide_stride = 2 * m->up_offset;
    m->shared_offset = round_up(moe->n_ff_shared, PANEL_ROWS);
    m->shared_stride = 2 * m->shared_offset;
    m->logits = carve(from, rows * m->logits_stride, sizeof *m->logits);
    m->expert = carve(from, pairs, sizeof *m->expert);
    m->weight = carve(from, pairs, sizeof *m->weight);
    m->pair = carve(from, pairs, sizeof *m->pair);
    m->pair_row = carve(from, pairs, sizeof *m->pair_row);
    m->pair_expert = carve(from, pairs, sizeof *m->pair_expert);
    m->first_pair = carve(from, n_parts, sizeof *m->first_pair);
    m->weights = carve(from, 3 * n_parts, sizeof *m->weights);
    m->parts = carve(from, 2 * n_parts, sizeof *m->parts);
    m->out = carve(from, pairs * y_stride, sizeof *m->out);
    m->x = m->out;
    m->x_q8 = carve_q8(from, model, pairs, config->n_embd);
    m->wide = carve(from, pairs * m->wide_stride, sizeof *m->wide);
    m->hidden = carve(from, pairs * moe->n_ff, sizeof *m->hidden);
    m->hidden_q8 = carve_q8(from, model, pairs, moe->n_ff);
    if (moe->n_ff_shared > 0) {
        m->shared_wide = carve(from, rows * m->shared_stride, sizeof *m->shared_wide);
        m->shared_hidden = carve(from, rows * moe->n_ff_shared, sizeof *m->shared_hidden);
        m->shared_q8 = carve_q8(from, model, rows, moe->n_ff_shared);
    }
}

static void lay_out_mla(struct mla_scratch *m, const struct model *model, struct carve *from)
{
    const struct model_config *config = &model->config;
    const struct mla_config *mla = &config->mla;
    size_t rows = model->rows_max, n_q = config->n_heads * config_key_dim(config);
    m->kv_offset = round_up(mla->q_rank ? mla->q_rank : n_q, PANEL_ROWS);
    m->low_stride = m->kv_offset + round_up(config->head_dim, PANEL_ROWS);
    m->by_head_cols = max_of(mla->nope_dim, mla->kv_rank);
    m->low = carve(from, rows * m->low_stride, sizeof *m->low);
    m->q = carve(from, rows * n_q, sizeof *m->q);
    m->by_head = carve(from, config->n_heads * rows * m->by_head_cols, sizeof *m->by_head);
    m->q8 = carve_q8(from, model, config->n_heads * rows, m->by_head_cols);
    m->weights = carve(from, config->n_heads, sizeof *m->weights);
    m->parts = carve(from, config->n_heads, sizeof *m->parts);
}

bool scratch_lay_out(struct scratch *s, const struct model *model, uint8_t *memory)
{
    const struct model_config *config = &model->config;
    size_t rows = model->rows_max;
    size_t n_q = config->n_heads * config->head_dim;
    size_t n_k = config->n_kv_heads * config->head_dim;
    size_t n_v = config->n_kv_heads * config->value_dim;
    bool latent = config->arch->mixer == MIX_MLA;
    s->y_stride = round_up(config->n_embd, PANEL_ROWS);
    s->k_offset = round_up(n_q, PANEL_ROWS);
    s->v_offset = s->k_offset + (latent ? 0 : round_up(n_k, PANEL_ROWS));
    s->qkv_stride = s->v_offset + (latent ? 0 : round_up(n_v, PANEL_ROWS));
    s->up_offset = round_up(config->n_ff, PANEL_ROWS);
    s->ff_stride = 2 * s->up_offset;
    size_t n_out = config->n_heads * config_out_dim(config);
    s->input_cols = max_of(max_of(config->n_embd, n_out), max_of(config->n_ff, config->mla.q_rank));
    struct carve from = {.memory = memory};  // rows <= 2^16, widths < 2^24: products fit
    s->x = carve(&from, rows * config->n_embd, sizeof *s->x);
    s->y = carve(&from, rows * s->y_stride, sizeof *s->y);
    s->wide = carve(&from, rows * max_of(s->qkv_stride, s->ff_stride), sizeof *s->wide);
    s->input = carve(&from, rows * s->input_cols, sizeof *s->input);
    s->q8 = carve_q8(&from, model, rows, s->input_cols);
    s->cos_sin = carve(&from, rows * config->rope.n_rot, sizeof *s->cos_sin);
    s->row_block = carve(&from, model->kv_layout.n_groups * rows, sizeof *s->row_block);
    s->output_row = carve(&from, rows, sizeof *s->output_row);
    if (config->moe.n_experts > 0)
        lay_out_moe(&s->moe, model, s->y_stride, &from);
    if (latent)
        lay_out_mla(&s->mla, model, &from);
    s->bytes = from.used;
    return !from.overflow;
}
