/* Tiny models with reproducible weights, written as GGUF files on the fly.
 *
 * Weights are a pure function of the tensor's name and type (tiny_values() below), and
 * tests/golden/model/tiny_llama.py makes the same ones, so that the goldens need no weights in the
 * repository: only the logits of transformers are committed. A change here must be made there. The
 * families of tiny_families.h reach transformers as the files themselves (families.py). */
#ifndef WICARA_TESTS_TINY_MODEL_H
#define WICARA_TESTS_TINY_MODEL_H

#include <stdint.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/dtype.h"

struct tiny_model {
    const char *name;
    const char *arch;
    uint32_t n_embd, n_layers, n_heads, n_kv_heads, head_dim, n_ff, n_vocab;
    enum dtype dtype;          // of the matrices
    enum dtype experts_dtype;  // of the experts' matrices, DTYPE_F32 = dtype
    uint32_t n_rot;            // 0 = head_dim
    bool tied, biases;
    const char *scaling;  // rope.scaling.type or NULL
    float factor, original_ctx, beta_fast, beta_slow;
    const float *divisors;           // rope_freqs or NULL
    float log_multiplier;            // yarn
    float long_rope;                 // longrope from so many positions on, 0 = none
    uint32_t value_dim;              // 0 = head_dim
    uint32_t window, window_period;  // period 0 = key left out
    bool sinks;
    const char *ffn_norm;  // instead of ffn_norm
    /* Mixture of experts, in layers from n_dense on; 0 experts = none. */
    uint32_t n_experts, n_used, n_ff_exp, n_ff_shared, n_shared, n_dense;
    uint32_t n_groups, n_groups_used, gating;  // 0 = key left out
    bool norm, shared_gate, choice_bias, expert_bias;
    float scale;                     // 0 = key left out
    bool experts_apart, gate_up;     // other layouts of the experts' tensors
    uint32_t q_rank, kv_rank, nope;  // latent attention; head_dim is nope + n_rot
    bool kv_b;                       // its first layout
    uint32_t n_draft;                // layers behind the model, which nobody reads
    /* Faults for tests of refusals: */
    const char *omit;       // tensor or key that is left out
    const char *extra;      // name of a tensor nobody asked for
    const char *bad_shape;  // tensor with one column more
    const char *bad_type;   // matrix that is written as I8
    const char *override;   // key with another value
    uint64_t override_value;
    float override_factor;  // of a float key of that name
};

/* Divisors of the llama3 scaling for 8 pairs: factor 8, low 1, high 4, 64 positions, base 10000. */
static const float TINY_LLAMA3[8] = {1.0f, 1.2939759f, 7.667385f, 8.0f, 8.0f, 8.0f, 8.0f, 8.0f};

#define TINY_SHAPE                                                                                 \
    .n_embd = 64, .n_layers = 2, .n_heads = 4, .n_kv_heads = 2, .head_dim = 16, .n_ff = 96,        \
    .n_vocab = 96
#define TINY_WIDE                                                                                  \
    .n_embd = 256, .n_layers = 2, .n_heads = 4, .n_kv_heads = 1, .head_dim = 64, .n_ff = 256,      \
    .n_vocab = 96

