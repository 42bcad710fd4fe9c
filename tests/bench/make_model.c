/* Writes a random-weight GGUF model of any size, type and shape, for benchmarks without a download.
 *
 *   make_model OUT.gguf [preset] [key=value ...]
 *
 * Presets set a shape, keys change it: arch=llama|qwen2|qwen3|qwen3moe|deepseek2|gpt-oss layers=
 * embd= heads= kv_heads= head_dim= ff= vocab= ctx= tied=0|1 experts= experts_used= expert_ff=
 * shared= dense= kv_rank= nope= rotated= value_dim= kv_b=0|1 window= rope_base= yarn= seed= type=
 * (a GGUF type such as q8_0, or q4_k_m or q5_k_m, the mixes of llama.cpp's quantiser, or mxfp4:
 * experts in it, all else in Q8_0, as gpt-oss is published).
 *
 * deepseek-v2-lite, qwen3-30b-a3b and gpt-oss-20b have the layers of those models, but 4 to 6 of 24
 * to 48; the vocabulary is cut alike, so that the output keeps about its share of a token's bytes.
 *
 * Quants are random bits under scales that give every matrix a spread of 1 / sqrt(columns), so that
 * activations stay finite through any depth; speed does not depend on what the numbers are. */
#include <math.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "tests/bench/model_writer.h"

static const struct preset {
    const char *name;
    struct shape shape;
} PRESETS[] = {
    {"135m",
     {.arch = "llama",
      .layers = 30,
      .embd = 576,
      .heads = 9,
      .kv_heads = 3,
      .head_dim = 64,
      .ff = 1536,
      .vocab = 49152,
      .ctx = 8192,
      .tied = 1,
      .rope_base = 100000,
      .type = "q4_1"}},
    {"1b",
     {.arch = "llama",
      .layers = 16,
      .embd = 2048,
      .heads = 32,
      .kv_heads = 8,
      .head_dim = 64,
      .ff = 8192,
      .vocab = 128256,
      .ctx = 131072,
      .tied = 1,
      .rope_base = 500000,
      .type = "q4_k_m"}},
    {"3b",
     {.arch = "llama",
      .layers = 28,
      .embd = 3072,
      .heads = 24,
      .kv_heads = 8,
      .head_dim = 128,
      .ff = 8192,
      .vocab = 128256,
      .ctx = 131072,
      .tied = 1,
      .rope_base = 500000,
      .type = "q4_k_m"}},
    {"deepseek-v2-lite",
     {.arch = "deepseek2",
      .layers = 6,
      .embd = 2048,
      .heads = 16,
      .ff = 10944,
      .vocab = 24576,
      .ctx = 163840,
      .experts = 64,
      .experts_used = 6,
      .expert_ff = 1408,
      .shared = 2,
      .dense = 1,
      .kv_rank = 512,
      .nope = 128,
      .rotated = 64,
      .value_dim = 128,
      .rope_base = 10000,
      .yarn = 40,
      .type = "q4_k_m"}},
    {"qwen3-30b-a3b",
     {.arch = "qwen3moe",
      .layers = 5,
      .embd = 2048,
      .heads = 32,
      .kv_heads = 4,
      .head_dim = 128,
      .ff = 6144,
      .vocab = 16384,
      .ctx = 40960,
      .experts = 128,
      .experts_used = 8,
      .expert_ff = 768,
      .rope_base = 1000000,
      .type = "q4_k_m"}},
    {"gpt-oss-20b",
     {.arch = "gpt-oss",
      .layers = 4,
      .embd = 2880,
      .heads = 64,
      .kv_heads = 8,
      .head_dim = 64,
      .ff = 2880,
      .vocab = 32768,
      .ctx = 131072,
      .experts = 32,
      .experts_used = 4,
      .expert_ff = 2880,
      .window = 128,
      .rope_base = 150000,
      .yarn = 32,
      .type = "mxfp4"}},
};

static bool is_arch(const struct writer *w, const char *name)
{
    return strcmp(w->shape.arch, name) == 0;
}

