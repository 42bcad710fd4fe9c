/* From metadata keys to struct model_config.
 *
 * Every number comes from a stranger's file: each is read with its range, every divisor is checked,
 * and what a family may say but forward does not do (other scalings, activations) is an error that
 * names the key, never a silent guess. Keys: the GGUF specification, and for what files leave out
 * (the router of old DeepSeek-V2 files, the period of gpt-oss's windows) the models' own configs;
 * both are in the row of the family. */
#include "engine/model/config.h"

#include <math.h>

enum { KEY_BYTES = 96 };

struct keys {
    const struct model_file *file;
    const char *arch;
    struct error *err;
};

static const char *key_of(const struct keys *keys, const char *suffix, char text[KEY_BYTES])
{
    snprintf(text, KEY_BYTES, "%s.%s", keys->arch, suffix);
    return text;
}

static enum status require(const struct keys *keys, const char *suffix, uint64_t min, uint64_t max,
                           size_t *out)
{
    char key[KEY_BYTES];
    uint64_t value;
    enum status status =
        model_file_require_u64(keys->file, key_of(keys, suffix, key), min, max, &value, keys->err);
    if (status == OK)
        *out = (size_t)value;
    return status;
}

/* As require(), *out keeps its value when the key is absent. */
static enum status accept(const struct keys *keys, const char *suffix, uint64_t min, uint64_t max,
                          size_t *out)
{
    char key[KEY_BYTES];
    return model_file_has(keys->file, key_of(keys, suffix, key))
               ? require(keys, suffix, min, max, out)
               : OK;
}

/* A finite float in [min, max]; *out keeps its value when the key is absent. */
static enum status accept_f64(const struct keys *keys, const char *suffix, double min, double max,
                              double *out)
{
    char key[KEY_BYTES];
    double value;
    if (!model_file_has(keys->file, key_of(keys, suffix, key)))
        return OK;
    if (!model_file_f64(keys->file, key, &value))
        return error_set(keys->err, ERR_FORMAT, "'%s' is not a number", key);
    if (!(value >= min && value <= max))  // false for NaN too
        return error_set(keys->err, ERR_FORMAT, "'%s' is %g, allowed %g..%g", key, value, min, max);
    *out = value;
    return OK;
}

static enum status accept_bool(const struct keys *keys, const char *suffix, bool *out)
{
    char key[KEY_BYTES];
    if (model_file_has(keys->file, key_of(keys, suffix, key)) &&
        !model_file_bool(keys->file, key, out))
        return error_set(keys->err, ERR_FORMAT, "'%s' is no boolean", key);
    return OK;
}

static enum status find_arch(const struct model_file *file, const struct arch **out,
                             struct error *err)
{
    struct text_view name;
    if (!model_file_text(file, "general.architecture", &name))
        return error_set(err, ERR_FORMAT, "'general.architecture' is missing");
    *out = arch_find(name.bytes, name.n_bytes);
    if (*out)
        return OK;
    int shown = name.n_bytes > 40 ? 40 : (int)name.n_bytes;
    return error_set(err, ERR_UNSUPPORTED, "architecture '%.*s' is not supported (supported: %s)",
                     shown, name.bytes, arch_names());
}

/* ---- attention ---- */

static enum status check_head_dim(const struct keys *keys, const char *what, size_t dim)
{
    if (dim > 0 && dim % 16 == 0 && dim <= HEAD_DIM_MAX)
        return OK;
    return error_set(keys->err, ERR_UNSUPPORTED,
                     "%s of %zu dimensions: only multiples of 16 up to %d are supported", what, dim,
                     HEAD_DIM_MAX);
}

