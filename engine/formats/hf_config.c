/* config.json to GGUF keys.
 *
 * Two tables: which model_type is which architecture, and which number goes under which key. A key
 * of the table that is absent and has no default of its own in transformers is an error; a present
 * one of the wrong kind always is. Ranges are checked by whoever reads the keys (model/config.c),
 * as for a GGUF file.
 *
 * Sources: the configuration classes and modeling_rope_utils of transformers; the keys that
 * llama.cpp's converter writes. */
#include "engine/formats/hf_config_private.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

/* ---- families ---- */

static const struct family {
    const char *model_type;
    const char *arch;
    bool pairs_rope;
} families[] = {
    {"llama", "llama", true},
    {"mistral", "llama", true},
    {"mixtral", "llama", true},
    {"smollm3", "smollm3", true},
    {"phi3", "phi3", false},
    {"qwen2", "qwen2", false},
    {"qwen3", "qwen3", false},
    {"qwen3_moe", "qwen3moe", false},
    {"qwen2_moe", "qwen2moe", false},
    {"gpt_oss", "gpt-oss", false},
    {"deepseek_v2", "deepseek2", false},
    {"deepseek_v3", "deepseek2", false},
    {"kimi_k2", "deepseek2", false},
    {"glm4_moe_lite", "deepseek2", false},
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
const struct json_node *config_get(const struct config *config, const struct json_node *object,
                                   const char *name)
{
    const struct json_node *node = json_find(config->doc, object, name);
    return json_is(node, JSON_NULL) ? NULL : node;
}

enum status config_bad_value(const struct config *config, const char *name, const char *wanted)
{
    return error_set(config->err, ERR_FORMAT, "%s is no %s", name, wanted);
}

/* *out keeps its value when the name is absent. */
enum status config_accept_u64(const struct config *config, const struct json_node *object,
                              const char *name, uint64_t *out)
{
    const struct json_node *node = config_get(config, object, name);
    return !node || json_u64(config->doc, node, out)
               ? OK
               : config_bad_value(config, name, "whole number");
}

enum status config_accept_f64(const struct config *config, const struct json_node *object,
                              const char *name, double *out)
{
    const struct json_node *node = config_get(config, object, name);
    return !node || json_f64(config->doc, node, out) ? OK
                                                     : config_bad_value(config, name, "number");
}

enum status config_accept_bool(const struct config *config, const struct json_node *object,
                               const char *name, bool *out)
{
    const struct json_node *node = config_get(config, object, name);
    if (node && node->kind != JSON_TRUE && node->kind != JSON_FALSE)
        return config_bad_value(config, name, "truth value");
    if (node)
        *out = node->kind == JSON_TRUE;
    return OK;
}

static enum status config_require_u64(const struct config *config, const char *name, uint64_t *out)
{
    if (!config_get(config, config->root, name))
        return error_set(config->err, ERR_FORMAT, "%s is missing", name);
    return config_accept_u64(config, config->root, name, out);
}

const char *config_key(const struct config *config, const char *suffix, char key[KEY_BYTES])
{
    snprintf(key, KEY_BYTES, "%s.%s", config->facts->arch, suffix);
    return key;
}

void config_put_u64(const struct config *config, const char *suffix, uint64_t value)
{
    char key[KEY_BYTES];
    metadata_u64(config->out, config_key(config, suffix, key), value);
}

void config_put_f64(const struct config *config, const char *suffix, double value)
{
    char key[KEY_BYTES];
    metadata_f64(config->out, config_key(config, suffix, key), value);
}

void config_put_text(const struct config *config, const char *suffix, const char *text)
{
    char key[KEY_BYTES];
    metadata_text(config->out, config_key(config, suffix, key), text, strlen(text));
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
        if (!config_get(config, config->root, rule->name))
            continue;
        config_key(config, rule->suffix, key);
        if (rule->kind == WHOLE &&
            !(status = config_accept_u64(config, config->root, rule->name, &whole)))
            metadata_u64(config->out, key, whole);
        if (rule->kind == REAL &&
            !(status = config_accept_f64(config, config->root, rule->name, &real)))
            metadata_f64(config->out, key, real);
        if (rule->kind == TRUTH &&
            !(status = config_accept_bool(config, config->root, rule->name, &truth)))
            metadata_bool(config->out, key, truth);
    }
    return status;
}

