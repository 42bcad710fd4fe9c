/* The table of the tensors that a model is made of, and the check of each against the
 * configuration.
 *
 * rules[] is the only place that knows tensor names. A tensor of the file that no rule asks for is
 * an error: leaving it out would mean to compute something else than the model. Files come in
 * several layouts of the same weights; the ones besides the table's are
 *   - q, k and v in one tensor, gate and up in another (Phi);
 *   - experts as one tensor each (the first Mixtral files) or gate and up in one tensor;
 *   - latent attention's key and value decompression in one tensor (attn_kv_b), whose key part is
 *     needed transposed: values are taken over, and stored as f16 when they are quantised, which
 *     keeps all of their bits that matter (a quant times its scale has less than 20).
 * Nothing large is allocated here. Tensor names: the GGUF specification. */
#include "engine/model/weights_plan.h"

#include "engine/base/mem.h"
#include "engine/kernels/pack.h"

enum { TENSOR_NAME_BYTES = 96, MEMORY_ALIGN = 64 };

/* ---- the table of tensors ---- */

enum extent {
    ONE,
    EMBD,
    QUERY,
    KEY,
    VALUE,
    HEADS_OUT,
    FEED_FORWARD,
    VOCAB,
    HEAD,
    ROTATED_PAIRS,
    HEADS,
    EXPERTS,
    EXPERT_FF,
    SHARED_FF,
    Q_RANK,
    KV_RANK,
    LATENT_KEY,
    NOPE,
    LATENT_VALUE,
};

enum need {
    ALWAYS,
    MAY,
    PLAIN,  // attention without a latent space
    QK_NORM,
    QKV_BIAS,
    O_BIAS,
    SINKS,
    DENSE,  // feed-forward block of a dense layer
    DENSE_BIAS,
    MIXTURE,  // of a layer with experts
    MIXTURE_BIAS,
    CHOICE_BIAS,
    SHARED,
    SHARED_GATE,
    LATENT,
    LATENT_Q_WHOLE,  // q in one product
    LATENT_Q_RANK,   // q in two
    LONG_ROPE,
};

struct rule {
    const char *name;
    enum source_form form;
    enum extent count;  // of matrices, or of vectors in one tensor
    enum extent rows;
    enum extent columns;
    enum need need;
    size_t slot;  // offset of the field that it fills
};

#define LAYER(field) offsetof(struct layer_weights, field)
#define VECTOR(name, columns, need, field)                                                         \
    {                                                                                              \
        name, SOURCE_VECTOR, ONE, ONE, columns, need, LAYER(field)                                 \
    }
#define VECTORS(name, count, columns, need, field)                                                 \
    {                                                                                              \
        name, SOURCE_VECTOR, count, ONE, columns, need, LAYER(field)                               \
    }
#define MATRIX(name, rows, columns, need, field)                                                   \
    {                                                                                              \
        name, SOURCE_MATRIX, ONE, rows, columns, need, LAYER(field)                                \
    }
#define STACK(name, count, rows, columns, need, field)                                             \
    {                                                                                              \
        name, SOURCE_STACK, count, rows, columns, need, LAYER(field)                               \
    }