static void head_keys(struct writer *w)
{
    const struct shape *s = &w->shape;
    if (!is_arch(w, "deepseek2")) {
        arch_u32(w, "attention.head_count_kv", s->kv_heads);
        arch_u32(w, "attention.key_length", s->head_dim);
        arch_u32(w, "attention.value_length", s->head_dim);
        arch_u32(w, "rope.dimension_count", s->head_dim);
        return;
    }
    arch_u32(w, "attention.head_count_kv", s->kv_b ? s->heads : 1);
    arch_u32(w, "attention.key_length", s->rotated + (s->kv_b ? s->nope : s->kv_rank));
    arch_u32(w, "attention.value_length", s->kv_b ? s->value_dim : s->kv_rank);
    if (!s->kv_b) {
        arch_u32(w, "attention.key_length_mla", s->rotated + s->nope);
        arch_u32(w, "attention.value_length_mla", s->value_dim);
    }
    arch_u32(w, "attention.kv_lora_rank", s->kv_rank);
    arch_u32(w, "attention.q_lora_rank", 0);  // llama.cpp asks for it at most depths
    arch_u32(w, "rope.dimension_count", s->rotated);
}

static void shape_keys(struct writer *w)
{
    const struct shape *s = &w->shape;
    char name[96];
    snprintf(name, sizeof name, "random %s %zux%zu %s", s->arch, s->layers, s->embd, s->type);
    key_text(w, "general.architecture", s->arch);
    key_text(w, "general.name", name);
    arch_u32(w, "block_count", s->layers);
    arch_u32(w, "context_length", s->ctx);
    arch_u32(w, "embedding_length", s->embd);
    arch_u32(w, "feed_forward_length", s->ff);
    arch_u32(w, "attention.head_count", s->heads);
    head_keys(w);
    arch_u32(w, "vocab_size", s->vocab);
    arch_f32(w, "attention.layer_norm_rms_epsilon", 1e-5f);
    arch_f32(w, "rope.freq_base", (float)s->rope_base);
    if (s->yarn) {
        arch_text(w, "rope.scaling.type", "yarn");
        arch_f32(w, "rope.scaling.factor", (float)s->yarn);
        arch_u32(w, "rope.scaling.original_context_length", 4096);
    }
    if (s->yarn && is_arch(w, "deepseek2"))
        arch_f32(w, "rope.scaling.yarn_log_multiplier", 0.0707f);
    if (s->window)
        arch_u32(w, "attention.sliding_window", s->window);
    if (s->experts == 0)
        return;
    arch_u32(w, "expert_count", s->experts);
    arch_u32(w, "expert_used_count", s->experts_used);
    arch_u32(w, "expert_feed_forward_length", s->expert_ff);
    if (s->shared)
        arch_u32(w, "expert_shared_count", s->shared);
    if (s->dense)
        arch_u32(w, "leading_dense_block_count", s->dense);
}

/* ---- tensors ---- */

static bool dtype_parse(const char *name, enum dtype *out)
{
    for (uint32_t id = 0; id < 64; id++) {
        const struct dtype_info *info = dtype_info(id);
        if (info && strcasecmp(info->name, name) == 0) {
            *out = (enum dtype)id;
            return true;
        }
    }
    return false;
}

/* What a type falls back to when the columns do not divide into its blocks of 256. */
static enum dtype fitting(enum dtype dtype, size_t n_columns)
{
    if (n_columns % dtype_info(dtype)->block_elements == 0)
        return dtype;
    switch (dtype) {
    case DTYPE_Q6_K:
        return DTYPE_Q8_0;
    case DTYPE_Q5_K:
        return DTYPE_Q5_1;
    case DTYPE_Q4_K:
        return DTYPE_Q5_0;
    default:
        return n_columns % 32 == 0 ? DTYPE_Q4_0 : DTYPE_F16;
    }
}

