/* From metadata keys to struct model_config.
 *
 * Every number comes from a stranger's file: each is read with its range, every divisor is checked,
 * and what a family may say but forward does not do (experts, other scalings, two head widths) is
 * an error that names the key, never a silent guess. Keys: the GGUF specification. */
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

static enum status read_heads(struct model_config *config, const struct keys *keys)
{
    enum status status = require(keys, "attention.head_count", 1, HEADS_MAX, &config->n_heads);
    config->n_kv_heads = config->n_heads;
    if (status == OK)
        status = accept(keys, "attention.head_count_kv", 1, HEADS_MAX, &config->n_kv_heads);
    if (status != OK)
        return status;
    if (config->n_heads % config->n_kv_heads != 0)
        return error_set(keys->err, ERR_FORMAT, "%zu heads are not a multiple of %zu kv heads",
                         config->n_heads, config->n_kv_heads);
    config->head_dim = config->n_embd / config->n_heads;
    status = accept(keys, "attention.key_length", 1, HEAD_DIM_MAX, &config->head_dim);
    size_t value_dim = config->head_dim;
    if (status == OK)
        status = accept(keys, "attention.value_length", 1, HEAD_DIM_MAX, &value_dim);
    if (status != OK)
        return status;
    if (value_dim != config->head_dim)
        return error_set(keys->err, ERR_UNSUPPORTED,
                         "heads of %zu for keys and %zu for values: only equal ones are supported",
                         config->head_dim, value_dim);
    if (config->head_dim == 0 || config->head_dim % 16 != 0 || config->head_dim > HEAD_DIM_MAX)
        return error_set(keys->err, ERR_UNSUPPORTED,
                         "heads of %zu dimensions: only multiples of 16 up to %d are supported",
                         config->head_dim, HEAD_DIM_MAX);
    double scale = 1.0 / sqrt((double)config->head_dim);
    status = accept_f64(keys, "attention.scale", 1e-6, 1e6, &scale);
    config->attention_scale = (float)scale;
    return status;
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
    return status;
}

static enum status read_rope(struct model_config *config, const struct keys *keys)
{
    struct rope_config *rope = &config->rope;
    *rope = (struct rope_config){
        .n_rot = config->head_dim,
        .base = 10000,
        .factor = 1,
        .original_ctx = (double)config->ctx_train,
        .attention_factor = 1,
        .beta_fast = 32,
        .beta_slow = 1,
    };
    enum status status = accept(keys, "rope.dimension_count", 2, config->head_dim, &rope->n_rot);
    if (status == OK)
        status = accept_f64(keys, "rope.freq_base", 1.0625, 1e15, &rope->base);
    if (status == OK && rope->n_rot % 2 != 0)
        status = error_set(keys->err, ERR_FORMAT, "'%s.rope.dimension_count' is %zu, not even",
                           keys->arch, rope->n_rot);
    return status == OK ? read_rope_scaling(rope, keys) : status;
}

/* What a file of a supported family may ask for and forward does not do. */
static enum status refuse_unsupported(const struct keys *keys)
{
    char key[KEY_BYTES];
    size_t n_experts = 0;
    enum status status = accept(keys, "expert_count", 0, UINT32_MAX, &n_experts);
    if (status != OK)
        return status;
    if (n_experts > 0)
        return error_set(keys->err, ERR_UNSUPPORTED,
                         "'%s.expert_count' is %zu: mixtures of experts are not supported",
                         keys->arch, n_experts);
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
        status = require(&keys, "block_count", 1, LAYERS_MAX, &config.n_layers);
    if (status == OK)
        status = require(&keys, "context_length", 1, CTX_MAX, &config.ctx_train);
    if (status == OK)
        status = require(&keys, "embedding_length", 1, EMBD_MAX, &config.n_embd);
    if (status == OK)
        status = require(&keys, "feed_forward_length", 1, 4 * EMBD_MAX, &config.n_ff);
    if (status == OK)
        status = accept_f64(&keys, "attention.layer_norm_rms_epsilon", 0, 1, &epsilon);
    if (status == OK && epsilon < 0)
        status = error_set(err, ERR_FORMAT, "'%s.attention.layer_norm_rms_epsilon' is missing",
                           keys.arch);
    config.rms_epsilon = (float)epsilon;
    if (status == OK)
        status = read_heads(&config, &keys);
    if (status == OK)
        status = read_rope(&config, &keys);
    if (status == OK)
        status = read_vocab(&config, &keys);
    if (status == OK)
        *out = config;
    return status;
}
