/* Opening and closing a model: configuration, weights, rope frequencies, scratch, digest.
 *
 * Order of opening: everything that can be refused is refused first (configuration, tensor table),
 * then memory is reserved and taken, largest last but for the scratch. Scratch is one mapping sized
 * for rows_max rows, so a step allocates nothing. */
#include "engine/model/model.h"

#include <assert.h>

#include "engine/base/mem.h"
#include "engine/model/carve.h"
#include "engine/model/model_state.h"

/* Names the arithmetic; to be changed with any change of a kernel's specification. */
#define NUMERICS_CLASS "portable-1"

static size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static size_t max_of(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- scratch ---- */

static bool scratch_lay_out(struct scratch *s, const struct model *model, uint8_t *memory)
{
    const struct model_config *config = &model->config;
    size_t rows = model->rows_max;
    size_t n_q = config->n_heads * config->head_dim, n_kv = config->n_kv_heads * config->head_dim;
    s->y_stride = round_up(config->n_embd, PANEL_ROWS);
    s->k_offset = round_up(n_q, PANEL_ROWS);
    s->v_offset = s->k_offset + round_up(n_kv, PANEL_ROWS);
    s->qkv_stride = s->v_offset + round_up(n_kv, PANEL_ROWS);
    s->up_offset = round_up(config->n_ff, PANEL_ROWS);
    s->ff_stride = 2 * s->up_offset;
    s->input_cols = max_of(max_of(config->n_embd, n_q), config->n_ff);
    size_t q8_cols = round_up(s->input_cols, ACT_BLOCK);
    struct carve from = {.memory = memory};  // rows <= 2^16, widths < 2^24: products fit
    s->x = carve(&from, rows * config->n_embd, sizeof *s->x);
    s->y = carve(&from, rows * s->y_stride, sizeof *s->y);
    s->wide = carve(&from, rows * max_of(s->qkv_stride, s->ff_stride), sizeof *s->wide);
    s->input = carve(&from, rows * s->input_cols, sizeof *s->input);
    s->q8.q = carve(&from, rows * q8_cols, sizeof *s->q8.q);
    s->q8.d = carve(&from, rows * (q8_cols / ACT_BLOCK), sizeof *s->q8.d);
    s->q8.sum = carve(&from, rows * (q8_cols / ACT_BLOCK), sizeof *s->q8.sum);
    s->cos_sin = carve(&from, rows * config->rope.n_rot, sizeof *s->cos_sin);
    s->row_block = carve(&from, rows, sizeof *s->row_block);
    s->output_row = carve(&from, rows, sizeof *s->output_row);
    s->bytes = from.used;
    return !from.overflow;
}

static enum status scratch_init(struct model *model, struct error *err)
{
    const struct model_config *config = &model->config;
    struct attention_shape shape = {
        .n_heads = config->n_heads, .n_kv_heads = config->n_kv_heads, .head_dim = config->head_dim};
    struct scratch *s = &model->scratch;
    if (!scratch_lay_out(s, model, NULL))
        return error_set(err, ERR_LIMIT, "steps of %zu rows are too large", model->rows_max);
    size_t attention = attention_bytes(&shape, model->rows_max, model->ctx_size, model->n_workers);
    if (attention == 0)
        return error_set(err, ERR_LIMIT, "a context of %zu tokens is too large", model->ctx_size);
    size_t bytes = s->bytes + attention;
    if (model->account) {
        enum status status = account_reserve(model->account, ACCOUNT_SCRATCH, bytes, err);
        if (status != OK)
            return status;
    }
    model->account_bytes = bytes;
    if (model->is_measured)
        return OK;
    s->memory = mem_map(s->bytes);
    if (!s->memory || !attention_init(&model->attention, &shape, model->rows_max, model->ctx_size,
                                      model->n_workers))
        return error_set(err, ERR_MEMORY, "no memory for the scratch of %zu rows", model->rows_max);
    scratch_lay_out(s, model, s->memory);
    return OK;
}

/* ---- info and digest ---- */

static enum status copy_name(struct model *model, const struct model_file *file, struct error *err)
{
    struct text_view name = {"", 0};
    model_file_text(file, "general.name", &name);
    model->name = mem_memdup0(name.bytes, name.n_bytes);
    return model->name ? OK : error_set(err, ERR_MEMORY, "no memory for the model's name");
}

static void fill_info(struct model *model)
{
    const struct model_config *config = &model->config;
    model->info = (struct model_info){
        .architecture = config->arch->name,
        .name = model->name,
        .n_layers = config->n_layers,
        .n_embd = config->n_embd,
        .n_heads = config->n_heads,
        .n_kv_heads = config->n_kv_heads,
        .head_dim = config->head_dim,
        .n_vocab = config->n_vocab,
        .ctx_train = config->ctx_train,
        .ctx_size = model->ctx_size,
        .n_parameters = model->weights.n_parameters,
        .weight_bytes = model->weights.bytes,
        .scratch_bytes = model->account_bytes,
    };
}

/* All that KV contents depend on. Integer and half-float products have equal bits at every level;
 * F32 products may run through OpenBLAS, hence the level's name in that case. */
static void fill_digest(struct model *model)
{
    const struct model_config *config = &model->config;
    char text[400];
    int n = snprintf(text, sizeof text,
                     "%s %s|kv f16 32|%s|%zu %zu %zu %zu %zu %zu %zu|%a %a|rope %zu %d %a %a %a "
                     "%a %a %a",
                     NUMERICS_CLASS, model->weights.has_f32 ? model->kernels->name : "any",
                     config->arch->name, config->n_layers, config->n_embd, config->n_ff,
                     config->n_heads, config->n_kv_heads, config->head_dim, config->n_vocab,
                     (double)config->rms_epsilon, (double)config->attention_scale,
                     config->rope.n_rot, (int)config->rope.scaling, config->rope.base,
                     config->rope.factor, config->rope.original_ctx, config->rope.attention_factor,
                     config->rope.beta_fast, config->rope.beta_slow);
    assert(n > 0 && (size_t)n < sizeof text);
    sha256(model->digest, text, (size_t)n, model->weights.digest, SHA256_BYTES, NULL, 0);
}

/* ---- open and close ---- */

static enum status check_options(const struct model_options *options, struct error *err)
{
    enum { ROWS_MAX = 1 << 16 };
    if (options->rows_max < 1 || options->rows_max > ROWS_MAX)
        return error_set(err, ERR_INVALID, "steps of %zu rows, allowed 1..%d", options->rows_max,
                         ROWS_MAX);
    if (options->outputs_max < 1 || options->outputs_max > options->rows_max)
        return error_set(err, ERR_INVALID, "%zu outputs in a step, allowed 1..%zu",
                         options->outputs_max, options->rows_max);
    if (options->ctx_size > CTX_MAX)
        return error_set(err, ERR_INVALID, "a context of %zu tokens, allowed up to %d",
                         options->ctx_size, CTX_MAX);
    return OK;
}

static enum status init_rope(struct model *model, struct error *err)
{
    const struct rope_config *rope = &model->config.rope;
    model->frequencies = mem_alloc_array(rope->n_rot / 2, sizeof *model->frequencies);
    if (!model->frequencies)
        return error_set(err, ERR_MEMORY, "no memory for rope frequencies");
    rope_init(&model->rope, rope, model->weights.rope_divisors, model->frequencies);
    return OK;
}

static enum status open_steps(struct model *model, const struct model_file *file, struct pool *pool,
                              struct error *err)
{
    const struct model_config *config = &model->config;
    enum status status = model_config_read(&model->config, file, err);
    if (status != OK)
        return status;
    if (model->ctx_size == 0)
        model->ctx_size = config->ctx_train;
    model->kv_layout = (struct kv_layout){.n_groups = 1,
                                          .groups = {{.n_layers = config->n_layers,
                                                      .n_kv_heads = config->n_kv_heads,
                                                      .head_dim = config->head_dim}}};
    status = weights_load(&model->weights, file, config, model->account, pool, err);
    if (status == OK)
        status = init_rope(model, err);
    if (status == OK)
        status = scratch_init(model, err);
    if (status == OK)
        status = copy_name(model, file, err);
    return status;
}

static enum status create(struct model **out, const struct model_file *file,
                          const struct model_options *options, struct pool *pool, size_t n_threads,
                          struct error *err)
{
    *out = NULL;
    enum status status = check_options(options, err);
    if (status != OK)
        return status;
    struct model *model = mem_calloc(1, sizeof *model);
    if (!model)
        return error_set(err, ERR_MEMORY, "no memory for a model");
    model->kernels = options->kernels;
    model->account = options->account;
    model->rows_max = options->rows_max;
    model->outputs_max = options->outputs_max;
    model->ctx_size = options->ctx_size;
    model->n_workers = n_threads;
    model->is_measured = pool == NULL;
    status = open_steps(model, file, pool, err);
    if (status != OK)
        model_close(model);
    else
        *out = model;
    return status;
}

enum status model_open(struct model **out, const struct model_file *file,
                       const struct model_options *options, struct pool *pool, struct error *err)
{
    enum status status = create(out, file, options, pool, pool_threads(pool), err);
    if (status != OK)
        return status;
    fill_info(*out);
    fill_digest(*out);
    return OK;
}

enum status model_measure(struct model_needs *out, const struct model_file *file,
                          const struct model_options *options, size_t n_threads, struct error *err)
{
    struct model *model;
    struct model_options own = *options;
    own.account = NULL;  // nothing is taken
    *out = (struct model_needs){0};
    enum status status = create(&model, file, &own, NULL, n_threads, err);
    if (status != OK)
        return status;
    *out = (struct model_needs){
        .ctx_size = model->ctx_size,
        .weight_bytes = model->weights.bytes,
        .scratch_bytes = model->account_bytes,
        .kv_layout = model->kv_layout,
    };
    model_close(model);
    return OK;
}

void model_close(struct model *model)
{
    if (!model)
        return;
    weights_release(&model->weights);
    attention_release(&model->attention);
    mem_unmap(model->scratch.memory, model->scratch.bytes);
    if (model->account)
        account_release(model->account, ACCOUNT_SCRATCH, model->account_bytes);
    mem_free(model->frequencies);
    mem_free(model->name);
    mem_free(model);
}

const struct model_info *model_info(const struct model *model)
{
    return &model->info;
}

const struct kv_layout *model_kv_layout(const struct model *model)
{
    return &model->kv_layout;
}

void model_digest(const struct model *model, uint8_t out[SHA256_BYTES])
{
    memcpy(out, model->digest, SHA256_BYTES);
}