static const struct tiny_model TINY_MODELS[] = {
    {"llama_f32", "llama", TINY_SHAPE, .dtype = DTYPE_F32},
    {"llama_f16", "llama", TINY_SHAPE, .dtype = DTYPE_F16},
    {"llama_bf16", "llama", TINY_SHAPE, .dtype = DTYPE_BF16},
    {"llama_tied", "llama", TINY_SHAPE, .dtype = DTYPE_F16, .tied = true},
    {"llama_bias", "llama", TINY_SHAPE, .dtype = DTYPE_F32, .biases = true},
    {"llama_partial", "llama", TINY_SHAPE, .dtype = DTYPE_F16, .n_rot = 8},
    {"llama_wide_heads", "llama", .n_embd = 48, .n_layers = 3, .n_heads = 3, .n_kv_heads = 1,
     .head_dim = 48, .n_ff = 72, .n_vocab = 90, .dtype = DTYPE_F16, .tied = true},
    {"llama_linear", "llama", TINY_SHAPE, .dtype = DTYPE_F16, .scaling = "linear", .factor = 4},
    {"llama_llama3", "llama", TINY_SHAPE, .dtype = DTYPE_F16, .divisors = TINY_LLAMA3},
    {"llama_yarn", "llama", TINY_SHAPE, .dtype = DTYPE_F16, .scaling = "yarn", .factor = 4,
     .original_ctx = 64, .beta_fast = 16, .beta_slow = 2},
    {"llama_q4_0", "llama", TINY_SHAPE, .dtype = DTYPE_Q4_0},
    {"llama_q4_1", "llama", TINY_SHAPE, .dtype = DTYPE_Q4_1, .tied = true},
    {"llama_q5_0", "llama", TINY_SHAPE, .dtype = DTYPE_Q5_0},
    {"llama_q5_1", "llama", TINY_SHAPE, .dtype = DTYPE_Q5_1},
    {"llama_q8_0", "llama", TINY_SHAPE, .dtype = DTYPE_Q8_0},
    {"llama_q4_k", "llama", TINY_WIDE, .dtype = DTYPE_Q4_K},
    {"llama_q5_k", "llama", TINY_WIDE, .dtype = DTYPE_Q5_K},
    {"llama_q6_k", "llama", TINY_WIDE, .dtype = DTYPE_Q6_K},
    {"llama_q2_k", "llama", TINY_WIDE, .dtype = DTYPE_Q2_K},
    {"llama_q3_k", "llama", TINY_WIDE, .dtype = DTYPE_Q3_K},
    {"llama_iq4_nl", "llama", TINY_SHAPE, .dtype = DTYPE_IQ4_NL},
    {"llama_iq4_xs", "llama", TINY_WIDE, .dtype = DTYPE_IQ4_XS},
    {"llama_mxfp4", "llama", TINY_SHAPE, .dtype = DTYPE_MXFP4},
    {"llama_iq3_s", "llama", TINY_WIDE, .dtype = DTYPE_IQ3_S},
    {"llama_iq2_xxs", "llama", TINY_WIDE, .dtype = DTYPE_IQ2_XXS},
    {"llama_tq2_0", "llama", TINY_WIDE, .dtype = DTYPE_TQ2_0},
    {"qwen2_f16", "qwen2", TINY_SHAPE, .dtype = DTYPE_F16, .biases = true},
    {"qwen3_f16", "qwen3", TINY_SHAPE, .dtype = DTYPE_F16},
};
enum { TINY_MODELS_COUNT = sizeof TINY_MODELS / sizeof TINY_MODELS[0], TINY_CTX = 512 };

/* ---- values ---- */