static void add_tensor(struct writer *w, const char *name, enum dtype dtype, size_t n_columns,
                       size_t n_rows, size_t n_matrices)
{
    struct tensor *t = &w->tensors[w->n_tensors++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->n_dims = n_matrices ? 3 : n_rows ? 2 : 1;
    t->dims[0] = n_columns;
    t->dims[1] = n_rows ? n_rows : 1;
    t->dims[2] = n_matrices ? n_matrices : 1;
    t->dtype = n_rows ? fitting(dtype, n_columns) : DTYPE_F32;
    const struct dtype_info *info = dtype_info(t->dtype);
    t->bytes = n_columns / info->block_elements * info->block_bytes * t->dims[1] * t->dims[2];
    if (w->n_tensors > 1) {
        const struct tensor *before = t - 1;
        t->offset = (before->offset + before->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
}

/* Layers whose sensitive matrices get more bits in the Q4_K_M and Q5_K_M mixes. */
static bool has_more_bits(size_t layer, size_t n_layers)
{
    return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
}

/* Types of a layer's matrices: most, those that need more bits, experts. */
struct types {
    enum dtype base, more, expert;
};

struct row {
    const char *suffix;
    bool present;
    enum dtype dtype;
    size_t n_columns, n_rows, n_matrices;  // n_rows 0 = a vector
};

static void add_rows(struct writer *w, size_t layer, const struct row *rows, size_t n)
{
    char name[64];
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].present)
            continue;
        snprintf(name, sizeof name, "blk.%zu.%s", layer, rows[i].suffix);
        add_tensor(w, name, rows[i].dtype, rows[i].n_columns, rows[i].n_rows, rows[i].n_matrices);
    }
}

static void attention_tensors(struct writer *w, size_t layer, const struct types *t)
{
    const struct shape *s = &w->shape;
    size_t n_q = s->heads * s->head_dim, n_kv = s->kv_heads * s->head_dim;
    bool qwen3 = strncmp(s->arch, "qwen3", 5) == 0, oss = is_arch(w, "gpt-oss");
    bool biased = oss || is_arch(w, "qwen2");
    enum dtype sensitive = has_more_bits(layer, s->layers) ? t->more : t->base;
    const struct row rows[] = {
        {"attn_norm.weight", true, DTYPE_F32, s->embd, 0, 0},
        {"attn_q.weight", true, t->base, s->embd, n_q, 0},
        {"attn_k.weight", true, t->base, s->embd, n_kv, 0},
        {"attn_v.weight", true, sensitive, s->embd, n_kv, 0},
        {"attn_output.weight", true, t->base, n_q, s->embd, 0},
        {"attn_q_norm.weight", qwen3, DTYPE_F32, s->head_dim, 0, 0},
        {"attn_k_norm.weight", qwen3, DTYPE_F32, s->head_dim, 0, 0},
        {"attn_q.bias", biased, DTYPE_F32, n_q, 0, 0},
        {"attn_k.bias", biased, DTYPE_F32, n_kv, 0, 0},
        {"attn_v.bias", biased, DTYPE_F32, n_kv, 0, 0},
        {"attn_output.bias", oss, DTYPE_F32, s->embd, 0, 0},
        {"attn_sinks.weight", oss, DTYPE_F32, s->heads, 0, 0},
    };
    add_rows(w, layer, rows, sizeof rows / sizeof *rows);
}

/* The quantiser of llama.cpp leaves the split decompressions in floats. */
static void latent_tensors(struct writer *w, size_t layer, const struct types *t)
{
    const struct shape *s = &w->shape;
    size_t n_low = s->kv_rank + s->rotated, n_out = s->heads * s->value_dim;
    const struct row rows[] = {
        {"attn_norm.weight", true, DTYPE_F32, s->embd, 0, 0},
        {"attn_q.weight", true, t->base, s->embd, s->heads * (s->nope + s->rotated), 0},
        {"attn_kv_a_mqa.weight", true, t->base, s->embd, n_low, 0},
        {"attn_kv_a_norm.weight", true, DTYPE_F32, s->kv_rank, 0, 0},
        {"attn_kv_b.weight", s->kv_b, t->base, s->kv_rank, s->heads * s->nope + n_out, 0},
        {"attn_k_b.weight", !s->kv_b, DTYPE_F16, s->nope, s->kv_rank, s->heads},
        {"attn_v_b.weight", !s->kv_b, DTYPE_F16, s->kv_rank, s->value_dim, s->heads},
        {"attn_output.weight", true, t->base, n_out, s->embd, 0},
    };
    add_rows(w, layer, rows, sizeof rows / sizeof *rows);
}

