/* config.json to GGUF keys.
 *
 * Two tables: which model_type is which architecture, and which number goes under which key. A key
 * of the table that is absent and has no default of its own in transformers is an error; a present
 * one of the wrong kind always is. Ranges are checked by whoever reads the keys (model/config.c),
 * as for a GGUF file.
 *
 * Sources: the configuration classes and modeling_rope_utils of transformers; the keys that
 * llama.cpp's converter writes. */
#include "engine/formats/hf_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_BYTES = 96 };

struct config {
    const struct json_doc *doc;
    const struct json_node *root;   // the language model's object
    const struct json_node *outer;  // the whole text's, the same without a wrapper
    struct hf_facts *facts;
    struct metadata *out;
    struct error *err;
};

/* ---- families ---- */

static const struct family {
    const char *model_type;
    const char *arch;
    bool pairs_rope;
} families[] = {
    {"llama", "llama", true},
    {"mistral", "llama", true},
    {"mixtral", "llama", true},
    {"qwen2", "qwen2", false},
    {"qwen3", "qwen3", false},
    {"qwen3_moe", "qwen3moe", false},
    {"qwen2_moe", "qwen2moe", false},
    {"gpt_oss", "gpt-oss", false},
    {"deepseek_v2", "deepseek2", false},
    {"deepseek_v3", "deepseek2", false},
    {"kimi_k2", "deepseek2", false},
};

static enum status find_family(struct config *config, const struct family **out)
{
    const struct json_node *type = json_find(config->doc, config->root, "model_type");
    char known[160] = "", quoted[GGUF_QUOTE_BYTES];
    if (!json_is(type, JSON_STRING))
        return error_set(config->err, ERR_FORMAT, "model_type is %s",
                         type ? "no string" : "missing");
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        size_t n = strlen(known);
        *out = &families[i];
        if (json_equals(config->doc, type, families[i].model_type))
            return OK;
        snprintf(known + n, sizeof known - n, " %s", families[i].model_type);
    }
    gguf_quote(quoted, config->doc->text + type->first, type->last - type->first);
    return error_set(config->err, ERR_UNSUPPORTED,
                     "model_type '%s' is not supported (supported:%s)", quoted, known);
}

/* ---- single values ---- */

/* A value that is there and not null. */
static const struct json_node *get(const struct config *config, const struct json_node *object,
                                   const char *name)
{
    const struct json_node *node = json_find(config->doc, object, name);
    return json_is(node, JSON_NULL) ? NULL : node;
}

static enum status bad_value(const struct config *config, const char *name, const char *wanted)
{
    return error_set(config->err, ERR_FORMAT, "%s is no %s", name, wanted);
}

/* *out keeps its value when the name is absent. */
static enum status accept_u64(const struct config *config, const struct json_node *object,
                              const char *name, uint64_t *out)
{
    const struct json_node *node = get(config, object, name);
    return !node || json_u64(config->doc, node, out) ? OK : bad_value(config, name, "whole number");
}

static enum status accept_f64(const struct config *config, const struct json_node *object,
                              const char *name, double *out)
{
    const struct json_node *node = get(config, object, name);
    return !node || json_f64(config->doc, node, out) ? OK : bad_value(config, name, "number");
}

static enum status accept_bool(const struct config *config, const struct json_node *object,
                               const char *name, bool *out)
{
    const struct json_node *node = get(config, object, name);
    if (node && node->kind != JSON_TRUE && node->kind != JSON_FALSE)
        return bad_value(config, name, "truth value");
    if (node)
        *out = node->kind == JSON_TRUE;
    return OK;
}

static enum status require_u64(const struct config *config, const char *name, uint64_t *out)
{
    if (!get(config, config->root, name))
        return error_set(config->err, ERR_FORMAT, "%s is missing", name);
    return accept_u64(config, config->root, name, out);
}

static const char *key_of(const struct config *config, const char *suffix, char key[KEY_BYTES])
{
    snprintf(key, KEY_BYTES, "%s.%s", config->facts->arch, suffix);
    return key;
}

static void put_u64(const struct config *config, const char *suffix, uint64_t value)
{
    char key[KEY_BYTES];
    metadata_u64(config->out, key_of(config, suffix, key), value);
}