static const struct rule layer_rules[] = {
    VECTOR("attn_norm.weight", EMBD, ALWAYS, attn_norm),
    MATRIX("attn_q.weight", QUERY, EMBD, PLAIN, q),
    MATRIX("attn_k.weight", KEY, EMBD, PLAIN, k),
    MATRIX("attn_v.weight", VALUE, EMBD, PLAIN, v),
    MATRIX("attn_q.weight", QUERY, EMBD, LATENT_Q_WHOLE, q),
    MATRIX("attn_q_a.weight", Q_RANK, EMBD, LATENT_Q_RANK, q_a),
    VECTOR("attn_q_a_norm.weight", Q_RANK, LATENT_Q_RANK, q_a_norm),
    MATRIX("attn_q_b.weight", QUERY, Q_RANK, LATENT_Q_RANK, q_b),
    MATRIX("attn_kv_a_mqa.weight", LATENT_KEY, EMBD, LATENT, kv_a),
    VECTOR("attn_kv_a_norm.weight", KV_RANK, LATENT, kv_a_norm),
    STACK("attn_k_b.weight", HEADS, KV_RANK, NOPE, LATENT, k_b),
    STACK("attn_v_b.weight", HEADS, LATENT_VALUE, KV_RANK, LATENT, v_b),
    MATRIX("attn_output.weight", EMBD, HEADS_OUT, ALWAYS, o),
    VECTOR("attn_q_norm.weight", HEAD, QK_NORM, q_norm),
    VECTOR("attn_k_norm.weight", HEAD, QK_NORM, k_norm),
    VECTOR("attn_q.bias", QUERY, QKV_BIAS, q_bias),
    VECTOR("attn_k.bias", KEY, QKV_BIAS, k_bias),
    VECTOR("attn_v.bias", VALUE, QKV_BIAS, v_bias),
    VECTOR("attn_output.bias", EMBD, O_BIAS, o_bias),
    VECTOR("attn_sinks.weight", HEADS, SINKS, sinks),
    VECTOR("ffn_norm.weight", EMBD, ALWAYS, ffn_norm),
    MATRIX("ffn_gate.weight", FEED_FORWARD, EMBD, DENSE, gate),
    MATRIX("ffn_up.weight", FEED_FORWARD, EMBD, DENSE, up),
    MATRIX("ffn_down.weight", EMBD, FEED_FORWARD, DENSE, down),
    VECTOR("ffn_gate.bias", FEED_FORWARD, DENSE_BIAS, gate_bias),
    VECTOR("ffn_up.bias", FEED_FORWARD, DENSE_BIAS, up_bias),
    VECTOR("ffn_down.bias", EMBD, DENSE_BIAS, down_bias),
    MATRIX("ffn_gate_inp.weight", EXPERTS, EMBD, MIXTURE, router),
    VECTOR("ffn_gate_inp.bias", EXPERTS, MIXTURE_BIAS, router_bias),
    VECTOR("exp_probs_b.bias", EXPERTS, CHOICE_BIAS, choice_bias),
    STACK("ffn_gate_exps.weight", EXPERTS, EXPERT_FF, EMBD, MIXTURE, gate_exps),
    STACK("ffn_up_exps.weight", EXPERTS, EXPERT_FF, EMBD, MIXTURE, up_exps),
    STACK("ffn_down_exps.weight", EXPERTS, EMBD, EXPERT_FF, MIXTURE, down_exps),
    VECTORS("ffn_gate_exps.bias", EXPERTS, EXPERT_FF, MIXTURE_BIAS, gate_exps_bias),
    VECTORS("ffn_up_exps.bias", EXPERTS, EXPERT_FF, MIXTURE_BIAS, up_exps_bias),
    VECTORS("ffn_down_exps.bias", EXPERTS, EMBD, MIXTURE_BIAS, down_exps_bias),
    MATRIX("ffn_gate_inp_shexp.weight", ONE, EMBD, SHARED_GATE, shared_router),
    MATRIX("ffn_gate_shexp.weight", SHARED_FF, EMBD, SHARED, shared_gate),
    MATRIX("ffn_up_shexp.weight", SHARED_FF, EMBD, SHARED, shared_up),
    MATRIX("ffn_down_shexp.weight", EMBD, SHARED_FF, SHARED, shared_down),
};
#undef LAYER
#define LAYER(field) offsetof(struct model_weights, field)
static const struct rule model_rules[] = {
    MATRIX("token_embd.weight", VOCAB, EMBD, ALWAYS, embedding),
    MATRIX("output.weight", VOCAB, EMBD, MAY, output),
    VECTOR("output_norm.weight", EMBD, ALWAYS, output_norm),
    VECTOR("rope_freqs.weight", ROTATED_PAIRS, MAY, rope_divisors),
    VECTOR("rope_factors_long.weight", ROTATED_PAIRS, LONG_ROPE, rope_long),
    VECTOR("rope_factors_short.weight", ROTATED_PAIRS, LONG_ROPE, rope_short),
};
#undef LAYER
enum {
    LAYER_RULES = sizeof layer_rules / sizeof layer_rules[0],
    MODEL_RULES = sizeof model_rules / sizeof model_rules[0],
};

static size_t extent_of(const struct model_config *config, enum extent extent)
{
    switch (extent) {
    case ONE:
        return 1;
    case EMBD:
        return config->n_embd;
    case QUERY:
        return config->n_heads * config_key_dim(config);
    case KEY:
        return config->n_kv_heads * config->head_dim;
    case VALUE:
        return config->n_kv_heads * config->value_dim;
    case HEADS_OUT:
        return config->n_heads * config_out_dim(config);
    case FEED_FORWARD:
        return config->n_ff;
    case VOCAB:
        return config->n_vocab;
    case HEAD:
        return config->head_dim;
    case ROTATED_PAIRS:
        return config->rope.n_rot / 2;
    case HEADS:
        return config->n_heads;
    case EXPERTS:
        return config->moe.n_experts;
    case EXPERT_FF:
        return config->moe.n_ff;
    case SHARED_FF:
        return config->moe.n_ff_shared;
    case Q_RANK:
        return config->mla.q_rank;
    case KV_RANK:
        return config->mla.kv_rank;
    case LATENT_KEY:
        return config->head_dim;
    case NOPE:
        return config->mla.nope_dim;
    case LATENT_VALUE:
        return config->mla.value_dim;
    }
    return 0;
}

