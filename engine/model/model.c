/* Opening and closing a model: configuration, weights, rope frequencies, scratch, digest.
 *
 * Order of opening: everything that can be refused is refused first (configuration, tensor table),
 * then memory is reserved and taken, largest last but for the scratch. Scratch is one mapping sized
 * for rows_max rows, so a step allocates nothing. */
#include "engine/model/model.h"

#include <assert.h>

#include "engine/base/mem.h"
#include "engine/model/model_state.h"

/* Names of the arithmetic; to be changed with any change of a kernel's specification. */
#define NUMERICS_FAST    "portable-1"
#define NUMERICS_PRECISE "portable-1 with rests"

/* ---- scratch ---- */

enum { LATENT_STACK_HEADS = 16 };  // rows enough for turning the latent block to pay

/* Attention of one KV group. The one stored head of latent attention serves all query heads: they
 * are cut into stacks, so that the cores can share a single row. */
static struct attention_shape attention_shape_of(const struct model *model, size_t group)
{
    const struct model_config *config = &model->config;
    size_t n_stacks = config->n_kv_heads, share = 1;
    if (config->arch->mixer == MIX_MLA) {
        share = (config->n_heads + LATENT_STACK_HEADS - 1) / LATENT_STACK_HEADS;
        while (config->n_heads % share != 0)
            share++;
        n_stacks = share;
    }
    return (struct attention_shape){
        .n_heads = config->n_heads,
        .n_kv_heads = n_stacks,
        .head_dim = config->head_dim,
        .window = model->kv_layout.groups[group].window,
        .value_dim = config->value_dim,
        .kv_share = share,
    };
}

static enum status scratch_init(struct model *model, struct error *err)
{
    struct scratch *s = &model->scratch;
    if (!scratch_lay_out(s, model, NULL))
        return error_set(err, ERR_LIMIT, "steps of %zu rows are too large", model->rows_max);
    size_t n_groups = model->kv_layout.n_groups, bytes = s->bytes;
    for (size_t g = 0; g < n_groups; g++) {
        struct attention_shape shape = attention_shape_of(model, g);
        size_t attention =
            attention_bytes(&shape, model->rows_max, model->ctx_size, model->n_workers);
        if (attention == 0 || !size_add(bytes, attention, &bytes))
            return error_set(err, ERR_LIMIT, "a context of %zu tokens is too large",
                             model->ctx_size);
    }
    if (model->account) {
        enum status status = account_reserve(model->account, ACCOUNT_SCRATCH, bytes, err);
        if (status != OK)
            return status;
    }
    model->account_bytes = bytes;
    if (model->is_measured)
        return OK;
    s->memory = mem_map(s->bytes);
    bool complete = s->memory != NULL;
    for (size_t g = 0; g < n_groups && complete; g++) {
        struct attention_shape shape = attention_shape_of(model, g);
        complete = attention_init(&model->attention[g], &shape, model->rows_max, model->ctx_size,
                                  model->n_workers);
    }
    if (!complete)
        return error_set(err, ERR_MEMORY, "no memory for the scratch of %zu rows", model->rows_max);
    scratch_lay_out(s, model, s->memory);
    return OK;
}

/* ---- KV groups ---- */

/* Layers of equal window share a group: those that see all tokens, those that see a window. */
static enum status init_groups(struct model *model, struct error *err)
{
    const struct model_config *config = &model->config;
    struct kv_layout *layout = &model->kv_layout;
    model->places = mem_calloc(config->n_layers, sizeof *model->places);
    if (!model->places)
        return error_set(err, ERR_MEMORY, "no memory for the table of layers");
    for (size_t layer = 0; layer < config->n_layers; layer++) {
        size_t window = config->layer_flags[layer] & LAYER_WINDOWED ? config->window : 0, g = 0;
        while (g < layout->n_groups && layout->groups[g].window != window)
            g++;
        if (g == layout->n_groups)
            layout->groups[layout->n_groups++] = (struct kv_group){
                .n_kv_heads = config->n_kv_heads,
                .head_dim = config->head_dim,
                .window = window,
                .value_dim = config->value_dim,
                .latent = config->arch->mixer == MIX_MLA,
            };
        model->places[layer] = (struct layer_place){g, layout->groups[g].n_layers++};
    }
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

/* All that KV contents depend on, in words: every number of the configuration. */
static size_t describe(const struct model *model, char *text, size_t bytes_max)
{
    const struct model_config *c = &model->config;
    const struct rope_config *rope = &c->rope;
    const struct moe_config *moe = &c->moe;
    const struct mla_config *mla = &c->mla;
    /* Integer and half-float products have equal bits at every level; F32 products may run through
     * OpenBLAS, hence the level's name in that case. */
    int n = snprintf(
        text, bytes_max,
        "%s %s|kv f16 32|%s|%zu %zu %zu %zu %zu %zu %zu %zu|%a %a|rope %zu %d %d %a %a %a %a %a %a"
        "|moe %zu %zu %zu %zu %zu %zu %zu %d %d %a|mla %zu %zu %zu %zu|window %zu",
        model->is_precise ? NUMERICS_PRECISE : NUMERICS_FAST,
        model->weights.has_f32 ? model->kernels->name : "any", c->arch->name, c->n_layers,
        c->n_embd, c->n_ff, c->n_heads, c->n_kv_heads, c->head_dim, c->value_dim, c->n_vocab,
        (double)c->rms_epsilon, (double)c->attention_scale, rope->n_rot, (int)rope->scaling,
        (int)rope->smooth, rope->base, rope->factor, rope->original_ctx, rope->attention_factor,
        rope->beta_fast, rope->beta_slow, moe->n_experts, moe->n_used, moe->n_ff, moe->n_ff_shared,
        moe->n_dense_layers, moe->n_groups, moe->n_groups_used, (int)moe->score,
        (int)moe->weights_norm, (double)moe->weights_scale, mla->q_rank, mla->kv_rank,
        mla->nope_dim, mla->value_dim, c->window);
    assert(n > 0 && (size_t)n < bytes_max);
    return (size_t)n;
}

static void fill_digest(struct model *model)
{
    char text[900];
    size_t n = describe(model, text, sizeof text);
    sha256(model->digest, text, n, model->weights.digest, SHA256_BYTES, model->config.layer_flags,
           sizeof model->config.layer_flags);
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
    struct rope_config *rope = &model->config.rope;
    const float *divisors = model->weights.rope_divisors;
    if (rope->scaling == ROPE_LONG && (double)model->ctx_size <= rope->original_ctx)
        rope->scaling = ROPE_SHORT;
    if (rope->scaling == ROPE_LONG || rope->scaling == ROPE_SHORT)
        divisors =
            rope->scaling == ROPE_LONG ? model->weights.rope_long : model->weights.rope_short;
    model->frequencies = mem_alloc_array(rope->n_rot / 2, sizeof *model->frequencies);
    if (!model->frequencies)
        return error_set(err, ERR_MEMORY, "no memory for rope frequencies");
    rope_init(&model->rope, rope, divisors, model->frequencies);
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
    status = init_groups(model, err);
    if (status == OK)
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
    model->is_precise = options->is_precise;
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
        .n_vocab = model->config.n_vocab,
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
    for (size_t g = 0; g < KV_GROUPS_MAX; g++)
        attention_release(&model->attention[g]);
    mem_unmap(model->scratch.memory, model->scratch.bytes);
    if (model->account)
        account_release(model->account, ACCOUNT_SCRATCH, model->account_bytes);
    mem_free(model->frequencies);
    mem_free(model->places);
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