static void put_f64(const struct config *config, const char *suffix, double value)
{
    char key[KEY_BYTES];
    metadata_f64(config->out, key_of(config, suffix, key), value);
}

static void put_text(const struct config *config, const char *suffix, const char *text)
{
    char key[KEY_BYTES];
    metadata_text(config->out, key_of(config, suffix, key), text, strlen(text));
}

/* ---- the table of numbers ---- */

enum rule_kind { WHOLE, REAL, TRUTH };

/* Under which key a value goes; absent ones are left out. The first name that is there wins. */
static const struct rule {
    const char *name;
    const char *suffix;
    enum rule_kind kind;
} rules[] = {
    {"vocab_size", "vocab_size", WHOLE},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", REAL},
    {"num_experts", "expert_count", WHOLE},
    {"num_local_experts", "expert_count", WHOLE},
    {"n_routed_experts", "expert_count", WHOLE},
    {"num_experts_per_tok", "expert_used_count", WHOLE},
    {"experts_per_token", "expert_used_count", WHOLE},
    {"moe_intermediate_size", "expert_feed_forward_length", WHOLE},
    {"n_shared_experts", "expert_shared_count", WHOLE},
    {"shared_expert_intermediate_size", "expert_shared_feed_forward_length", WHOLE},
    {"routed_scaling_factor", "expert_weights_scale", REAL},
    {"norm_topk_prob", "expert_weights_norm", TRUTH},
    {"n_group", "expert_group_count", WHOLE},
    {"topk_group", "expert_group_used_count", WHOLE},
    {"first_k_dense_replace", "leading_dense_block_count", WHOLE},
    {"q_lora_rank", "attention.q_lora_rank", WHOLE},
    {"kv_lora_rank", "attention.kv_lora_rank", WHOLE},
};

static enum status read_rules(const struct config *config)
{
    enum status status = OK;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0] && !status; i++) {
        const struct rule *rule = &rules[i];
        char key[KEY_BYTES];
        uint64_t whole;
        double real;
        bool truth;
        if (!get(config, config->root, rule->name))
            continue;
        key_of(config, rule->suffix, key);
        if (rule->kind == WHOLE && !(status = accept_u64(config, config->root, rule->name, &whole)))
            metadata_u64(config->out, key, whole);
        if (rule->kind == REAL && !(status = accept_f64(config, config->root, rule->name, &real)))
            metadata_f64(config->out, key, real);
        if (rule->kind == TRUTH &&
            !(status = accept_bool(config, config->root, rule->name, &truth)))
            metadata_bool(config->out, key, truth);
    }
    return status;
}

/* ---- rope ---- */

/* The object of the scaling: rope_parameters (transformers 5) or rope_scaling, or NULL. */
static const struct json_node *rope_object(const struct config *config)
{
    const struct json_node *object = get(config, config->root, "rope_parameters");
    return object ? object : get(config, config->root, "rope_scaling");
}

/* llama3: each frequency's divisor; a wave that turns often in the old context keeps 1. */
static enum status read_llama3(const struct config *config, const struct json_node *rope,
                               double base, double original)
{
    struct hf_facts *facts = config->facts;
    double factor = 8, low = 1, high = 4;
    enum status status = accept_f64(config, rope, "factor", &factor);
    if (!status)
        status = accept_f64(config, rope, "low_freq_factor", &low);
    if (!status)
        status = accept_f64(config, rope, "high_freq_factor", &high);
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
    enum status status = accept_bool(config, rope, "truncate", &truncate);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && !status; i++)
        status = accept_f64(config, rope, numbers[i].name, numbers[i].out);
    if (status)
        return status;
    if (factor == 0)
        factor = ctx / original;
    if (!(factor >= 1) || !(original >= 1))
        return error_set(config->err, ERR_FORMAT, "rope scaling yarn: factor %g from %g positions",
                         factor, original);
    put_text(config, "rope.scaling.type", "yarn");
    put_f64(config, "rope.scaling.factor", factor);
    put_f64(config, "rope.scaling.original_context_length", original);
    put_f64(config, "rope.scaling.yarn_beta_fast", fast != 0 ? fast : 32);
    put_f64(config, "rope.scaling.yarn_beta_slow", slow != 0 ? slow : 1);
    if (!truncate) {
        char key[KEY_BYTES];
        metadata_bool(config->out, key_of(config, "rope.scaling.yarn_truncate", key), false);
    }
    if (!strcmp(config->facts->arch, "deepseek2")) {
        if (attention != 0 || mscale != all_dim)
            return error_set(config->err, ERR_UNSUPPORTED,
                             "rope scaling yarn: mscale %g and mscale_all_dim %g are not equal",
                             mscale, all_dim);
        put_f64(config, "rope.scaling.yarn_log_multiplier", 0.1 * all_dim);
        return OK;
    }
    if (attention == 0)
        attention = mscale != 0 && all_dim != 0
                        ? yarn_amplitude(factor, mscale) / yarn_amplitude(factor, all_dim)
                        : yarn_amplitude(factor, 1);
    put_f64(config, "rope.scaling.attn_factor", attention / (1 + 0.1 * log(factor)));
    return OK;
}