static inline uint64_t tiny_word(uint64_t seed, uint64_t i)
{
    uint64_t x = seed + i * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t tiny_seed(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash;
}

static inline int32_t tiny_token(uint64_t story, size_t position, uint32_t n_vocab)
{
    return (int32_t)(tiny_word(story, position) % n_vocab);
}

/* Uniform in [centre - width, centre + width). */
static inline float tiny_float(uint64_t seed, uint64_t i, double centre, double width)
{
    double unit = (double)(tiny_word(seed, i) >> 40) * 0x1p-24;
    return (float)(centre + (2 * unit - 1) * width);
}

/* Random quants under chosen scales: exponents such that weights spread by about 0.15. Fields of
 * scales by type: where, and the half-float bits that the random mantissa is put under. */
static inline void tiny_scales(enum dtype dtype, uint8_t *block)
{
    static const struct {
        enum dtype dtype;
        uint16_t offset, bits, minimum_offset, minimum_bits;  // bits 0 = no minimum
    } fields[] = {
        {DTYPE_Q4_0, 0, 0x2800, 0, 0},        {DTYPE_Q4_1, 0, 0x2800, 2, 0xb400},
        {DTYPE_Q5_0, 0, 0x2400, 0, 0},        {DTYPE_Q5_1, 0, 0x2400, 2, 0xb400},
        {DTYPE_Q8_0, 0, 0x1800, 0, 0},        {DTYPE_Q4_K, 0, 0x1000, 2, 0x1c00},
        {DTYPE_Q5_K, 0, 0x0c00, 2, 0x1c00},   {DTYPE_Q6_K, 208, 0x0400, 0, 0},
        {DTYPE_Q2_K, 80, 0x2000, 82, 0x2000}, {DTYPE_Q3_K, 108, 0x1c00, 0, 0},
        {DTYPE_IQ4_NL, 0, 0x1400, 0, 0},      {DTYPE_IQ4_XS, 0, 0x0400, 0, 0},
        {DTYPE_IQ3_S, 0, 0x1000, 0, 0},       {DTYPE_IQ2_XXS, 0, 0x1800, 0, 0},
        {DTYPE_TQ2_0, 64, 0x2c00, 0, 0},
    };
    if (dtype == DTYPE_MXFP4)
        block[0] = (uint8_t)(122 + (block[0] & 1));
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i].dtype != dtype)
            continue;
        uint16_t half;
        memcpy(&half, block + fields[i].offset, 2);
        uint16_t mantissa = half & 0x3ff;
        half = (uint16_t)(fields[i].bits | mantissa);
        memcpy(block + fields[i].offset, &half, 2);
        half = (uint16_t)(fields[i].minimum_bits | mantissa);
        if (fields[i].minimum_bits)
            memcpy(block + fields[i].minimum_offset, &half, 2);
    }
}

static inline void tiny_values(struct buf *out, const char *name, enum dtype dtype, size_t n,
                               double centre, double width)
{
    uint64_t seed = tiny_seed(name);
    const struct dtype_info *info = dtype_info(dtype);
    if (info->block_elements == 1) {
        for (size_t i = 0; i < n; i++) {
            float value = tiny_float(seed, i, centre, width);
            uint16_t half = dtype == DTYPE_F16 ? f16_from_f32(value) : bf16_from_f32(value);
            buf_append(out, dtype == DTYPE_F32 ? (void *)&value : (void *)&half, info->block_bytes);
        }
        return;
    }
    for (size_t b = 0, i = 0; b < n / info->block_elements; b++) {
        uint8_t block[256] = {0};
        for (size_t byte = 0; byte < info->block_bytes; byte += 8, i++) {
            uint64_t word = tiny_word(seed, i);
            memcpy(block + byte, &word, sizeof word);
        }
        tiny_scales(dtype, block);
        buf_append(out, block, info->block_bytes);
    }
}

/* ---- the file ---- */

struct tiny_writer {
    const struct tiny_model *model;
    struct buf keys, infos, data;
    uint64_t n_keys, n_tensors;
};

static inline void tiny_text(struct buf *out, const char *text)
{
    uint64_t n = strlen(text);
    buf_append(out, &n, sizeof n);
    buf_append(out, text, n);
}

enum { TINY_U32 = 4, TINY_F32 = 6, TINY_BOOL = 7, TINY_STRING = 8 };

static inline bool tiny_key(struct tiny_writer *w, const char *key, uint32_t kind)
{
    if (w->model->omit && strcmp(w->model->omit, key) == 0)
        return false;
    tiny_text(&w->keys, key);
    buf_append(&w->keys, &kind, sizeof kind);
    w->n_keys++;
    return true;
}

static inline void tiny_key_text(struct tiny_writer *w, const char *key, const char *text)
{
    if (tiny_key(w, key, TINY_STRING))
        tiny_text(&w->keys, text);
}

static inline const char *tiny_name(const struct tiny_writer *w, const char *suffix, char text[96])
{
    snprintf(text, 96, "%s.%s", w->model->arch, suffix);
    return text;
}