static void feed_forward_tensors(struct writer *w, size_t layer, const struct types *t)
{
    const struct shape *s = &w->shape;
    size_t e = layer < s->dense ? 0 : s->experts, n_shared = s->shared * s->expert_ff;
    bool oss = is_arch(w, "gpt-oss"), shared = e > 0 && s->shared > 0;
    bool sensitive = has_more_bits(layer, s->layers) && t->more != t->base;
    enum dtype down = sensitive ? t->more : t->base;
    enum dtype down_exps = sensitive ? t->more : t->expert;
    const struct row rows[] = {
        {oss ? "post_attention_norm.weight" : "ffn_norm.weight", true, DTYPE_F32, s->embd, 0, 0},
        {"ffn_gate.weight", e == 0, t->base, s->embd, s->ff, 0},
        {"ffn_up.weight", e == 0, t->base, s->embd, s->ff, 0},
        {"ffn_down.weight", e == 0, down, s->ff, s->embd, 0},
        {"ffn_gate_inp.weight", e > 0, DTYPE_F32, s->embd, e, 0},
        {"ffn_gate_exps.weight", e > 0, t->expert, s->embd, s->expert_ff, e},
        {"ffn_up_exps.weight", e > 0, t->expert, s->embd, s->expert_ff, e},
        {"ffn_down_exps.weight", e > 0, down_exps, s->expert_ff, s->embd, e},
        {"ffn_gate_inp.bias", oss, DTYPE_F32, e, 0, 0},
        {"ffn_gate_exps.bias", oss, DTYPE_F32, s->expert_ff, e, 0},
        {"ffn_up_exps.bias", oss, DTYPE_F32, s->expert_ff, e, 0},
        {"ffn_down_exps.bias", oss, DTYPE_F32, s->embd, e, 0},
        {"ffn_gate_shexp.weight", shared, t->base, s->embd, n_shared, 0},
        {"ffn_up_shexp.weight", shared, t->base, s->embd, n_shared, 0},
        {"ffn_down_shexp.weight", shared, down, n_shared, s->embd, 0},
    };
    add_rows(w, layer, rows, sizeof rows / sizeof *rows);
}

static bool list_tensors(struct writer *w)
{
    const struct shape *s = &w->shape;
    struct types t;
    enum dtype output = DTYPE_Q6_K;
    if (strcasecmp(s->type, "q4_k_m") == 0) {
        t = (struct types){DTYPE_Q4_K, DTYPE_Q6_K, DTYPE_Q4_K};
    } else if (strcasecmp(s->type, "q5_k_m") == 0) {
        t = (struct types){DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_Q5_K};
    } else if (strcasecmp(s->type, "mxfp4") == 0) {
        t = (struct types){output = DTYPE_Q8_0, DTYPE_Q8_0, DTYPE_MXFP4};
    } else if (dtype_parse(s->type, &t.base)) {
        t.more = t.expert = t.base;
        output = dtype_info(t.base)->block_elements > 1 ? DTYPE_Q8_0 : t.base;
    } else {
        fprintf(stderr, "unknown type %s\n", s->type);
        return false;
    }
    add_tensor(w, "token_embd.weight", s->tied ? output : t.base, s->embd, s->vocab, 0);
    add_tensor(w, "output_norm.weight", DTYPE_F32, s->embd, 0, 0);
    if (!s->tied)
        add_tensor(w, "output.weight", output, s->embd, s->vocab, 0);
    for (size_t layer = 0; layer < s->layers; layer++) {
        (s->kv_rank ? latent_tensors : attention_tensors)(w, layer, &t);
        feed_forward_tensors(w, layer, &t);
    }
    return true;
}

/* Where a block holds its scale and its minimum as half floats, and the spread (standard deviation)
 * of random quants under a scale of 1; minimum = `balance` scales centres them. */
static const struct {
    enum dtype dtype;
    int scale_at, minimum_at;  // -1 = none
    double spread, balance;
} SCALES[] = {
    {DTYPE_Q4_0, 0, -1, 4.6, 0},    {DTYPE_Q4_1, 0, 2, 4.6, -7.5}, {DTYPE_Q5_0, 0, -1, 9.2, 0},
    {DTYPE_Q5_1, 0, 2, 9.2, -15.5}, {DTYPE_Q8_0, 0, -1, 74, 0},    {DTYPE_Q2_K, 80, 82, 13, 1.5},
    {DTYPE_Q3_K, 108, -1, 42, 0},   {DTYPE_Q4_K, 0, 2, 260, 7.5},  {DTYPE_Q5_K, 0, 2, 520, 15.5},
    {DTYPE_Q6_K, 208, -1, 1370, 0}, {DTYPE_IQ4_NL, 0, -1, 70, 0},  {DTYPE_IQ4_XS, 0, -1, 1300, 0},
};