static enum presence when(bool condition)
{
    return condition ? REQUIRED : ABSENT;
}

static enum presence presence_of(const struct model_config *config, enum need need, size_t layer)
{
    const struct arch *arch = config->arch;
    bool latent = arch->mixer == MIX_MLA, mixture = config_has_experts(config, layer);
    switch (need) {
    case ALWAYS:
        return REQUIRED;
    case MAY:
        return OPTIONAL;
    case PLAIN:
        return when(!latent);
    case QK_NORM:
        return when(arch->qk_norm);
    case QKV_BIAS:
        return arch->qkv_bias;
    case O_BIAS:
        return arch->o_bias;
    case SINKS:
        return when(arch->sinks);
    case DENSE:
        return when(!mixture);
    case DENSE_BIAS:
        return mixture ? ABSENT : arch->ffn_bias;
    case MIXTURE:
        return when(mixture);
    case MIXTURE_BIAS:
        return when(mixture && arch->expert_bias);
    case CHOICE_BIAS:
        return mixture ? arch->choice_bias : ABSENT;
    case SHARED:
        return when(mixture && config->moe.n_ff_shared > 0);
    case SHARED_GATE:
        return when(mixture && arch->shared_gate && config->moe.n_ff_shared > 0);
    case LATENT:
        return when(latent);
    case LATENT_Q_WHOLE:
        return when(latent && config->mla.q_rank == 0);
    case LATENT_Q_RANK:
        return when(latent && config->mla.q_rank > 0);
    case LONG_ROPE:
        return when(config->rope.scaling == ROPE_LONG);
    }
    return ABSENT;
}

/* ---- checks ---- */

static enum status check_shape(const struct tensor_info *tensor, size_t n_columns, size_t n_rows,
                               size_t count, struct error *err)
{
    bool fits = tensor->dims[0] == n_columns && tensor->dims[1] == n_rows &&
                tensor->dims[2] == count && tensor->dims[3] == 1;
    if (fits)
        return OK;
    char expected[64];
    if (count > 1)
        snprintf(expected, sizeof expected, "%zu x %zu x %zu", n_columns, n_rows, count);
    else if (n_rows > 1)
        snprintf(expected, sizeof expected, "%zu x %zu", n_columns, n_rows);
    else
        snprintf(expected, sizeof expected, "%zu", n_columns);
    return error_set(err, ERR_FORMAT, "tensor '%s': shape %llu x %llu x %llu x %llu, expected %s",
                     tensor->name, (unsigned long long)tensor->dims[0],
                     (unsigned long long)tensor->dims[1], (unsigned long long)tensor->dims[2],
                     (unsigned long long)tensor->dims[3], expected);
}

/* Names of the types that a matrix may have, for a message. */
static void supported_types(char *text, size_t bytes_max)
{
    size_t n = 0;
    text[0] = '\0';
    for (uint32_t id = 0; id < 64; id++) {
        if (!dtype_info(id) || !pack_supports((enum dtype)id))
            continue;
        int added = snprintf(text + n, bytes_max - n, "%s%s", n ? " " : "", dtype_info(id)->name);
        if (added < 0 || (size_t)added >= bytes_max - n)
            return;
        n += (size_t)added;
    }
}

static bool is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

static enum status check_type(const struct tensor_info *tensor, bool is_vector, struct error *err)
{
    if (is_vector ? is_float(tensor->dtype) : pack_supports(tensor->dtype))
        return OK;
    char types[200] = "F32 F16 BF16";
    if (!is_vector)
        supported_types(types, sizeof types);
    return error_set(err, ERR_UNSUPPORTED, "tensor '%s' is of type %s (supported: %s)",
                     tensor->name, dtype_info(tensor->dtype)->name, types);
}

/* ---- sources ---- */