static inline void tiny_key_u32(struct tiny_writer *w, const char *suffix, uint32_t value)
{
    char key[96];
    tiny_name(w, suffix, key);
    if (w->model->override && strcmp(w->model->override, suffix) == 0)
        value = (uint32_t)w->model->override_value;
    if (tiny_key(w, key, TINY_U32))
        buf_append(&w->keys, &value, sizeof value);
}

static inline void tiny_key_bool(struct tiny_writer *w, const char *suffix, bool value)
{
    char key[96];
    uint8_t byte = value;
    if (w->model->override && strcmp(w->model->override, suffix) == 0)
        byte = w->model->override_value != 0;
    if (tiny_key(w, tiny_name(w, suffix, key), TINY_BOOL))
        buf_append(&w->keys, &byte, sizeof byte);
}

static inline void tiny_key_f32(struct tiny_writer *w, const char *suffix, float value)
{
    char key[96];
    if (w->model->override && strcmp(w->model->override, suffix) == 0)
        value *= w->model->override_factor;
    if (tiny_key(w, tiny_name(w, suffix, key), TINY_F32))
        buf_append(&w->keys, &value, sizeof value);
}

/* `count` matrices, or for n_rows 0 vectors, in one tensor. */
static inline void tiny_tensors_of(struct tiny_writer *w, const char *name, enum dtype dtype,
                                   uint64_t count, uint64_t n_rows, uint64_t n_columns,
                                   double centre, double width)
{
    const struct tiny_model *m = w->model;
    if (m->omit && strcmp(m->omit, name) == 0)
        return;
    if (m->bad_shape && strcmp(m->bad_shape, name) == 0)
        n_columns += dtype_info(dtype)->block_elements;
    if (m->bad_type && strcmp(m->bad_type, name) == 0)
        dtype = DTYPE_I8;
    while (w->data.n_bytes % 32 != 0)
        buf_append_char(&w->data, '\0');
    uint64_t offset = w->data.n_bytes;
    uint32_t n_dims = (n_rows ? 2 : 1) + (count > 1), type = dtype;
    tiny_text(&w->infos, name);
    buf_append(&w->infos, &n_dims, sizeof n_dims);
    buf_append(&w->infos, &n_columns, sizeof n_columns);
    if (n_rows)
        buf_append(&w->infos, &n_rows, sizeof n_rows);
    if (count > 1)
        buf_append(&w->infos, &count, sizeof count);
    buf_append(&w->infos, &type, sizeof type);
    buf_append(&w->infos, &offset, sizeof offset);
    w->n_tensors++;
    size_t n = count * (n_rows ? n_rows : 1) * n_columns;
    if (dtype == DTYPE_I8)
        for (size_t i = 0; i < n; i++)
            buf_append_char(&w->data, '\1');
    else
        tiny_values(&w->data, name, dtype, n, centre, width);
}

/* n_rows 0: a vector. */
static inline void tiny_tensor(struct tiny_writer *w, const char *name, enum dtype dtype,
                               uint64_t n_rows, uint64_t n_columns, double centre, double width)
{
    tiny_tensors_of(w, name, dtype, 1, n_rows, n_columns, centre, width);
}

static inline void tiny_matrix(struct tiny_writer *w, const char *name, uint32_t n_rows,
                               uint32_t n_columns)
{
    tiny_tensor(w, name, w->model->dtype, n_rows, n_columns, 0, 0.25);
}

/* Tensors of a layer: matrices have rows, the others are vectors. */
enum tiny_kind { TINY_MATRIX, TINY_STACK, TINY_NORM, TINY_BIAS, TINY_ROUTER };
struct tiny_row {
    const char *suffix;
    enum tiny_kind kind;
    uint32_t count, n_rows, n_columns;
    bool present;
};