static enum status read_heads(struct model_config *config, const struct keys *keys)
{
    config->n_kv_heads = config->n_heads;
    enum status status = accept(keys, "attention.head_count_kv", 1, HEADS_MAX, &config->n_kv_heads);
    if (status != OK)
        return status;
    if (config->n_heads % config->n_kv_heads != 0)
        return error_set(keys->err, ERR_FORMAT, "%zu heads are not a multiple of %zu kv heads",
                         config->n_heads, config->n_kv_heads);
    config->head_dim = config->n_embd / config->n_heads;
    status = accept(keys, "attention.key_length", 1, HEAD_DIM_MAX, &config->head_dim);
    config->value_dim = config->head_dim;
    if (status == OK)
        status = accept(keys, "attention.value_length", 1, HEAD_DIM_MAX, &config->value_dim);
    if (status == OK)
        status = check_head_dim(keys, "keys", config->head_dim);
    if (status == OK)
        status = check_head_dim(keys, "values", config->value_dim);
    double scale = 1.0 / sqrt((double)config->head_dim);
    if (status == OK)
        status = accept_f64(keys, "attention.scale", 1e-6, 1e6, &scale);
    config->attention_scale = (float)scale;
    return status;
}

/* Files of the first layout give a head's own widths as key_length and value_length, those of the
 * second the widths in the latent space there and the own ones as *_mla. */
static enum status read_latent_heads(struct model_config *config, const struct keys *keys)
{
    struct mla_config *mla = &config->mla;
    size_t key_dim = 0, n_rot = 0;
    enum status status = require(keys, "attention.kv_lora_rank", 16, RANK_MAX, &mla->kv_rank);
    if (status == OK)
        status = accept(keys, "attention.q_lora_rank", 0, RANK_MAX, &mla->q_rank);
    if (status == OK)
        status = require(keys, "rope.dimension_count", 2, HEAD_DIM_MAX, &n_rot);
    char key[KEY_BYTES];
    bool own = model_file_has(keys->file, key_of(keys, "attention.key_length_mla", key));
    if (status == OK)
        status = require(keys, own ? "attention.key_length_mla" : "attention.key_length", 1,
                         HEAD_DIM_MAX, &key_dim);
    if (status == OK)
        status = require(keys, own ? "attention.value_length_mla" : "attention.value_length", 1,
                         HEAD_DIM_MAX, &mla->value_dim);
    if (status != OK)
        return status;
    size_t n_kv_heads = 1;  // of the two layouts: one latent head, or as many as decompressed
    status = accept(keys, "attention.head_count_kv", 1, HEADS_MAX, &n_kv_heads);
    size_t latent_key = mla->kv_rank + n_rot, latent_value = mla->kv_rank;
    if (own && status == OK)
        status = accept(keys, "attention.key_length", latent_key, latent_key, &latent_key);
    if (own && status == OK)
        status = accept(keys, "attention.value_length", latent_value, latent_value, &latent_value);
    if (status == OK && n_kv_heads != 1 && n_kv_heads != config->n_heads)
        status = error_set(keys->err, ERR_FORMAT,
                           "'%s.attention.head_count_kv' is %zu, must be 1 or the %zu heads",
                           keys->arch, n_kv_heads, config->n_heads);
    if (status != OK)
        return status;
    if (key_dim <= n_rot)
        return error_set(keys->err, ERR_FORMAT,
                         "keys of %zu dimensions leave none beside the %zu that are rotated",
                         key_dim, n_rot);
    mla->nope_dim = key_dim - n_rot;
    config->n_kv_heads = 1;
    config->head_dim = mla->kv_rank + n_rot;
    config->value_dim = mla->kv_rank;
    config->attention_scale = (float)(1.0 / sqrt((double)key_dim));
    status = check_head_dim(keys, "latent keys", config->head_dim);
    if (status == OK)
        status = check_head_dim(keys, "latent values", mla->kv_rank);
    if (status == OK)
        status = check_head_dim(keys, "unrotated parts of keys", mla->nope_dim);
    return status == OK ? check_head_dim(keys, "values", mla->value_dim) : status;
}

/* An array of booleans, an item a layer: `flag` for the layers whose item is `value`. */
static enum status read_pattern(struct model_config *config, const struct keys *keys,
                                const char *key, size_t n_items, bool value, uint8_t flag)
{
    if (n_items < config->n_layers)
        return error_set(keys->err, ERR_FORMAT, "'%s' has %zu items for %zu layers", key, n_items,
                         config->n_layers);
    for (size_t i = 0; i < config->n_layers; i++) {
        int64_t item;
        if (!model_file_array_i64(keys->file, key, i, &item))
            return error_set(keys->err, ERR_FORMAT, "'%s' holds no booleans", key);
        config->layer_flags[i] |= (item != 0) == value ? flag : 0;
    }
    return OK;
}