/* Place for one more source; there are never more than tensors and, of each layer, parts. */
static enum status grow_sources(struct plan *plan, struct error *err)
{
    if (plan->n_sources < plan->n_sources_max)
        return OK;
    size_t n = plan->n_sources_max ? 2 * plan->n_sources_max : 64;
    struct source *sources = mem_realloc_array(plan->sources, n, sizeof *sources);
    if (!sources)
        return error_set(err, ERR_MEMORY, "no memory for the table of weights");
    plan->sources = sources;
    plan->n_sources_max = n;
    return OK;
}

static bool grow_bytes(size_t *total, size_t count, size_t bytes)
{
    size_t product;
    return size_mul(count, bytes, &product) && size_add(product, MEMORY_ALIGN - 1, &product) &&
           size_add(*total, product & ~(size_t)(MEMORY_ALIGN - 1), total);
}

/* Type, sizes and place of a source whose tensor, slot, form, counts and rows are set. */
static enum status add_source(struct plan *plan, struct source source, struct error *err)
{
    const struct tensor_info *tensor = source.tensor;
    bool vector = source.form == SOURCE_VECTOR, transposed = source.form == SOURCE_TRANSPOSED;
    enum status status = check_type(tensor, vector, err);
    if (status == OK)
        status = grow_sources(plan, err);
    if (status != OK)
        return status;
    source.dtype = transposed && !is_float(tensor->dtype) ? DTYPE_F16 : tensor->dtype;
    source.offset = plan->bytes;
    source.first_unit = plan->n_units;
    bool fits;
    if (vector) {
        fits = grow_bytes(&plan->bytes, source.n_columns, sizeof(float));
    } else {
        uint64_t n_rows = tensor->dims[1] * tensor->dims[2];
        source.row_bytes = (size_t)(tensor->bytes / n_rows);
        source.panel_bytes = pack_panel_bytes(source.dtype, source.n_columns);
        if (source.panel_bytes == 0)
            return error_set(err, ERR_FORMAT, "tensor '%s': %zu columns do not suit type %s",
                             tensor->name, source.n_columns, dtype_info(source.dtype)->name);
        source.matrix_panels = (source.n_rows + PANEL_ROWS - 1) / PANEL_ROWS;
        source.n_units = source.n_matrices * (transposed ? 1 : source.matrix_panels);
        fits = size_mul(source.matrix_panels, source.panel_bytes, &source.stride) &&
               grow_bytes(&plan->bytes, source.n_matrices, source.stride);
    }
    if (!fits)
        return error_set(err, ERR_LIMIT, "tensor '%s' is too large", tensor->name);
    plan->n_units += source.n_units;
    plan->sources[plan->n_sources++] = source;
    return OK;
}

/* Where a layer's tensors are looked up. */
struct place {
    struct plan *plan;
    size_t layer;
    void *base;  // struct the slots are in
};

static const struct tensor_info *find(const struct place *place, const char *name)
{
    char full[TENSOR_NAME_BYTES + 32];
    snprintf(full, sizeof full, "blk.%zu.%s", place->layer, name);
    return model_file_tensor(place->plan->file, full);
}

static struct source source_of_rule(const struct place *place, const struct rule *rule,
                                    const struct tensor_info *tensor)
{
    const struct model_config *config = place->plan->config;
    size_t count = extent_of(config, rule->count), n_rows = extent_of(config, rule->rows);
    return (struct source){
        .tensor = tensor,
        .slot = (char *)place->base + rule->slot,
        .form = rule->form,
        .n_matrices = count,
        .n_stacked = count,
        .n_rows = n_rows,
        .n_columns = extent_of(config, rule->columns) * (rule->form == SOURCE_VECTOR ? count : 1),
        .rows_apart = n_rows,
    };
}

/* ---- other layouts ---- */

/* One tensor an expert: ffn_gate.E for ffn_gate_exps. */
static enum status plan_experts_apart(const struct place *place, const struct rule *rule,
                                      struct error *err)
{
    struct plan *plan = place->plan;
    const struct tensor_info *first = NULL;
    int n_kind = (int)strcspn(rule->name, "_") + 1;
    n_kind += (int)strcspn(rule->name + n_kind, "_");
    size_t n_experts = plan->config->moe.n_experts;
    for (size_t i = 0; i < n_experts; i++) {
        char name[TENSOR_NAME_BYTES];
        snprintf(name, sizeof name, "%.*s.%zu.weight", n_kind, rule->name, i);
        const struct tensor_info *tensor = find(place, name);
        if (!tensor)
            return error_set(err, ERR_FORMAT, "tensor 'blk.%zu.%s' is missing", place->layer,
                             i == 0 ? rule->name : name);
        first = first ? first : tensor;
        struct source source = source_of_rule(place, rule, tensor);
        source.n_matrices = 1;
        if (i > 0)
            source.slot = NULL;
        enum status status = check_shape(tensor, source.n_columns, source.n_rows, 1, err);
        if (status == OK && tensor->dtype != first->dtype)
            status = error_set(err, ERR_UNSUPPORTED, "tensor '%s' is of type %s, '%s' of %s",
                               tensor->name, dtype_info(tensor->dtype)->name, first->name,
                               dtype_info(first->dtype)->name);
        if (status == OK)
            status = add_source(plan, source, err);
        if (status != OK)
            return status;
    }
    plan->n_tensors_used += n_experts;
    return OK;
}