/* ---- parts ---- */

/* Widths that follow from others, where the file repeats them. */
static enum status check_latent_heads(const struct config *config, uint64_t nope)
{
    uint64_t whole = nope + config->facts->n_rot, head = whole, query = whole;
    enum status status = config_accept_u64(config, config->root, "head_dim", &head);
    if (!status)
        status = config_accept_u64(config, config->root, "qk_head_dim", &query);
    if (!status && ((head != whole && head != config->facts->n_rot) || query != whole))
        status = error_set(config->err, ERR_FORMAT,
                           "head_dim or qk_head_dim does not follow from qk_nope_head_dim and "
                           "qk_rope_head_dim");
    return status;
}

static enum status read_heads(const struct config *config, uint64_t n_embd)
{
    struct hf_facts *facts = config->facts;
    enum status status = config_require_u64(config, "num_attention_heads", &facts->n_heads);
    facts->n_kv_heads = facts->n_heads;
    if (!status)
        status = config_accept_u64(config, config->root, "num_key_value_heads", &facts->n_kv_heads);
    if (!status && (facts->n_heads == 0 || facts->n_kv_heads == 0))
        status = error_set(config->err, ERR_FORMAT,
                           "num_attention_heads or num_key_value_heads "
                           "is 0");
    if (status)
        return status;
    config_put_u64(config, "attention.head_count", facts->n_heads);
    config_put_u64(config, "attention.head_count_kv", facts->n_kv_heads);
    if (!strcmp(facts->arch, "deepseek2")) {
        uint64_t nope = 0, value = 0;
        status = config_require_u64(config, "qk_nope_head_dim", &nope);
        if (!status)
            status = config_require_u64(config, "qk_rope_head_dim", &facts->n_rot);
        if (!status)
            status = config_require_u64(config, "v_head_dim", &value);
        if (!status && (nope > HF_ROTATED_MAX || facts->n_rot > HF_ROTATED_MAX))
            status = error_set(config->err, ERR_LIMIT,
                               "qk_nope_head_dim or qk_rope_head_dim is "
                               "too large");
        facts->head_dim = nope + facts->n_rot;
        config_put_u64(config, "attention.key_length", facts->head_dim);
        config_put_u64(config, "attention.value_length", value);
        return status ? status : check_latent_heads(config, nope);
    }
    bool is_qwen3 = !strcmp(facts->arch, "qwen3");  // its class has a default of its own
    facts->head_dim = is_qwen3 ? 128 : n_embd / facts->n_heads;
    status = config_accept_u64(config, config->root, "head_dim", &facts->head_dim);
    config_put_u64(config, "attention.key_length", facts->head_dim);
    config_put_u64(config, "attention.value_length", facts->head_dim);
    return status;
}

/* Whether a layer sees a window only: as layer_types says, else Qwen's max_window_layers. */
static enum status read_layer_windows(const struct config *config, uint64_t window, uint8_t *out)
{
    const struct json_node *types = config_get(config, config->root, "layer_types");
    uint64_t first = 28, n = 0;  // transformers' default
    enum status status = config_accept_u64(config, config->root, "max_window_layers", &first);
    if (status || !types) {
        for (uint64_t i = 0; i < config->facts->n_layers; i++)
            out[i] = window && i >= first;
        return status;
    }
    if (types->kind != JSON_ARRAY || json_count(types) != config->facts->n_layers)
        return error_set(config->err, ERR_FORMAT, "layer_types has not one item a layer");
    for (const struct json_node *type = json_first(types); type; type = json_next(types, type)) {
        out[n] = json_equals(config->doc, type, "sliding_attention");
        if (!out[n] && !json_equals(config->doc, type, "full_attention"))
            return error_set(config->err, ERR_UNSUPPORTED,
                             "layer_types[%llu] is neither full_attention nor sliding_attention",
                             (unsigned long long)n);
        if (out[n++] && !window)
            return error_set(config->err, ERR_FORMAT,
                             "layer_types names sliding_attention, but there is no sliding_window");
    }
    return OK;
}