static inline enum dtype tiny_dtype(const struct tiny_model *m, const struct tiny_row *row)
{
    if (row->kind != TINY_MATRIX && row->kind != TINY_STACK)
        return DTYPE_F32;
    bool experts = row->kind == TINY_STACK && strncmp(row->suffix, "ffn", 3) == 0;
    enum dtype dtype = experts && m->experts_dtype != DTYPE_F32 ? m->experts_dtype : m->dtype;
    return row->n_columns % dtype_info(dtype)->block_elements == 0 ? dtype : DTYPE_Q5_0;
}

static inline void tiny_rows(struct tiny_writer *w, uint32_t layer, const struct tiny_row *rows,
                             size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++) {
        char name[96];
        const struct tiny_row *row = &rows[i];
        bool norm = row->kind == TINY_NORM, bias = row->kind == TINY_BIAS;
        snprintf(name, sizeof name, "blk.%u.%s", layer, row->suffix);
        if (row->present)
            tiny_tensors_of(w, name, tiny_dtype(w->model, row), row->count, row->n_rows,
                            row->n_columns, norm,
                            norm   ? 0.3
                            : bias ? 0.5
                                   : 0.25);
    }
}

static inline void tiny_attention(struct tiny_writer *w, uint32_t layer)
{
    const struct tiny_model *m = w->model;
    uint32_t value_dim = m->value_dim ? m->value_dim : m->head_dim;
    uint32_t n_q = m->n_heads * m->head_dim, n_k = m->n_kv_heads * m->head_dim;
    uint32_t n_v = m->n_kv_heads * value_dim, n_out = m->n_heads * value_dim;
    bool fused = strcmp(m->arch, "phi3") == 0;  // q, k and v in one
    bool latent = m->kv_rank > 0, low_q = m->q_rank > 0, plain = !latent && !fused;
    bool qk_norm = strncmp(m->arch, "qwen3", 5) == 0;
    bool o_bias = m->biases && strncmp(m->arch, "qwen", 4) != 0;
    const struct tiny_row rows[] = {
        {"attn_norm.weight", TINY_NORM, 1, 0, m->n_embd, true},
        {"attn_qkv.weight", TINY_MATRIX, 1, n_q + n_k + n_v, m->n_embd, fused},
        {"attn_q.weight", TINY_MATRIX, 1, n_q, m->n_embd, !low_q && !fused},
        {"attn_k.weight", TINY_MATRIX, 1, n_k, m->n_embd, plain},
        {"attn_v.weight", TINY_MATRIX, 1, n_v, m->n_embd, plain},
        {"attn_q_a.weight", TINY_MATRIX, 1, m->q_rank, m->n_embd, low_q},
        {"attn_q_a_norm.weight", TINY_NORM, 1, 0, m->q_rank, low_q},
        {"attn_q_b.weight", TINY_MATRIX, 1, n_q, m->q_rank, low_q},
        {"attn_kv_a_mqa.weight", TINY_MATRIX, 1, m->kv_rank + m->n_rot, m->n_embd, latent},
        {"attn_kv_a_norm.weight", TINY_NORM, 1, 0, m->kv_rank, latent},
        {"attn_k_b.weight", TINY_STACK, m->n_heads, m->kv_rank, m->nope, latent && !m->kv_b},
        {"attn_v_b.weight", TINY_STACK, m->n_heads, value_dim, m->kv_rank, latent && !m->kv_b},
        {"attn_kv_b.weight", TINY_MATRIX, 1, m->n_heads * (m->nope + value_dim), m->kv_rank,
         m->kv_b},
        {"attn_output.weight", TINY_MATRIX, 1, m->n_embd, n_out, true},
        {"attn_q_norm.weight", TINY_NORM, 1, 0, m->head_dim, qk_norm},
        {"attn_k_norm.weight", TINY_NORM, 1, 0, m->head_dim, qk_norm},
        {"attn_q.bias", TINY_BIAS, 1, 0, n_q, m->biases},
        {"attn_k.bias", TINY_BIAS, 1, 0, n_k, m->biases},
        {"attn_v.bias", TINY_BIAS, 1, 0, n_v, m->biases},
        {"attn_output.bias", TINY_BIAS, 1, 0, m->n_embd, o_bias},
        {"attn_sinks.weight", TINY_BIAS, 1, 0, m->n_heads, m->sinks},
    };
    tiny_rows(w, layer, rows, sizeof rows / sizeof rows[0]);
}