/* Gate and up of an expert in one tensor, gate's rows first. */
static enum status plan_gate_up(const struct place *place, const struct rule *rule,
                                const struct tensor_info *tensor, bool is_up, struct error *err)
{
    struct source source = source_of_rule(place, rule, tensor);
    enum status status =
        check_shape(tensor, source.n_columns, 2 * source.n_rows, source.n_matrices, err);
    source.first_row = is_up ? source.n_rows : 0;
    source.rows_apart = 2 * source.n_rows;
    place->plan->n_tensors_used += !is_up;
    return status == OK ? add_source(place->plan, source, err) : status;
}

/* Keys' and values' decompression in one tensor: of each head, rows [nope_dim] of keys, then
 * [value_dim] of values. */
static enum status plan_kv_b(const struct place *place, const struct rule *rule,
                             const struct tensor_info *tensor, bool is_key, struct error *err)
{
    const struct mla_config *mla = &place->plan->config->mla;
    struct source source = source_of_rule(place, rule, tensor);
    source.rows_apart = mla->nope_dim + mla->value_dim;
    source.first_row = is_key ? 0 : mla->nope_dim;
    if (is_key)
        source.form = SOURCE_TRANSPOSED;
    enum status status =
        check_shape(tensor, mla->kv_rank, source.n_matrices * source.rows_apart, 1, err);
    place->plan->n_tensors_used += is_key;
    return status == OK ? add_source(place->plan, source, err) : status;
}

static bool fills(const struct rule *rule, size_t slot)
{
    return rule->slot == slot;
}

/* Of a family with fused tensors: the rule's rows of attn_qkv or of ffn_up. *done tells whether the
 * rule is one of them. */
static enum status plan_fused(const struct place *place, const struct rule *rule, bool *done,
                              struct error *err)
{
    const struct model_config *config = place->plan->config;
    size_t n_q = extent_of(config, QUERY), n_k = extent_of(config, KEY);
    const struct {
        size_t slot;
        const char *name;
        size_t first_row, n_rows;  // of it; of all
    } parts[] = {
        {offsetof(struct layer_weights, q), "attn_qkv.weight", 0, n_q + 2 * n_k},
        {offsetof(struct layer_weights, k), "attn_qkv.weight", n_q, n_q + 2 * n_k},
        {offsetof(struct layer_weights, v), "attn_qkv.weight", n_q + n_k, n_q + 2 * n_k},
        {offsetof(struct layer_weights, gate), "ffn_up.weight", 0, 2 * config->n_ff},
        {offsetof(struct layer_weights, up), "ffn_up.weight", config->n_ff, 2 * config->n_ff},
    };
    size_t i = 0, n = sizeof parts / sizeof parts[0];
    while (i < n && !fills(rule, parts[i].slot))
        i++;
    *done = i < n;
    if (!*done)
        return OK;
    const struct tensor_info *tensor = find(place, parts[i].name);
    if (!tensor)
        return error_set(err, ERR_FORMAT, "tensor 'blk.%zu.%s' is missing", place->layer,
                         parts[i].name);
    struct source source = source_of_rule(place, rule, tensor);
    source.first_row = parts[i].first_row;
    place->plan->n_tensors_used += parts[i].first_row == 0;
    enum status status = check_shape(tensor, source.n_columns, parts[i].n_rows, 1, err);
    return status == OK ? add_source(place->plan, source, err) : status;
}