/* SmolLM3: which layers have a rope, as 0 and 1, or the last of each so many has none. */
static enum status read_rotated_layers(const struct config *config)
{
    const struct json_node *list = config_get(config, config->root, "no_rope_layers");
    uint64_t n = config->facts->n_layers, period = 4, i = 0, rotates = 0;
    if (strcmp(config->facts->arch, "smollm3"))
        return OK;
    enum status status = config_accept_u64(config, config->root, "no_rope_layer_interval", &period);
    if (!status && (period == 0 || (list && (list->kind != JSON_ARRAY || json_count(list) != n))))
        status = error_set(config->err, ERR_FORMAT,
                           "no_rope_layers has not one item a layer, or the interval is 0");
    uint8_t *layers = status ? NULL : mem_calloc(n + 1, 1);
    if (!status && !layers)
        status = error_set(config->err, ERR_MEMORY, "no memory for the layers");
    for (i = 0; i < n && !status; i++)
        layers[i] = (i + 1) % period != 0;
    i = 0;
    for (const struct json_node *item = list && !status ? json_first(list) : NULL; item && !status;
         item = json_next(list, item)) {
        if (!json_u64(config->doc, item, &rotates) || rotates > 1)
            status = error_set(config->err, ERR_FORMAT, "no_rope_layers holds no 0 and 1");
        layers[i++] = rotates != 0;
    }
    if (status) {
        mem_free(layers);
        return status;
    }
    char key[KEY_BYTES];
    metadata_numbers_take(config->out, config_key(config, "rope.layers", key), GGUF_BOOL, layers, n,
                          1);
    return OK;
}

/* Qwen names a window that is off unless use_sliding_window says otherwise. */
static enum status read_window(const struct config *config)
{
    const struct hf_facts *facts = config->facts;
    uint64_t window = 0;
    bool is_qwen = !strncmp(facts->arch, "qwen", 4);
    bool use = !is_qwen && strcmp(facts->arch, "smollm3");
    enum status status = config_accept_u64(config, config->root, "sliding_window", &window);
    if (!status)
        status = config_accept_bool(config, config->root, "use_sliding_window", &use);
    window = use ? window : 0;
    if (!status && window && !strcmp(facts->arch, "smollm3") &&
        !config_get(config, config->root, "layer_types"))
        status = error_set(config->err, ERR_UNSUPPORTED,
                           "use_sliding_window without layer_types is not supported for smollm3");
    if (status)
        return status;
    if (!is_qwen && !config_get(config, config->root, "layer_types")) {
        if (window)
            config_put_u64(config, "attention.sliding_window", window);
        return OK;
    }
    uint8_t *windowed = mem_calloc(facts->n_layers + 1, 1);
    if (!windowed)
        return error_set(config->err, ERR_MEMORY, "no memory for the layers");
    status = read_layer_windows(config, window, windowed);
    if (status || !memchr(windowed, 1, facts->n_layers)) {
        mem_free(windowed);
        return status;
    }
    char key[KEY_BYTES];
    config_put_u64(config, "attention.sliding_window", window);
    metadata_numbers_take(config->out, config_key(config, "attention.sliding_window_pattern", key),
                          GGUF_BOOL, windowed, facts->n_layers, 1);
    return OK;
}

/* What the arithmetic here has built in, truth values as 0 and 1: another one is refused. */
static const struct fixed {
    const char *arch;
    const char *name;
    double value;
} fixed_values[] = {
    {"gpt-oss", "swiglu_alpha", 1.702},
    {"gpt-oss", "swiglu_limit", 7},
    {"deepseek2", "rope_interleave", 1},
    {"qwen2moe", "qkv_bias", 1},
};