/* Which layers see a window only: an array of booleans, a period, or the family's own. */
static enum status read_windows(struct model_config *config, const struct keys *keys)
{
    char key[KEY_BYTES];
    enum status status = accept(keys, "attention.sliding_window", 0, CTX_MAX, &config->window);
    if (status != OK || config->window == 0)
        return status;
    size_t n_items = 0, period = config->arch->window_period;
    key_of(keys, "attention.sliding_window_pattern", key);
    if (model_file_array(keys->file, key, &n_items))
        return read_pattern(config, keys, key, n_items, true, LAYER_WINDOWED);
    status = accept(keys, "attention.sliding_window_pattern", 0, LAYERS_MAX, &period);
    for (size_t i = 0; i < config->n_layers; i++)
        config->layer_flags[i] |= period == 0 || i % period != period - 1 ? LAYER_WINDOWED : 0;
    return status;
}

/* Which layers have no rope: an array of booleans (false = none), or the family's own. */
static enum status read_unrotated(struct model_config *config, const struct keys *keys)
{
    char key[KEY_BYTES];
    size_t n_items = 0, period = config->arch->unrotated_period;
    if (period == 0)
        return OK;
    key_of(keys, "rope.layers", key);
    if (model_file_array(keys->file, key, &n_items))
        return read_pattern(config, keys, key, n_items, false, LAYER_UNROTATED);
    for (size_t i = period - 1; i < config->n_layers; i += period)
        config->layer_flags[i] |= LAYER_UNROTATED;
    return OK;
}

/* ---- rope ---- */

/* Longrope has no type in files: its tensors say it. */
static enum status read_long_rope(struct rope_config *rope, const struct keys *keys)
{
    enum status status =
        accept_f64(keys, "rope.scaling.original_context_length", 2, CTX_MAX, &rope->original_ctx);
    rope->scaling = ROPE_LONG;
    rope->factor = 1;
    return status
               ? status
               : accept_f64(keys, "rope.scaling.attn_factor", 1e-3, 1e3, &rope->attention_factor);
}

static enum status read_rope_scaling(struct rope_config *rope, const struct keys *keys)
{
    char key[KEY_BYTES];
    struct text_view type = {"none", 4};
    enum status status = accept_f64(keys, "rope.scale_linear", 1, 1e6, &rope->factor);
    if (status == OK)
        status = accept_f64(keys, "rope.scaling.factor", 0, 1e6, &rope->factor);
    if (status != OK)
        return status;
    if (rope->factor == 0)  // some writers say 0 for "none"
        rope->factor = 1;
    bool typed = model_file_text(keys->file, key_of(keys, "rope.scaling.type", key), &type);
    if (!typed && rope->factor != 1)
        type = (struct text_view){"linear", 6};
    if (!typed && model_file_tensor(keys->file, "rope_factors_long.weight"))
        return read_long_rope(rope, keys);
    if (type.n_bytes == 4 && memcmp(type.bytes, "none", 4) == 0) {
        rope->scaling = ROPE_PLAIN;
        rope->factor = 1;
        return OK;
    }
    bool linear = type.n_bytes == 6 && memcmp(type.bytes, "linear", 6) == 0;
    bool yarn = type.n_bytes == 4 && memcmp(type.bytes, "yarn", 4) == 0;
    if (!linear && !yarn)
        return error_set(keys->err, ERR_UNSUPPORTED,
                         "'%s' is '%.*s' (supported: none, linear, yarn)", key,
                         type.n_bytes > 40 ? 40 : (int)type.n_bytes, type.bytes);
    if (rope->factor < 1)
        return error_set(keys->err, ERR_FORMAT, "'%s.rope.scaling.factor' is %g, must be >= 1",
                         keys->arch, rope->factor);
    rope->scaling = linear ? ROPE_LINEAR : ROPE_YARN;
    if (linear)
        return OK;
    status =
        accept_f64(keys, "rope.scaling.original_context_length", 1, CTX_MAX, &rope->original_ctx);
    if (status == OK)
        status = accept_f64(keys, "rope.scaling.attn_factor", 1e-3, 1e3, &rope->attention_factor);
    if (status == OK)
        status = accept_f64(keys, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, &rope->beta_fast);
    if (status == OK)
        status = accept_f64(keys, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, &rope->beta_slow);
    if (status == OK)
        status =
            accept_f64(keys, "rope.scaling.yarn_log_multiplier", 0, 1e3, &rope->log_multiplier);
    bool truncate = !rope->smooth;
    if (status == OK)
        status = accept_bool(keys, "rope.scaling.yarn_truncate", &truncate);
    rope->smooth = !truncate;
    return status;
}