static void put_half(uint8_t *at, double value)
{
    uint16_t half = f16_from_f32((float)value);
    memcpy(at, &half, sizeof half);
}

static void set_scales(uint8_t *block, enum dtype dtype, double spread)
{
    if (dtype == DTYPE_MXFP4)
        block[0] = (uint8_t)(127 + lrint(log2(spread / 3)));
    for (size_t i = 0; i < sizeof SCALES / sizeof *SCALES; i++) {
        if (SCALES[i].dtype != dtype)
            continue;
        double scale = spread / SCALES[i].spread;
        put_half(block + SCALES[i].scale_at, scale);
        if (SCALES[i].minimum_at >= 0)
            put_half(block + SCALES[i].minimum_at, scale * SCALES[i].balance);
    }
}

static void fill_floats(struct writer *w, const struct tensor *t, uint8_t *pool, size_t n,
                        double spread)
{
    size_t size = dtype_info(t->dtype)->block_bytes;
    for (size_t i = 0; i < n; i++) {
        double unit = (double)(random_word(w) >> 11) * 0x1p-53;
        float value = t->dims[1] == 1 ? 1.0f : (float)((2 * unit - 1) * 1.73 * spread);
        if (t->dims[1] == 1 && strstr(t->name, "bias"))
            value = 0;
        uint16_t half = t->dtype == DTYPE_F16 ? f16_from_f32(value) : bf16_from_f32(value);
        memcpy(pool + i * size, size == 4 ? (const void *)&value : (const void *)&half, size);
    }
}

/* Streams one tensor from a pool of random blocks, read from another place in each turn. */
static bool write_tensor(struct writer *w, const struct tensor *t, uint8_t *pool, FILE *out)
{
    const struct dtype_info *info = dtype_info(t->dtype);
    size_t n_pool = POOL_BYTES / info->block_bytes, left = t->bytes / info->block_bytes;
    n_pool = n_pool < left ? n_pool : left;
    double spread = 1 / sqrt((double)t->dims[0]);
    if (info->block_elements == 1) {
        fill_floats(w, t, pool, n_pool, spread);
    } else {
        for (size_t at = 0; at + 8 <= n_pool * info->block_bytes; at += 8) {
            uint64_t word = random_word(w);
            memcpy(pool + at, &word, sizeof word);
        }
        for (size_t block = 0; block < n_pool; block++)
            set_scales(pool + block * info->block_bytes, t->dtype, spread);
    }
    while (left > 0) {
        size_t first = t->dims[1] == 1 ? 0 : random_word(w) % n_pool;
        size_t n = n_pool - first < left ? n_pool - first : left;
        if (fwrite(pool + first * info->block_bytes, info->block_bytes, n, out) != n)
            return false;
        left -= n;
    }
    return true;
}

static bool pad(FILE *out, uint64_t *at)
{
    for (; *at % ALIGNMENT != 0; (*at)++)
        if (fputc(0, out) == EOF)
            return false;
    return true;
}

static bool write_file(struct writer *w, FILE *out)
{
    struct buf head;
    buf_init(&head, KEYS_BYTES_MAX);
    uint32_t version = 3;
    uint64_t n_tensors = w->n_tensors;
    buf_append(&head, "GGUF", 4);
    buf_append(&head, &version, sizeof version);
    buf_append(&head, &n_tensors, sizeof n_tensors);
    buf_append(&head, &w->n_keys, sizeof w->n_keys);
    buf_append(&head, w->keys.bytes, w->keys.n_bytes);
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct tensor *t = &w->tensors[i];
        uint32_t type = t->dtype;
        put_text(&head, t->name);
        buf_append(&head, &t->n_dims, sizeof t->n_dims);
        buf_append(&head, t->dims, t->n_dims * sizeof *t->dims);
        buf_append(&head, &type, sizeof type);
        buf_append(&head, &t->offset, sizeof t->offset);
    }
    uint64_t at = head.n_bytes;
    bool whole = !head.failed && fwrite(head.bytes, 1, head.n_bytes, out) == head.n_bytes;
    buf_release(&head);
    uint8_t *pool = mem_alloc(POOL_BYTES + 8);
    for (size_t i = 0; whole && pool && i < w->n_tensors; i++) {
        whole = pad(out, &at) && write_tensor(w, &w->tensors[i], pool, out);
        at += w->tensors[i].bytes;
    }
    whole = whole && pool != NULL && pad(out, &at);
    mem_free(pool);
    return whole;
}