static enum status check_fixed(const struct config *config)
{
    for (size_t i = 0; i < sizeof fixed_values / sizeof fixed_values[0]; i++) {
        const struct fixed *fixed = &fixed_values[i];
        const struct json_node *node = config_get(config, config->root, fixed->name);
        double value = json_is(node, JSON_TRUE) ? 1 : 0;
        if (!node || strcmp(fixed->arch, config->facts->arch))
            continue;
        if (node->kind != JSON_TRUE && node->kind != JSON_FALSE &&
            !json_f64(config->doc, node, &value))
            return config_bad_value(config, fixed->name, "number or truth value");
        if (fabs(value - fixed->value) > 1e-6)
            return error_set(config->err, ERR_UNSUPPORTED, "%s is %g (supported for %s: %g)",
                             fixed->name, value, fixed->arch, fixed->value);
    }
    return OK;
}

/* Qwen's mixtures may leave experts out of some layers, which no key says. */
static enum status check_dense_layers(const struct config *config)
{
    const struct json_node *dense = config_get(config, config->root, "mlp_only_layers");
    uint64_t step = 1;
    enum status status = config_accept_u64(config, config->root, "decoder_sparse_step", &step);
    if (!status)
        status = config_accept_u64(config, config->root, "moe_layer_freq", &step);
    if (!status && (step != 1 || (json_is(dense, JSON_ARRAY) && json_first(dense))))
        status = error_set(config->err, ERR_UNSUPPORTED,
                           "decoder_sparse_step, moe_layer_freq or mlp_only_layers leave experts "
                           "out of some layers, which is not supported");
    return status;
}

/* GLM-4.7-Flash lists which layers have experts: dense ones may only stand in front. */
static enum status read_mlp_layers(const struct config *config)
{
    const struct json_node *types = config_get(config, config->root, "mlp_layer_types");
    uint64_t n = 0, n_dense = 0, said = 0;
    if (!types)
        return OK;
    if (types->kind != JSON_ARRAY || json_count(types) != config->facts->n_layers)
        return error_set(config->err, ERR_FORMAT, "mlp_layer_types has not one item a layer");
    for (const struct json_node *type = json_first(types); type;
         type = json_next(types, type), n++) {
        bool dense = json_equals(config->doc, type, "dense");
        if ((!dense && !json_equals(config->doc, type, "sparse")) || (dense && n_dense < n))
            return error_set(config->err, ERR_UNSUPPORTED,
                             "mlp_layer_types[%llu] is no \"sparse\" behind leading \"dense\"",
                             (unsigned long long)n);
        n_dense += dense;
    }
    said = n_dense;
    enum status status = config_accept_u64(config, config->root, "first_k_dense_replace", &said);
    if (!status && said != n_dense)
        status = error_set(config->err, ERR_FORMAT,
                           "first_k_dense_replace is %llu, mlp_layer_types has %llu",
                           (unsigned long long)said, (unsigned long long)n_dense);
    config_put_u64(config, "leading_dense_block_count", n_dense);
    return status;
}

/* DeepSeek's choice of experts: groups are limited unless the method is plain. */
static enum status check_groups(const struct config *config)
{
    const struct json_node *method = config_get(config, config->root, "topk_method");
    uint64_t n_groups = 1, n_used = 1;
    enum status status = config_accept_u64(config, config->root, "n_group", &n_groups);
    if (!status)
        status = config_accept_u64(config, config->root, "topk_group", &n_used);
    if (!status && n_used > n_groups)
        status = error_set(config->err, ERR_FORMAT, "topk_group is %llu of n_group %llu",
                           (unsigned long long)n_used, (unsigned long long)n_groups);
    bool plain = json_equals(config->doc, method, "greedy");
    if (status || !method || (plain && n_groups == 1) ||
        json_equals(config->doc, method, "group_limited_greedy") ||
        json_equals(config->doc, method, "noaux_tc"))
        return status;
    return error_set(config->err, ERR_UNSUPPORTED,
                     "topk_method is none of group_limited_greedy, noaux_tc, and greedy with one "
                     "group");
}