static bool is_type(const struct config *config, const struct json_node *type, const char *text)
{
    return json_equals(config->doc, type, text);
}

static enum status read_scaling(const struct config *config, const struct json_node *rope,
                                double base, double ctx)
{
    const struct json_node *type = get(config, rope, "rope_type");
    if (!type)
        type = get(config, rope, "type");
    double original = ctx, factor = 1;
    if (!type || is_type(config, type, "default"))
        return OK;
    enum status status =
        accept_f64(config, config->root, "original_max_position_embeddings", &original);
    if (!status)
        status = accept_f64(config, rope, "original_max_position_embeddings", &original);
    if (status)
        return status;
    if (is_type(config, type, "llama3"))
        return read_llama3(config, rope, base, original);
    if (is_type(config, type, "yarn"))
        return read_yarn(config, rope, original, ctx);
    if (is_type(config, type, "linear")) {
        status = accept_f64(config, rope, "factor", &factor);
        put_text(config, "rope.scaling.type", "linear");
        put_f64(config, "rope.scaling.factor", factor);
        return status;
    }
    char quoted[GGUF_QUOTE_BYTES];
    gguf_quote(quoted, config->doc->text + type->first, type->last - type->first);
    return error_set(config->err, ERR_UNSUPPORTED,
                     "rope scaling '%s' is not supported (supported: default linear llama3 yarn)",
                     quoted);
}

static enum status read_rope(const struct config *config, uint64_t ctx)
{
    struct hf_facts *facts = config->facts;
    const struct json_node *rope = rope_object(config);
    double base = 10000, share = 1;
    if (rope && rope->kind != JSON_OBJECT)
        return bad_value(config, "rope_parameters or rope_scaling", "object");
    enum status status = accept_f64(config, config->root, "rope_theta", &base);
    if (!status)
        status = accept_f64(config, rope, "rope_theta", &base);
    if (!status)
        status = accept_f64(config, config->root, "partial_rotary_factor", &share);
    if (!status)
        status = accept_f64(config, rope, "partial_rotary_factor", &share);
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
    put_u64(config, "rope.dimension_count", facts->n_rot);
    put_f64(config, "rope.freq_base", base);
    return rope ? read_scaling(config, rope, base, (double)ctx) : OK;
}

/* ---- parts ---- */

static enum status read_heads(const struct config *config, uint64_t n_embd)
{
    struct hf_facts *facts = config->facts;
    enum status status = require_u64(config, "num_attention_heads", &facts->n_heads);
    facts->n_kv_heads = facts->n_heads;
    if (!status)
        status = accept_u64(config, config->root, "num_key_value_heads", &facts->n_kv_heads);
    if (!status && (facts->n_heads == 0 || facts->n_kv_heads == 0))
        status = error_set(config->err, ERR_FORMAT,
                           "num_attention_heads or num_key_value_heads "
                           "is 0");
    if (status)
        return status;
    put_u64(config, "attention.head_count", facts->n_heads);
    put_u64(config, "attention.head_count_kv", facts->n_kv_heads);
    if (!strcmp(facts->arch, "deepseek2")) {
        uint64_t nope = 0, value = 0;
        status = require_u64(config, "qk_nope_head_dim", &nope);
        if (!status)
            status = require_u64(config, "qk_rope_head_dim", &facts->n_rot);
        if (!status)
            status = require_u64(config, "v_head_dim", &value);
        if (!status && (nope > HF_ROTATED_MAX || facts->n_rot > HF_ROTATED_MAX))
            status = error_set(config->err, ERR_LIMIT,
                               "qk_nope_head_dim or qk_rope_head_dim is "
                               "too large");
        facts->head_dim = nope + facts->n_rot;
        put_u64(config, "attention.key_length", facts->head_dim);
        put_u64(config, "attention.value_length", value);
        return status;
    }
    bool is_qwen3 = !strcmp(facts->arch, "qwen3");  // its class has a default of its own
    facts->head_dim = is_qwen3 ? 128 : n_embd / facts->n_heads;
    status = accept_u64(config, config->root, "head_dim", &facts->head_dim);
    put_u64(config, "attention.key_length", facts->head_dim);
    put_u64(config, "attention.value_length", facts->head_dim);
    return status;
}

