/* The rotation's settings of config.json: base, share of the head, and the scalings linear, llama3
 * and yarn, in the spellings of transformers 4 (rope_scaling) and 5 (rope_parameters).
 *
 * Source: modeling_rope_utils of transformers; the keys that llama.cpp's converter writes. */
#include <math.h>
#include <string.h>

#include "engine/formats/hf_config_private.h"

/* The object of the scaling: rope_parameters (transformers 5) or rope_scaling, or NULL. */
static const struct json_node *rope_object(const struct config *config)
{
    const struct json_node *object = config_get(config, config->root, "rope_parameters");
    return object ? object : config_get(config, config->root, "rope_scaling");
}

/* llama3: each frequency's divisor; a wave that turns often in the old context keeps 1. */
static enum status read_llama3(const struct config *config, const struct json_node *rope,
                               double base, double original)
{
    struct hf_facts *facts = config->facts;
    double factor = 8, low = 1, high = 4;
    enum status status = config_accept_f64(config, rope, "factor", &factor);
    if (!status)
        status = config_accept_f64(config, rope, "low_freq_factor", &low);
    if (!status)
        status = config_accept_f64(config, rope, "high_freq_factor", &high);
    if (status)
        return status;
    if (!(factor >= 1) || !(low > 0) || !(high > low) || !(original >= 1))
        return error_set(config->err, ERR_FORMAT,
                         "rope scaling llama3: factor %g, low_freq_factor %g, high_freq_factor %g, "
                         "original_max_position_embeddings %g",
                         factor, low, high, original);
    facts->has_divisors = true;
    for (uint64_t i = 0; i < facts->n_rot / 2; i++) {
        double frequency = pow(base, -2.0 * (double)i / (double)facts->n_rot);
        double wave = 2 * M_PI / frequency, smooth = (original / wave - low) / (high - low);
        double divisor = wave < original / high  ? 1
                         : wave > original / low ? factor
                                                 : 1 / ((1 - smooth) / factor + smooth);
        facts->divisors[i] = (float)divisor;
    }
    return OK;
}

static double yarn_amplitude(double factor, double scale)
{
    return factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1;
}

/* The keys hold what multiplies 1 + 0.1 ln factor; transformers computes the whole. */
static enum status read_yarn(const struct config *config, const struct json_node *rope,
                             double original, double ctx)
{
    double factor = 0, fast = 0, slow = 0, attention = 0, mscale = 0, all_dim = 0;
    bool truncate = true;
    const struct {
        const char *name;
        double *out;
    } numbers[] = {{"factor", &factor},  {"beta_fast", &fast},
                   {"beta_slow", &slow}, {"attention_factor", &attention},
                   {"mscale", &mscale},  {"mscale_all_dim", &all_dim}};
    enum status status = config_accept_bool(config, rope, "truncate", &truncate);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && !status; i++)
        status = config_accept_f64(config, rope, numbers[i].name, numbers[i].out);
    if (status)
        return status;
    if (factor == 0)
        factor = ctx / original;
    if (!(factor >= 1) || !(original >= 1))
        return error_set(config->err, ERR_FORMAT, "rope scaling yarn: factor %g from %g positions",
                         factor, original);
    config_put_text(config, "rope.scaling.type", "yarn");
    config_put_f64(config, "rope.scaling.factor", factor);
    config_put_f64(config, "rope.scaling.original_context_length", original);
    config_put_f64(config, "rope.scaling.yarn_beta_fast", fast != 0 ? fast : 32);
    config_put_f64(config, "rope.scaling.yarn_beta_slow", slow != 0 ? slow : 1);
    char key[KEY_BYTES];
    metadata_bool(config->out, config_key(config, "rope.scaling.yarn_truncate", key), truncate);
    if (!strcmp(config->facts->arch, "deepseek2")) {
        if (attention != 0 || mscale != all_dim)
            return error_set(config->err, ERR_UNSUPPORTED,
                             "rope scaling yarn: mscale %g and mscale_all_dim %g are not equal",
                             mscale, all_dim);
        config_put_f64(config, "rope.scaling.yarn_log_multiplier", 0.1 * all_dim);
        return OK;
    }
    if (attention == 0)
        attention = mscale != 0 && all_dim != 0
                        ? yarn_amplitude(factor, mscale) / yarn_amplitude(factor, all_dim)
                        : yarn_amplitude(factor, 1);
    config_put_f64(config, "rope.scaling.attn_factor", attention / (1 + 0.1 * log(factor)));
    return OK;
}

static enum status read_factors(const struct config *config, const struct json_node *rope,
                                const char *name, float *out)
{
    const struct json_node *list = config_get(config, rope, name);
    size_t n = (size_t)config->facts->n_rot / 2, i = 0;
    if (!json_is(list, JSON_ARRAY) || json_count(list) != n)
        return error_set(config->err, ERR_FORMAT, "rope scaling longrope: %s has not %zu items",
                         name, n);
    for (const struct json_node *item = json_first(list); item; item = json_next(list, item)) {
        double factor;
        if (!json_f64(config->doc, item, &factor))
            return error_set(config->err, ERR_FORMAT, "rope scaling longrope: %s[%zu] is no number",
                             name, i);
        out[i++] = (float)factor;
    }
    return OK;
}