static inline void tiny_dense(struct tiny_writer *w, uint32_t layer)
{
    const struct tiny_model *m = w->model;
    bool biases = m->biases && strcmp(m->arch, "llama") == 0;
    bool fused = strcmp(m->arch, "phi3") == 0;  // gate and up in one
    const struct tiny_row rows[] = {
        {"ffn_gate.weight", TINY_MATRIX, 1, m->n_ff, m->n_embd, !fused},
        {"ffn_up.weight", TINY_MATRIX, 1, (fused ? 2 : 1) * m->n_ff, m->n_embd, true},
        {"ffn_down.weight", TINY_MATRIX, 1, m->n_embd, m->n_ff, true},
        {"ffn_gate.bias", TINY_BIAS, 1, 0, m->n_ff, biases},
        {"ffn_up.bias", TINY_BIAS, 1, 0, m->n_ff, biases},
        {"ffn_down.bias", TINY_BIAS, 1, 0, m->n_embd, biases},
    };
    tiny_rows(w, layer, rows, sizeof rows / sizeof rows[0]);
}

static inline void tiny_experts(struct tiny_writer *w, uint32_t layer)
{
    const struct tiny_model *m = w->model;
    uint32_t n_ff = m->n_ff_exp ? m->n_ff_exp : m->n_ff, n = m->n_experts;
    uint32_t n_shared = m->n_ff_shared ? m->n_ff_shared : m->n_shared * n_ff;
    bool shared = n_shared > 0, stacks = !m->experts_apart;
    const struct tiny_row rows[] = {
        {"ffn_gate_inp.weight", TINY_ROUTER, 1, n, m->n_embd, true},
        {"ffn_gate_inp.bias", TINY_BIAS, 1, 0, n, m->expert_bias},
        {"exp_probs_b.bias", TINY_BIAS, 1, 0, n, m->choice_bias},
        {"ffn_gate_exps.weight", TINY_STACK, n, n_ff, m->n_embd, stacks && !m->gate_up},
        {"ffn_up_exps.weight", TINY_STACK, n, n_ff, m->n_embd, stacks && !m->gate_up},
        {"ffn_gate_up_exps.weight", TINY_STACK, n, 2 * n_ff, m->n_embd, m->gate_up},
        {"ffn_down_exps.weight", TINY_STACK, n, m->n_embd, n_ff, stacks},
        {"ffn_gate_exps.bias", TINY_BIAS, n, 0, n_ff, m->expert_bias},
        {"ffn_up_exps.bias", TINY_BIAS, n, 0, n_ff, m->expert_bias},
        {"ffn_down_exps.bias", TINY_BIAS, n, 0, m->n_embd, m->expert_bias},
        {"ffn_gate_inp_shexp.weight", TINY_ROUTER, 1, 0, m->n_embd, shared && m->shared_gate},
        {"ffn_gate_shexp.weight", TINY_MATRIX, 1, n_shared, m->n_embd, shared},
        {"ffn_up_shexp.weight", TINY_MATRIX, 1, n_shared, m->n_embd, shared},
        {"ffn_down_shexp.weight", TINY_MATRIX, 1, m->n_embd, n_shared, shared},
    };
    tiny_rows(w, layer, rows, sizeof rows / sizeof rows[0]);
    for (uint32_t e = 0; m->experts_apart && e < n; e++) {
        char names[3][32];
        snprintf(names[0], 32, "ffn_gate.%u.weight", e);
        snprintf(names[1], 32, "ffn_up.%u.weight", e);
        snprintf(names[2], 32, "ffn_down.%u.weight", e);
        const struct tiny_row own[] = {
            {names[0], TINY_MATRIX, 1, n_ff, m->n_embd, true},
            {names[1], TINY_MATRIX, 1, n_ff, m->n_embd, true},
            {names[2], TINY_MATRIX, 1, m->n_embd, n_ff, true},
        };
        tiny_rows(w, layer, own, 3);
    }
}