/* qwen2 names a window that is off unless use_sliding_window says otherwise. */
static enum status read_window(const struct config *config)
{
    uint64_t window = 0;
    const struct json_node *use = get(config, config->root, "use_sliding_window");
    enum status status = accept_u64(config, config->root, "sliding_window", &window);
    if (status || window == 0 || json_is(use, JSON_FALSE))
        return status;
    bool by_layer = !strcmp(config->facts->arch, "qwen2") ||
                    !strcmp(config->facts->arch, "qwen3") ||
                    !strcmp(config->facts->arch, "qwen3moe");
    if (by_layer)
        return error_set(config->err, ERR_UNSUPPORTED,
                         "use_sliding_window is true: layers with windows are not supported for %s",
                         config->facts->arch);
    put_u64(config, "attention.sliding_window", window);
    return OK;
}

/* gpt-oss: windows on the even layers, which no GGUF key says. */
static enum status check_layer_types(const struct config *config)
{
    const struct json_node *types = get(config, config->root, "layer_types");
    uint64_t layer = 0;
    if (!types || strcmp(config->facts->arch, "gpt-oss"))
        return OK;
    if (types->kind != JSON_ARRAY)
        return bad_value(config, "layer_types", "array");
    for (const struct json_node *type = json_first(types); type; type = json_next(types, type)) {
        const char *wanted = layer % 2 ? "full_attention" : "sliding_attention";
        if (!json_equals(config->doc, type, wanted))
            return error_set(config->err, ERR_UNSUPPORTED,
                             "layer_types[%llu] is not %s: only alternating windows are supported",
                             (unsigned long long)layer, wanted);
        layer++;
    }
    return OK;
}

/* Qwen's mixtures may leave experts out of some layers, which no key says. */
static enum status check_dense_layers(const struct config *config)
{
    const struct json_node *dense = get(config, config->root, "mlp_only_layers");
    uint64_t step = 1;
    enum status status = accept_u64(config, config->root, "decoder_sparse_step", &step);
    if (!status)
        status = accept_u64(config, config->root, "moe_layer_freq", &step);
    if (!status && (step != 1 || (json_is(dense, JSON_ARRAY) && json_first(dense))))
        status = error_set(config->err, ERR_UNSUPPORTED,
                           "decoder_sparse_step, moe_layer_freq or mlp_only_layers leave experts "
                           "out of some layers, which is not supported");
    return status;
}

static enum status read_experts(const struct config *config, uint64_t n_ff)
{
    const struct json_node *scoring = get(config, config->root, "scoring_func");
    enum status status = check_dense_layers(config);
    if (status)
        return status;
    if (!strcmp(config->facts->arch, "gpt-oss"))
        put_u64(config, "expert_feed_forward_length", n_ff);
    if (strcmp(config->facts->arch, "deepseek2"))
        return OK;
    const struct json_node *type = json_find(config->doc, config->root, "model_type");
    bool sigmoid = scoring ? json_equals(config->doc, scoring, "sigmoid")
                           : !json_equals(config->doc, type, "deepseek_v2");
    if (scoring && !sigmoid && !json_equals(config->doc, scoring, "softmax"))
        return error_set(config->err, ERR_UNSUPPORTED,
                         "scoring_func is neither softmax nor sigmoid");
    put_u64(config, "expert_gating_func", sigmoid ? 2 : 1);
    return OK;
}