/* longrope: a set of divisors for long contexts and one for others, which GGUF has as tensors. */
static enum status read_longrope(const struct config *config, const struct json_node *rope,
                                 double original, double ctx)
{
    double factor = ctx / original, attention = 0;
    enum status status = config_accept_f64(config, rope, "factor", &factor);
    if (!status)
        status = config_accept_f64(config, rope, "attention_factor", &attention);
    if (!status)
        status = read_factors(config, rope, "long_factor", config->facts->long_factors);
    if (!status)
        status = read_factors(config, rope, "short_factor", config->facts->short_factors);
    if (status)
        return status;
    if (!(original >= 2) || strcmp(config->facts->arch, "phi3"))
        return error_set(config->err, ERR_UNSUPPORTED,
                         "rope scaling longrope from %g positions of %s is not supported "
                         "(supported: of phi3)",
                         original, config->facts->arch);
    if (attention == 0)
        attention = factor <= 1 ? 1 : sqrt(1 + log(factor) / log(original));
    config->facts->has_longrope = true;
    config_put_u64(config, "rope.scaling.original_context_length", (uint64_t)original);
    config_put_f64(config, "rope.scaling.attn_factor", attention);
    return OK;
}

static bool is_type(const struct config *config, const struct json_node *type, const char *text)
{
    return json_equals(config->doc, type, text);
}

static enum status read_scaling(const struct config *config, const struct json_node *rope,
                                double base, double ctx)
{
    const struct json_node *type = config_get(config, rope, "rope_type");
    if (!type)
        type = config_get(config, rope, "type");
    double original = ctx, factor = 1;
    if (!type || is_type(config, type, "default"))
        return OK;
    enum status status =
        config_accept_f64(config, config->root, "original_max_position_embeddings", &original);
    double outer = original;
    if (!status)
        status = config_accept_f64(config, rope, "original_max_position_embeddings", &original);
    if (status)
        return status;
    if (original != outer && config_get(config, config->root, "original_max_position_embeddings"))
        return error_set(config->err, ERR_FORMAT,
                         "original_max_position_embeddings is %g, and %g in the rope scaling",
                         outer, original);
    if (is_type(config, type, "llama3"))
        return read_llama3(config, rope, base, original);
    if (is_type(config, type, "yarn"))
        return read_yarn(config, rope, original, ctx);
    if (is_type(config, type, "longrope") || is_type(config, type, "su"))
        return read_longrope(config, rope, original, ctx);
    if (is_type(config, type, "linear")) {
        status = config_accept_f64(config, rope, "factor", &factor);
        config_put_text(config, "rope.scaling.type", "linear");
        config_put_f64(config, "rope.scaling.factor", factor);
        return status;
    }
    char quoted[GGUF_QUOTE_BYTES];
    gguf_quote(quoted, config->doc->text + type->first, type->last - type->first);
    return error_set(config->err, ERR_UNSUPPORTED,
                     "rope scaling '%s' is not supported (supported: default linear llama3 yarn "
                     "longrope)",
                     quoted);
}

enum status config_read_rope(const struct config *config, uint64_t ctx)
{
    struct hf_facts *facts = config->facts;
    const struct json_node *rope = rope_object(config);
    double base = 10000, share = 1;
    if (rope && rope->kind != JSON_OBJECT)
        return config_bad_value(config, "rope_parameters or rope_scaling", "object");
    enum status status = config_accept_f64(config, config->root, "rope_theta", &base);
    if (!status)
        status = config_accept_f64(config, rope, "rope_theta", &base);
    if (!status)
        status = config_accept_f64(config, config->root, "partial_rotary_factor", &share);
    if (!status)
        status = config_accept_f64(config, rope, "partial_rotary_factor", &share);
    if (status)
        return status;
    if (!(share > 0 && share <= 1))
        return error_set(config->err, ERR_FORMAT, "partial_rotary_factor is %g, allowed 0..1",
                         share);
    if (!(base > 1 && base < 1e15))
        return error_set(config->err, ERR_FORMAT, "rope_theta is %g", base);
    uint64_t of_head = facts->n_rot ? facts->n_rot : facts->head_dim;
    if (of_head > HF_ROTATED_MAX)
        return error_set(config->err, ERR_LIMIT, "heads of %llu dimensions, the limit is %d",
                         (unsigned long long)of_head, HF_ROTATED_MAX);
    facts->n_rot = (uint64_t)((double)of_head * share);
    config_put_u64(config, "rope.dimension_count", facts->n_rot);
    config_put_f64(config, "rope.freq_base", base);
    return rope ? read_scaling(config, rope, base, (double)ctx) : OK;
}