static inline void tiny_layer(struct tiny_writer *w, uint32_t layer)
{
    const struct tiny_model *m = w->model;
    const char *norm = m->ffn_norm ? m->ffn_norm : "ffn_norm.weight";
    tiny_attention(w, layer);
    tiny_rows(w, layer, &(struct tiny_row){norm, TINY_NORM, 1, 0, m->n_embd, true}, 1);
    if (m->n_experts > 0 && layer >= m->n_dense)
        tiny_experts(w, layer);
    else
        tiny_dense(w, layer);
}

static inline void tiny_keys(struct tiny_writer *w)
{
    const struct tiny_model *m = w->model;
    tiny_key_text(w, "general.architecture", m->arch);
    tiny_key_text(w, "general.name", m->name);
    tiny_key_u32(w, "block_count", m->n_layers + m->n_draft);
    tiny_key_u32(w, "context_length", TINY_CTX);
    tiny_key_u32(w, "embedding_length", m->n_embd);
    tiny_key_u32(w, "feed_forward_length", m->n_ff);
    tiny_key_u32(w, "attention.head_count", m->n_heads);
    tiny_key_u32(w, "attention.head_count_kv", m->kv_b ? m->n_heads : m->n_kv_heads);
    bool absorbed = m->kv_rank > 0 && !m->kv_b;
    uint32_t value_dim = m->value_dim ? m->value_dim : m->head_dim;
    tiny_key_u32(w, "attention.key_length", absorbed ? m->kv_rank + m->n_rot : m->head_dim);
    tiny_key_u32(w, "attention.value_length", absorbed ? m->kv_rank : value_dim);
    tiny_key_f32(w, "attention.layer_norm_rms_epsilon", 1e-5f);
    tiny_key_f32(w, "rope.freq_base", 10000);
    tiny_key_u32(w, "rope.dimension_count", m->n_rot ? m->n_rot : m->head_dim);
    tiny_key_u32(w, "expert_count", m->n_experts);
    tiny_key_u32(w, "vocab_size", m->n_vocab);
    const struct {
        const char *suffix;
        uint32_t value;
        bool present;
    } numbers[] = {
        {"attention.key_length_mla", m->head_dim, absorbed},
        {"attention.value_length_mla", value_dim, absorbed},
        {"attention.kv_lora_rank", m->kv_rank, m->kv_rank > 0},
        {"attention.q_lora_rank", m->q_rank, m->kv_rank > 0},
        {"attention.sliding_window", m->window, m->window > 0},
        {"attention.sliding_window_pattern", m->window_period, m->window_period > 0},
        {"nextn_predict_layers", m->n_draft, m->n_draft > 0},
        {"expert_used_count", m->n_used, m->n_experts > 0},
        {"expert_feed_forward_length", m->n_ff_exp, m->n_ff_exp > 0},
        {"expert_shared_feed_forward_length", m->n_ff_shared, m->n_ff_shared > 0},
        {"expert_shared_count", m->n_shared, m->n_shared > 0},
        {"leading_dense_block_count", m->n_dense, m->n_dense > 0},
        {"expert_group_count", m->n_groups, m->n_groups > 0},
        {"expert_group_used_count", m->n_groups_used, m->n_groups_used > 0},
        {"expert_gating_func", m->gating, m->gating > 0},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].present)
            tiny_key_u32(w, numbers[i].suffix, numbers[i].value);
    if (m->norm)
        tiny_key_bool(w, "expert_weights_norm", true);
    if (m->scale > 0)
        tiny_key_f32(w, "expert_weights_scale", m->scale);
    char key[96];
    if (m->scaling) {
        tiny_key_text(w, tiny_name(w, "rope.scaling.type", key), m->scaling);
        tiny_key_f32(w, "rope.scaling.factor", m->factor);
    }
    if (m->original_ctx > 0) {
        tiny_key_u32(w, "rope.scaling.original_context_length", (uint32_t)m->original_ctx);
        tiny_key_f32(w, "rope.scaling.yarn_beta_fast", m->beta_fast);
        tiny_key_f32(w, "rope.scaling.yarn_beta_slow", m->beta_slow);
    }
    if (m->long_rope > 0) {
        tiny_key_u32(w, "rope.scaling.original_context_length", (uint32_t)m->long_rope);
        tiny_key_f32(w, "rope.scaling.attn_factor", 1.25f);
    }
    if (m->log_multiplier > 0)
        tiny_key_f32(w, "rope.scaling.yarn_log_multiplier", m->log_multiplier);
}