/* ---- arguments ---- */

static bool set_key(struct shape *s, const char *argument)
{
    const struct {
        const char *name;
        size_t *number;
        const char **text;
    } keys[] = {
        {"layers", &s->layers, NULL},
        {"embd", &s->embd, NULL},
        {"heads", &s->heads, NULL},
        {"kv_heads", &s->kv_heads, NULL},
        {"head_dim", &s->head_dim, NULL},
        {"ff", &s->ff, NULL},
        {"vocab", &s->vocab, NULL},
        {"ctx", &s->ctx, NULL},
        {"tied", &s->tied, NULL},
        {"experts", &s->experts, NULL},
        {"experts_used", &s->experts_used, NULL},
        {"expert_ff", &s->expert_ff, NULL},
        {"shared", &s->shared, NULL},
        {"dense", &s->dense, NULL},
        {"kv_rank", &s->kv_rank, NULL},
        {"nope", &s->nope, NULL},
        {"rotated", &s->rotated, NULL},
        {"value_dim", &s->value_dim, NULL},
        {"kv_b", &s->kv_b, NULL},
        {"window", &s->window, NULL},
        {"rope_base", &s->rope_base, NULL},
        {"yarn", &s->yarn, NULL},
        {"seed", &s->seed, NULL},
        {"arch", NULL, &s->arch},
        {"type", NULL, &s->type},
    };
    for (size_t i = 0; i < sizeof PRESETS / sizeof *PRESETS; i++) {
        if (strcmp(argument, PRESETS[i].name) == 0) {
            *s = PRESETS[i].shape;
            return true;
        }
    }
    const char *value = strchr(argument, '=');
    for (size_t i = 0; value && i < sizeof keys / sizeof *keys; i++) {
        size_t n = strlen(keys[i].name);
        if ((size_t)(value - argument) != n || strncmp(argument, keys[i].name, n) != 0)
            continue;
        if (keys[i].text)
            *keys[i].text = value + 1;
        else
            *keys[i].number = strtoull(value + 1, NULL, 10);
        return true;
    }
    fprintf(stderr, "unknown argument %s\n", argument);
    return false;
}

int main(int argc, char **argv)
{
    struct writer w = {.shape = PRESETS[0].shape};
    bool valid = argc >= 2;
    for (int i = 2; valid && i < argc; i++)
        valid = set_key(&w.shape, argv[i]);
    valid = valid && w.shape.layers >= 1 && w.shape.layers <= 300 && w.shape.embd >= 32;
    if (!valid) {
        fprintf(stderr, "usage: make_model OUT.gguf [preset] [key=value ...]; see the head of "
                        "make_model.c\n");
        return 2;
    }
    w.random = (w.shape.seed + 1) * 0x9e3779b97f4a7c15u | 1;
    w.tensors = mem_calloc(TENSORS_MAX, sizeof *w.tensors);
    buf_init(&w.keys, KEYS_BYTES_MAX);
    shape_keys(&w);
    bool whole = w.tensors && tokenizer_keys(&w) && list_tensors(&w) && !w.keys.failed;
    FILE *out = whole ? fopen(argv[1], "wbe") : NULL;
    whole = out != NULL && write_file(&w, out);
    whole = out != NULL && fclose(out) == 0 && whole;
    if (!whole)
        fprintf(stderr, "%s: cannot be written\n", argv[1]);
    buf_release(&w.keys);
    mem_free(w.tensors);
    return whole ? 0 : 1;
}