/* Yarn with a magnitude of its own (HF: mscale_all_dim a, mscale 1). DeepSeek's puts
 * m = 1 + 0.1 a ln factor on the scores, once for q and once for k, and leaves the cosines alone;
 * its files store 0.1 a. Elsewhere the cosines are divided by m, and files store a. */
static void apply_log_multiplier(struct model_config *config)
{
    struct rope_config *rope = &config->rope;
    double log_factor = log(rope->factor), plain = 1 + 0.1 * log_factor;
    if (config->arch->mixer == MIX_MLA) {
        double m = 1 + rope->log_multiplier * log_factor;
        config->attention_scale = (float)((double)config->attention_scale * m * m);
        rope->attention_factor /= plain;  // which rope_init() multiplies with
    } else {
        rope->attention_factor /= 1 + 0.1 * rope->log_multiplier * log_factor;
    }
}

static enum status read_rope(struct model_config *config, const struct keys *keys)
{
    struct rope_config *rope = &config->rope;
    bool latent = config->arch->mixer == MIX_MLA;
    size_t n_rot_max = latent ? config->head_dim - config->mla.kv_rank : config->head_dim;
    *rope = (struct rope_config){
        .n_rot = n_rot_max,
        .base = 10000,
        .factor = 1,
        .original_ctx = (double)config->ctx_train,
        .attention_factor = 1,
        .beta_fast = 32,
        .beta_slow = 1,
        .smooth = config->arch->yarn_smooth,
    };
    enum status status = accept(keys, "rope.dimension_count", 2, n_rot_max, &rope->n_rot);
    if (status == OK)
        status = accept_f64(keys, "rope.freq_base", 1.0625, 1e15, &rope->base);
    if (status == OK && rope->n_rot % 2 != 0)
        status = error_set(keys->err, ERR_FORMAT, "'%s.rope.dimension_count' is %zu, not even",
                           keys->arch, rope->n_rot);
    if (status == OK)
        status = read_rope_scaling(rope, keys);
    if (status == OK && rope->scaling == ROPE_YARN && rope->log_multiplier > 0)
        apply_log_multiplier(config);
    return status;
}

/* ---- experts ---- */

static enum status read_groups(struct moe_config *moe, const struct keys *keys)
{
    moe->n_groups = moe->n_groups_used = 1;
    enum status status = accept(keys, "expert_group_count", 0, moe->n_experts, &moe->n_groups);
    if (status != OK || moe->n_groups <= 1) {
        moe->n_groups = 1;
        return status;
    }
    moe->n_groups_used = moe->n_groups;
    status = accept(keys, "expert_group_used_count", 1, moe->n_groups, &moe->n_groups_used);
    size_t group = moe->n_experts / moe->n_groups;
    if (status == OK && (group * moe->n_groups != moe->n_experts || group < 2 ||
                         moe->n_used > group * moe->n_groups_used))
        status =
            error_set(keys->err, ERR_FORMAT,
                      "%zu of %zu experts do not suit %zu of %zu groups ('%s.expert_group_*')",
                      moe->n_used, moe->n_experts, moe->n_groups_used, moe->n_groups, keys->arch);
    return status;
}