static inline void tiny_tensors(struct tiny_writer *w)
{
    const struct tiny_model *m = w->model;
    tiny_matrix(w, "token_embd.weight", m->n_vocab, m->n_embd);
    tiny_tensor(w, "output_norm.weight", DTYPE_F32, 0, m->n_embd, 1, 0.3);
    if (!m->tied)
        tiny_matrix(w, "output.weight", m->n_vocab, m->n_embd);
    if (m->divisors) {
        tiny_tensor(w, "rope_freqs.weight", DTYPE_F32, 0, m->head_dim / 2, 0, 0);
        buf_truncate(&w->data, w->data.n_bytes - m->head_dim / 2 * sizeof(float));
        buf_append(&w->data, m->divisors, m->head_dim / 2 * sizeof(float));
    }
    uint32_t n_pairs = (m->n_rot ? m->n_rot : m->head_dim) / 2;
    if (m->long_rope > 0) {
        tiny_tensor(w, "rope_factors_long.weight", DTYPE_F32, 0, n_pairs, 4, 3);
        tiny_tensor(w, "rope_factors_short.weight", DTYPE_F32, 0, n_pairs, 1.1, 0.1);
    }
    for (uint32_t layer = 0; layer < m->n_layers + m->n_draft; layer++)
        tiny_layer(w, layer);
    if (m->extra)
        tiny_matrix(w, m->extra, m->n_embd, m->n_embd);
}

/* Writes the model into a new temporary file, whose name goes to path; unlink() it. */
static inline bool tiny_model_write(const struct tiny_model *model, char path[64])
{
    struct tiny_writer w = {.model = model};
    struct buf file;
    buf_init(&w.keys, 1 << 24);
    buf_init(&w.infos, 1 << 24);
    buf_init(&w.data, 1 << 26);
    buf_init(&file, 1 << 27);
    tiny_keys(&w);
    tiny_tensors(&w);
    uint32_t version = 3;
    buf_append(&file, "GGUF", 4);
    buf_append(&file, &version, sizeof version);
    buf_append(&file, &w.n_tensors, sizeof w.n_tensors);
    buf_append(&file, &w.n_keys, sizeof w.n_keys);
    buf_append(&file, w.keys.bytes, w.keys.n_bytes);
    buf_append(&file, w.infos.bytes, w.infos.n_bytes);
    while (file.n_bytes % 32 != 0)
        buf_append_char(&file, '\0');
    bool whole = buf_append(&file, w.data.bytes, w.data.n_bytes);
    snprintf(path, 64, "/tmp/wicara_tiny_XXXXXX");
    int fd = mkstemp(path);
    whole = whole && fd >= 0 && write(fd, file.bytes, file.n_bytes) == (ssize_t)file.n_bytes;
    if (fd >= 0)
        close(fd);
    buf_release(&w.keys);
    buf_release(&w.infos);
    buf_release(&w.data);
    buf_release(&file);
    return whole;
}

#endif