/* What would change the arithmetic and has no key. */
static enum status check_activation(const struct config *config)
{
    const struct json_node *act = get(config, config->root, "hidden_act");
    char quoted[GGUF_QUOTE_BYTES];
    if (!act || json_equals(config->doc, act, "silu"))
        return OK;
    gguf_quote(quoted, config->doc->text + act->first, act->last - act->first);
    return error_set(config->err, ERR_UNSUPPORTED,
                     "hidden_act '%s' is not supported (supported: "
                     "silu)",
                     quoted);
}

static enum status read_quantization(const struct config *config)
{
    const struct json_node *object = get(config, config->root, "quantization_config");
    char quoted[GGUF_QUOTE_BYTES];
    uint64_t tile[2] = {128, 128};
    if (!object)
        object = get(config, config->outer, "quantization_config");
    const struct json_node *method = get(config, object, "quant_method");
    if (!object)
        return OK;
    if (json_equals(config->doc, method, "mxfp4")) {
        config->facts->quantized = HF_MXFP4;
        return OK;
    }
    if (!json_equals(config->doc, method, "fp8")) {
        gguf_quote(quoted, method ? config->doc->text + method->first : "",
                   method ? method->last - method->first : 0);
        return error_set(config->err, ERR_UNSUPPORTED,
                         "quantization_config.quant_method '%s' is not supported (supported: fp8 "
                         "mxfp4)",
                         quoted);
    }
    config->facts->quantized = HF_FP8;
    const struct json_node *sizes = get(config, object, "weight_block_size");
    const struct json_node *first = json_is(sizes, JSON_ARRAY) ? json_first(sizes) : NULL;
    const struct json_node *second = first ? json_next(sizes, first) : NULL;
    if (second && json_u64(config->doc, first, &tile[0]) &&
        json_u64(config->doc, second, &tile[1]) && tile[0] == 128 && tile[1] == 128)
        return OK;
    return error_set(config->err, ERR_UNSUPPORTED,
                     "quantization_config.weight_block_size is not [128, 128], the only size that "
                     "is supported for fp8");
}

static enum status read_ties(const struct config *config)
{
    bool tied = false;
    const struct json_node *from = config->root;
    if (!get(config, from, "tie_word_embeddings"))
        from = config->outer;
    if (!get(config, from, "tie_word_embeddings"))
        return OK;
    enum status status = accept_bool(config, from, "tie_word_embeddings", &tied);
    config->facts->ties = tied ? HF_TIED : HF_UNTIED;
    return status;
}

static enum status read_all(struct config *config)
{
    uint64_t ctx = 0, n_embd = 0, n_ff = 0;
    enum status status = require_u64(config, "num_hidden_layers", &config->facts->n_layers);
    if (!status)
        status = require_u64(config, "max_position_embeddings", &ctx);
    if (!status)
        status = require_u64(config, "hidden_size", &n_embd);
    if (!status)
        status = require_u64(config, "intermediate_size", &n_ff);
    put_u64(config, "block_count", config->facts->n_layers);
    put_u64(config, "context_length", ctx);
    put_u64(config, "embedding_length", n_embd);
    put_u64(config, "feed_forward_length", n_ff);
    if (!status)
        status = read_rules(config);
    if (!status)
        status = read_heads(config, n_embd);
    if (!status)
        status = read_rope(config, ctx);
    if (!status)
        status = read_window(config);
    if (!status)
        status = check_layer_types(config);
    if (!status)
        status = read_experts(config, n_ff);
    if (!status)
        status = check_activation(config);
    if (!status)
        status = read_quantization(config);
    return status ? status : read_ties(config);
}

enum status hf_config_read(struct hf_facts *facts, struct metadata *out, const struct json_doc *doc,
                           struct error *err)
{
    const struct json_node *root = doc->nodes;
    const struct family *family;
    if (root->kind != JSON_OBJECT)
        return error_set(err, ERR_FORMAT, "no JSON object");
    *facts = (struct hf_facts){0};
    const struct json_node *inner = json_find(doc, root, "text_config");
    struct config config = {.doc = doc,
                            .root = json_is(inner, JSON_OBJECT) ? inner : root,
                            .outer = root,
                            .facts = facts,
                            .out = out,
                            .err = err};
    enum status status = find_family(&config, &family);
    if (status)
        return status;
    facts->arch = family->arch;
    facts->pairs_rope = family->pairs_rope;
    metadata_text(out, "general.architecture", family->arch, strlen(family->arch));
    return read_all(&config);
}