static enum status read_score(struct model_config *config, const struct keys *keys)
{
    enum { KEY_ABSENT, KEY_SOFTMAX, KEY_SIGMOID, KEY_SOFTMAX_CHOSEN, KEY_MAX };
    size_t value = KEY_ABSENT;
    enum status status = accept(keys, "expert_gating_func", KEY_ABSENT, KEY_MAX - 1, &value);
    char bias[KEY_BYTES];  // only sigmoid routers have one, and some files leave the key out
    snprintf(bias, sizeof bias, "blk.%zu.exp_probs_b.bias", config->moe.n_dense_layers);
    bool biased = model_file_tensor(keys->file, bias) != NULL;
    config->moe.score = value == KEY_SOFTMAX          ? SCORE_SOFTMAX
                        : value == KEY_SIGMOID        ? SCORE_SIGMOID
                        : value == KEY_SOFTMAX_CHOSEN ? SCORE_SOFTMAX_CHOSEN
                        : biased                      ? SCORE_SIGMOID
                                                      : config->arch->score;
    return status;
}

/* The width of what every token goes through: a width of its own, or a number of experts. */
static enum status read_shared(struct model_config *config, const struct keys *keys)
{
    struct moe_config *moe = &config->moe;
    size_t n_shared = 0;
    moe->n_ff_shared = config->arch->shared_gate ? config->n_ff : 0;
    enum status status = accept(keys, "expert_shared_count", 0, EXPERTS_USED_MAX, &n_shared);
    if (n_shared > 0)
        moe->n_ff_shared = n_shared * moe->n_ff;
    if (status == OK)
        status =
            accept(keys, "expert_shared_feed_forward_length", 0, 4 * EMBD_MAX, &moe->n_ff_shared);
    if (status == OK && moe->n_ff_shared > 4 * EMBD_MAX)
        status = error_set(keys->err, ERR_FORMAT, "'%s.expert_shared_count' is %zu: too wide",
                           keys->arch, n_shared);
    return status;
}

static enum status read_experts(struct model_config *config, const struct keys *keys)
{
    struct moe_config *moe = &config->moe;
    enum presence experts = config->arch->experts;
    enum status status = experts == REQUIRED
                             ? require(keys, "expert_count", 1, EXPERTS_MAX, &moe->n_experts)
                             : accept(keys, "expert_count", 0, EXPERTS_MAX, &moe->n_experts);
    if (status != OK || moe->n_experts == 0)
        return status;
    if (experts == ABSENT)
        return error_set(keys->err, ERR_UNSUPPORTED,
                         "'%s.expert_count' is %zu: %s has no experts here", keys->arch,
                         moe->n_experts, keys->arch);
    moe->n_ff = config->n_ff;
    moe->weights_norm = config->arch->weights_norm;
    double scale = 1;
    size_t used_max = moe->n_experts < EXPERTS_USED_MAX ? moe->n_experts : EXPERTS_USED_MAX;
    status = require(keys, "expert_used_count", 1, used_max, &moe->n_used);
    if (status == OK)
        status = accept(keys, "expert_feed_forward_length", 1, 4 * EMBD_MAX, &moe->n_ff);
    if (status == OK)
        status =
            accept(keys, "leading_dense_block_count", 0, config->n_layers, &moe->n_dense_layers);
    if (status == OK)
        status = accept_bool(keys, "expert_weights_norm", &moe->weights_norm);
    if (status == OK)
        status = accept_f64(keys, "expert_weights_scale", 0, 1e6, &scale);
    moe->weights_scale = scale == 0 ? 1 : (float)scale;  // some writers say 0 for "none"
    if (status == OK)
        status = read_score(config, keys);
    if (status == OK)
        status = read_groups(moe, keys);
    return status == OK ? read_shared(config, keys) : status;
}

/* What a file of a supported family may ask for and forward does not do. */
static enum status refuse_unsupported(const struct keys *keys)
{
    char key[KEY_BYTES];
    bool causal = true;
    if (model_file_bool(keys->file, key_of(keys, "attention.causal", key), &causal) && !causal)
        return error_set(keys->err, ERR_UNSUPPORTED,
                         "'%s' is false: only causal attention is supported", key);
    return OK;
}