static enum status read_experts(const struct config *config, uint64_t n_ff)
{
    const struct json_node *scoring = config_get(config, config->root, "scoring_func");
    enum status status = check_dense_layers(config);
    if (!status)
        status = read_mlp_layers(config);
    if (!status)
        status = check_groups(config);
    if (status)
        return status;
    if (!strcmp(config->facts->arch, "gpt-oss"))
        config_put_u64(config, "expert_feed_forward_length", n_ff);
    if (strcmp(config->facts->arch, "deepseek2"))
        return OK;
    const struct json_node *type = json_find(config->doc, config->root, "model_type");
    bool sigmoid = scoring ? json_equals(config->doc, scoring, "sigmoid")
                           : !json_equals(config->doc, type, "deepseek_v2");
    if (scoring && !sigmoid && !json_equals(config->doc, scoring, "softmax"))
        return error_set(config->err, ERR_UNSUPPORTED,
                         "scoring_func is neither softmax nor sigmoid");
    config_put_u64(config, "expert_gating_func", sigmoid ? 2 : 1);
    return OK;
}

/* What would change the arithmetic and has no key. */
static enum status check_activation(const struct config *config)
{
    const struct json_node *act = config_get(config, config->root, "hidden_act");
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
    const struct json_node *object = config_get(config, config->root, "quantization_config");
    char quoted[GGUF_QUOTE_BYTES];
    uint64_t tile[2] = {128, 128};
    if (!object)
        object = config_get(config, config->outer, "quantization_config");
    const struct json_node *method = config_get(config, object, "quant_method");
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
    const struct json_node *sizes = config_get(config, object, "weight_block_size");
    const struct json_node *first = json_is(sizes, JSON_ARRAY) ? json_first(sizes) : NULL;
    const struct json_node *second = first ? json_next(sizes, first) : NULL;
    if (second && json_u64(config->doc, first, &tile[0]) &&
        json_u64(config->doc, second, &tile[1]) && tile[0] == 128 && tile[1] == 128)
        return OK;
    return error_set(config->err, ERR_UNSUPPORTED,
                     "quantization_config.weight_block_size is not [128, 128], the only size that "
                     "is supported for fp8");
}

/* Whether there are biases the tensors say; the two must agree. Qwen2 has them unasked. */
static enum status read_biases(const struct config *config)
{
    const struct {
        const char *name;
        enum hf_said *out;
    } flags[] = {{"attention_bias", &config->facts->attention_bias},
                 {"mlp_bias", &config->facts->mlp_bias}};
    for (size_t i = 0; i < 2 && strncmp(config->facts->arch, "qwen2", 5); i++) {
        bool said = false;
        enum status status = config_accept_bool(config, config->root, flags[i].name, &said);
        if (status)
            return status;
        if (config_get(config, config->root, flags[i].name))
            *flags[i].out = said ? HF_YES : HF_NO;
    }
    return OK;
}

static enum status read_ties(const struct config *config)
{
    bool tied = false;
    const struct json_node *from = config->root;
    if (!config_get(config, from, "tie_word_embeddings"))
        from = config->outer;
    if (!config_get(config, from, "tie_word_embeddings"))
        return OK;
    enum status status = config_accept_bool(config, from, "tie_word_embeddings", &tied);
    config->facts->ties = tied ? HF_TIED : HF_UNTIED;
    return status;
}

static enum status read_all(struct config *config)
{
    uint64_t ctx = 0, n_embd = 0, n_ff = 0;
    enum status status = config_require_u64(config, "num_hidden_layers", &config->facts->n_layers);
    if (!status)
        status = config_require_u64(config, "max_position_embeddings", &ctx);
    if (!status)
        status = config_require_u64(config, "hidden_size", &n_embd);
    if (!status)
        status = config_require_u64(config, "intermediate_size", &n_ff);
    config_put_u64(config, "block_count", config->facts->n_layers);
    config_put_u64(config, "context_length", ctx);
    config_put_u64(config, "embedding_length", n_embd);
    config_put_u64(config, "feed_forward_length", n_ff);
    if (!status)
        status = read_rules(config);
    if (!status)
        status = read_heads(config, n_embd);
    if (!status)
        status = config_read_rope(config, ctx);
    if (!status)
        status = read_window(config);
    if (!status)
        status = read_rotated_layers(config);
    if (!status)
        status = check_fixed(config);
    if (!status)
        status = read_biases(config);
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