/* A stack that is not there under its own name. */
static enum status plan_other_layout(const struct place *place, const struct rule *rule,
                                     struct error *err)
{
    bool gate = fills(rule, offsetof(struct layer_weights, gate_exps));
    bool up = fills(rule, offsetof(struct layer_weights, up_exps));
    bool key = fills(rule, offsetof(struct layer_weights, k_b));
    const struct tensor_info *tensor = NULL;
    if (key || fills(rule, offsetof(struct layer_weights, v_b))) {
        tensor = find(place, "attn_kv_b.weight");
        if (tensor)
            return plan_kv_b(place, rule, tensor, key, err);
        return error_set(err, ERR_FORMAT, "tensor 'blk.%zu.%s' is missing", place->layer,
                         rule->name);
    }
    if (gate || up)
        tensor = find(place, "ffn_gate_up_exps.weight");
    if (tensor)
        return plan_gate_up(place, rule, tensor, up, err);
    return plan_experts_apart(place, rule, err);
}

/* ---- the plan ---- */

static enum status plan_rule(const struct place *place, const struct rule *rule,
                             const struct tensor_info *tensor, const char *name, struct error *err)
{
    struct plan *plan = place->plan;
    enum presence presence = presence_of(plan->config, rule->need, place->layer);
    if (presence == ABSENT || (!tensor && presence == OPTIONAL))
        return OK;
    if (!tensor && rule->form == SOURCE_STACK)
        return plan_other_layout(place, rule, err);
    if (!tensor)
        return error_set(err, ERR_FORMAT, "tensor '%s' is missing", name);
    struct source source = source_of_rule(place, rule, tensor);
    size_t count = source.n_matrices;
    enum status status = rule->form == SOURCE_VECTOR
                             ? check_shape(tensor, source.n_columns / count, count, 1, err)
                             : check_shape(tensor, source.n_columns, source.n_rows, count, err);
    plan->n_tensors_used++;
    return status == OK ? add_source(plan, source, err) : status;
}

/* Tensors of layers that only predict further tokens. */
static bool is_draft(const struct plan *plan, const struct tensor_info *tensor)
{
    size_t layer;
    return sscanf(tensor->name, "blk.%4zu.", &layer) == 1 && layer >= plan->config->n_layers &&
           layer < plan->config->n_layers + plan->config->n_draft_layers;
}

/* Every tensor of the file must have a place. */
static enum status check_all_used(const struct plan *plan, struct error *err)
{
    size_t n_tensors = model_file_tensors(plan->file), n_drafts = 0;
    for (size_t i = 0; i < n_tensors && plan->config->n_draft_layers > 0; i++)
        n_drafts += is_draft(plan, model_file_tensor_at(plan->file, i));
    if (n_tensors == plan->n_tensors_used + n_drafts)
        return OK;
    for (size_t i = 0; i < n_tensors; i++) {
        const struct tensor_info *tensor = model_file_tensor_at(plan->file, i);
        bool used = is_draft(plan, tensor);
        for (size_t s = 0; s < plan->n_sources && !used; s++)
            used = plan->sources[s].tensor == tensor;
        if (!used)
            return error_set(err, ERR_UNSUPPORTED,
                             "tensor '%s' has no place in architecture %s as it is supported here",
                             tensor->name, plan->config->arch->name);
    }
    return OK;
}

enum status plan_init(struct plan *plan, struct model_weights *weights,
                      const struct model_file *file, const struct model_config *config,
                      struct error *err)
{
    *plan = (struct plan){.file = file, .config = config};
    enum status status = OK;
    struct place place = {.plan = plan, .base = weights};
    for (size_t r = 0; r < MODEL_RULES && status == OK; r++)
        status = plan_rule(&place, &model_rules[r], model_file_tensor(file, model_rules[r].name),
                           model_rules[r].name, err);
    for (size_t layer = 0; layer < weights->n_layers; layer++) {
        place.layer = layer;
        place.base = &weights->layers[layer];
        for (size_t r = 0; r < LAYER_RULES && status == OK; r++) {
            const struct rule *rule = &layer_rules[r];
            bool is_ffn_norm = rule->slot == offsetof(struct layer_weights, ffn_norm);
            const char *own = is_ffn_norm ? config->arch->ffn_norm : NULL;
            char name[TENSOR_NAME_BYTES];
            bool done = false;
            snprintf(name, sizeof name, "blk.%zu.%s", layer, own ? own : rule->name);
            if (config->arch->fused)
                status = plan_fused(&place, rule, &done, err);
            if (!done)
                status = plan_rule(&place, rule, model_file_tensor(file, name), name, err);
        }
    }
    if (status == OK)
        status = check_all_used(plan, err);
    if (status != OK)
        plan_release(plan);
    return status;
}

void plan_release(struct plan *plan)
{
    mem_free(plan->sources);
    plan->sources = NULL;
}