/* The vocabulary is what the embedding has rows for; a key that claims more is an error. */
static enum status read_vocab(struct model_config *config, const struct keys *keys)
{
    const struct tensor_info *embedding = model_file_tensor(keys->file, "token_embd.weight");
    if (!embedding)
        return error_set(keys->err, ERR_FORMAT, "tensor 'token_embd.weight' is missing");
    if (embedding->dims[1] < 1 || embedding->dims[1] > VOCAB_MAX)
        return error_set(keys->err, ERR_FORMAT,
                         "tensor 'token_embd.weight' has %llu rows, allowed 1..%d",
                         (unsigned long long)embedding->dims[1], VOCAB_MAX);
    config->n_vocab = (size_t)embedding->dims[1];
    size_t claimed = config->n_vocab;
    enum status status = accept(keys, "vocab_size", 1, VOCAB_MAX, &claimed);
    if (status == OK && claimed > config->n_vocab)
        status = error_set(keys->err, ERR_FORMAT,
                           "'%s.vocab_size' is %zu, tensor 'token_embd.weight' has %zu rows",
                           keys->arch, claimed, config->n_vocab);
    return status;
}

/* Layers of the model proper; those behind them predict further tokens and are left out. */
static enum status read_layers(struct model_config *config, const struct keys *keys)
{
    size_t n_blocks = 0, n_draft = 0;
    enum status status = require(keys, "block_count", 1, LAYERS_MAX, &n_blocks);
    if (status == OK)
        status = accept(keys, "nextn_predict_layers", 0, n_blocks - 1, &n_draft);
    config->n_layers = n_blocks - n_draft;
    config->n_draft_layers = n_draft;
    return status;
}

/* Width of the dense feed-forward blocks; families of experts alone may have only the experts'. */
static enum status read_width(struct model_config *config, const struct keys *keys)
{
    char key[KEY_BYTES];
    bool has = model_file_has(keys->file, key_of(keys, "feed_forward_length", key));
    bool optional = config->arch->experts == REQUIRED;
    const char *suffix = has || !optional ? "feed_forward_length" : "expert_feed_forward_length";
    return require(keys, suffix, 1, 4 * EMBD_MAX, &config->n_ff);
}

enum status model_config_read(struct model_config *out, const struct model_file *file,
                              struct error *err)
{
    struct model_config config = {0};
    enum status status = find_arch(file, &config.arch, err);
    if (status != OK)
        return status;
    struct keys keys = {.file = file, .arch = config.arch->name, .err = err};
    double epsilon = -1;
    status = refuse_unsupported(&keys);
    if (status == OK)
        status = read_layers(&config, &keys);
    if (status == OK)
        status = require(&keys, "context_length", 1, CTX_MAX, &config.ctx_train);
    if (status == OK)
        status = require(&keys, "embedding_length", 1, EMBD_MAX, &config.n_embd);
    if (status == OK)
        status = require(&keys, "attention.head_count", 1, HEADS_MAX, &config.n_heads);
    if (status == OK)
        status = read_width(&config, &keys);
    if (status == OK)
        status = accept_f64(&keys, "attention.layer_norm_rms_epsilon", 0, 1, &epsilon);
    if (status == OK && epsilon < 0)
        status = error_set(err, ERR_FORMAT, "'%s.attention.layer_norm_rms_epsilon' is missing",
                           keys.arch);
    config.rms_epsilon = (float)epsilon;
    bool latent = config.arch->mixer == MIX_MLA;
    if (status == OK)
        status = latent ? read_latent_heads(&config, &keys) : read_heads(&config, &keys);
    if (status == OK)
        status = read_windows(&config, &keys);
    if (status == OK)
        status = read_unrotated(&config, &keys);
    if (status == OK)
        status = read_rope(&config, &keys);
    if (status == OK)
        status = read_experts(&config, &keys);
    if (status == OK)
        status = read_vocab(&config, &keys);
    if (status == OK)
        *out = config;
    return status;
}
