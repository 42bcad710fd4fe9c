/* Writes a random-weight GGUF model of any size, type and shape, for benchmarks without a download.
 *
 *   make_model OUT.gguf [preset] [key=value ...]
 *
 * Presets set a shape, keys change it: arch=llama|qwen2|qwen3|qwen3moe layers= embd= heads=
 * kv_heads= head_dim= ff= vocab= ctx= tied=0|1 experts= experts_used= expert_ff= rope_base= seed=
 * type= (a GGUF type such as q8_0, or q4_k_m or q5_k_m: the mixes of llama.cpp's quantiser).
 *
 * Quants are random bits under scales that give every matrix a spread of 1 / sqrt(columns), so that
 * activations stay finite through any depth; speed does not depend on what the numbers are. The
 * tokenizer is byte-level BPE: the bytes, the words of bench.py with the merges that lead to them,
 * filler up to the vocabulary's size, and the control tokens of a ChatML template. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/dtype.h"
#include "engine/base/mem.h"

enum { KEYS_BYTES_MAX = 1 << 28, TENSORS_MAX = 4096, POOL_BYTES = 1 << 22, ALIGNMENT = 32 };
enum { GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9 };

struct shape {
    const char *arch;
    size_t layers, embd, heads, kv_heads, head_dim, ff, vocab, ctx, tied;
    size_t experts, experts_used, expert_ff;
    size_t rope_base, seed;
    const char *type;
};

static const struct preset {
    const char *name;
    struct shape shape;
} PRESETS[] = {
    {"135m", {"llama", 30, 576, 9, 3, 64, 1536, 49152, 8192, 1, 0, 0, 0, 100000, 1, "q4_1"}},
    {"1b", {"llama", 16, 2048, 32, 8, 64, 8192, 128256, 131072, 1, 0, 0, 0, 500000, 1, "q4_k_m"}},
    {"3b", {"llama", 28, 3072, 24, 8, 128, 8192, 128256, 131072, 1, 0, 0, 0, 500000, 1, "q4_k_m"}},
    {"moe",
     {"qwen3moe", 4, 2048, 32, 4, 128, 6144, 151936, 40960, 0, 128, 8, 768, 1000000, 1, "q4_k_m"}},
};

struct tensor {
    char name[64];
    uint32_t n_dims;
    uint64_t dims[3];  // columns first
    enum dtype dtype;
    uint64_t bytes, offset;
};

struct writer {
    struct shape shape;
    struct buf keys;
    uint64_t n_keys;
    struct tensor *tensors;  // [TENSORS_MAX]
    size_t n_tensors;
    uint64_t random;
};

static uint64_t random_word(struct writer *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

/* ---- keys ---- */

static void put_text(struct buf *out, const char *text)
{
    uint64_t n = strlen(text);
    buf_append(out, &n, sizeof n);
    buf_append(out, text, n);
}

static void put_key(struct writer *w, const char *key, uint32_t kind)
{
    put_text(&w->keys, key);
    buf_append(&w->keys, &kind, sizeof kind);
    w->n_keys++;
}

static void key_text(struct writer *w, const char *key, const char *text)
{
    put_key(w, key, GGUF_STRING);
    put_text(&w->keys, text);
}

static void key_u32(struct writer *w, const char *key, size_t value)
{
    uint32_t word = (uint32_t)value;
    put_key(w, key, GGUF_U32);
    buf_append(&w->keys, &word, sizeof word);
}

static void arch_u32(struct writer *w, const char *suffix, size_t value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", w->shape.arch, suffix);
    key_u32(w, key, value);
}

static void arch_f32(struct writer *w, const char *suffix, float value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", w->shape.arch, suffix);
    put_key(w, key, GGUF_F32);
    buf_append(&w->keys, &value, sizeof value);
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
    arch_u32(w, "attention.head_count_kv", s->kv_heads);
    arch_u32(w, "attention.key_length", s->head_dim);
    arch_u32(w, "attention.value_length", s->head_dim);
    arch_u32(w, "rope.dimension_count", s->head_dim);
    arch_u32(w, "vocab_size", s->vocab);
    arch_f32(w, "attention.layer_norm_rms_epsilon", 1e-5f);
    arch_f32(w, "rope.freq_base", (float)s->rope_base);
    if (s->experts == 0)
        return;
    arch_u32(w, "expert_count", s->experts);
    arch_u32(w, "expert_used_count", s->experts_used);
    arch_u32(w, "expert_feed_forward_length", s->expert_ff);
}

/* ---- tokenizer ---- */

/* The words of bench.py's prompts, each with the merges " r", " ri", ... that lead to it. */
static const char *const WORDS[] = {
    "river",   "stone",  "window",  "garden", "market", "letter", "winter", "bridge",
    "signal",  "copper", "engine",  "paper",  "forest", "harbor", "silver", "candle",
    "mirror",  "valley", "thunder", "basket", "ladder", "meadow", "pocket", "shadow",
    "velvet",  "walnut", "yellow",  "zebra",  "anchor", "butter", "cotton", "desert",
    "feather", "guitar", "hammer",  "island", "jacket", "kettle", "lemon"};
enum { N_WORDS = sizeof WORDS / sizeof *WORDS, PIECES_MAX = 512, N_CONTROL = 3 };
static const char *const CONTROL[N_CONTROL] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
static const char *const TEMPLATE =
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/* GPT-2's printable stand-in for a byte, as UTF-8. */
static void byte_text(unsigned byte, char text[4])
{
    unsigned code = byte, n = 0;
    for (unsigned b = 0; b < 256; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte && !printable)
            code = 256 + n;
        n += !printable;
    }
    size_t at = 0;
    if (code >= 0x80)
        text[at++] = (char)(0xc0 | code >> 6);
    text[at++] = (char)(code < 0x80 ? code : (0x80 | (code & 0x3f)));
    text[at] = '\0';
}

struct pieces {
    char text[PIECES_MAX][24];
    char merge[PIECES_MAX][32];
    size_t n;
};

static void make_pieces(struct pieces *pieces)
{
    pieces->n = 0;
    char space[4];
    byte_text(' ', space);
    for (size_t i = 0; i < N_WORDS; i++) {
        for (size_t n = 1; n <= strlen(WORDS[i]); n++) {
            char text[24], merge[32];
            snprintf(text, sizeof text, "%s%.*s", space, (int)n, WORDS[i]);
            snprintf(merge, sizeof merge, "%s%.*s %c", space, (int)n - 1, WORDS[i],
                     WORDS[i][n - 1]);
            bool is_new = true;
            for (size_t k = 0; k < pieces->n; k++)
                is_new = is_new && strcmp(pieces->text[k], text) != 0;
            if (!is_new || pieces->n == PIECES_MAX)
                continue;
            memcpy(pieces->text[pieces->n], text, sizeof text);
            memcpy(pieces->merge[pieces->n++], merge, sizeof merge);
        }
    }
}

static void put_array(struct writer *w, const char *key, uint32_t kind, uint64_t n)
{
    put_key(w, key, GGUF_ARRAY);
    buf_append(&w->keys, &kind, sizeof kind);
    buf_append(&w->keys, &n, sizeof n);
}

static bool tokenizer_keys(struct writer *w)
{
    static struct pieces pieces;
    make_pieces(&pieces);
    size_t n_vocab = w->shape.vocab, n_fixed = 256 + pieces.n + N_CONTROL;
    if (n_vocab < n_fixed) {
        fprintf(stderr, "vocab must be %zu or more\n", n_fixed);
        return false;
    }
    key_text(w, "tokenizer.ggml.model", "gpt2");
    key_text(w, "tokenizer.ggml.pre", "gpt-2");
    put_array(w, "tokenizer.ggml.tokens", GGUF_STRING, n_vocab);
    for (size_t id = 0; id < n_vocab; id++) {
        char text[32], space[4];
        byte_text(' ', space);
        if (id < 256)
            byte_text((unsigned)id, text);
        else if (id < 256 + pieces.n)
            snprintf(text, sizeof text, "%s", pieces.text[id - 256]);
        else if (id < n_vocab - N_CONTROL)
            snprintf(text, sizeof text, "%sw%zu", space, id);
        else
            snprintf(text, sizeof text, "%s", CONTROL[id - (n_vocab - N_CONTROL)]);
        put_text(&w->keys, text);
    }
    put_array(w, "tokenizer.ggml.token_type", GGUF_I32, n_vocab);
    for (size_t id = 0; id < n_vocab; id++) {
        int32_t type = id < n_vocab - N_CONTROL ? 1 : 3;
        buf_append(&w->keys, &type, sizeof type);
    }
    put_array(w, "tokenizer.ggml.merges", GGUF_STRING, pieces.n);
    for (size_t i = 0; i < pieces.n; i++)
        put_text(&w->keys, pieces.merge[i]);
    key_u32(w, "tokenizer.ggml.bos_token_id", n_vocab - N_CONTROL);
    key_u32(w, "tokenizer.ggml.eos_token_id", n_vocab - N_CONTROL);
    put_key(w, "tokenizer.ggml.add_bos_token", GGUF_BOOL);
    buf_append_char(&w->keys, '\0');
    key_text(w, "tokenizer.chat_template", TEMPLATE);
    return true;
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

static void layer_tensors(struct writer *w, size_t layer, enum dtype base, enum dtype more)
{
    const struct shape *s = &w->shape;
    size_t n_q = s->heads * s->head_dim, n_kv = s->kv_heads * s->head_dim, e = s->experts;
    bool qwen2 = strcmp(s->arch, "qwen2") == 0, qwen3 = strncmp(s->arch, "qwen3", 5) == 0;
    enum dtype sensitive = has_more_bits(layer, s->layers) ? more : base;
    const struct {
        const char *suffix;
        bool present;
        enum dtype dtype;
        size_t n_columns, n_rows, n_matrices;
    } rows[] = {
        {"attn_norm", true, base, s->embd, 0, 0},
        {"attn_q", true, base, s->embd, n_q, 0},
        {"attn_k", true, base, s->embd, n_kv, 0},
        {"attn_v", true, sensitive, s->embd, n_kv, 0},
        {"attn_output", true, base, n_q, s->embd, 0},
        {"attn_q_norm", qwen3, base, s->head_dim, 0, 0},
        {"attn_k_norm", qwen3, base, s->head_dim, 0, 0},
        {"ffn_norm", true, base, s->embd, 0, 0},
        {"ffn_gate", e == 0, base, s->embd, s->ff, 0},
        {"ffn_up", e == 0, base, s->embd, s->ff, 0},
        {"ffn_down", e == 0, sensitive, s->ff, s->embd, 0},
        {"ffn_gate_inp", e > 0, DTYPE_F32, s->embd, e, 0},
        {"ffn_gate_exps", e > 0, base, s->embd, s->expert_ff, e},
        {"ffn_up_exps", e > 0, base, s->embd, s->expert_ff, e},
        {"ffn_down_exps", e > 0, sensitive, s->expert_ff, s->embd, e},
    };
    char name[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i].present)
            continue;
        snprintf(name, sizeof name, "blk.%zu.%s.weight", layer, rows[i].suffix);
        add_tensor(w, name, rows[i].dtype, rows[i].n_columns, rows[i].n_rows, rows[i].n_matrices);
    }
    static const char *const biased[] = {"attn_q", "attn_k", "attn_v"};
    for (size_t i = 0; qwen2 && i < 3; i++) {
        snprintf(name, sizeof name, "blk.%zu.%s.bias", layer, biased[i]);
        add_tensor(w, name, DTYPE_F32, i == 0 ? n_q : n_kv, 0, 0);
    }
}

static bool list_tensors(struct writer *w)
{
    const struct shape *s = &w->shape;
    enum dtype base, more, output;
    if (strcasecmp(s->type, "q4_k_m") == 0) {
        base = DTYPE_Q4_K;
        more = output = DTYPE_Q6_K;
    } else if (strcasecmp(s->type, "q5_k_m") == 0) {
        base = DTYPE_Q5_K;
        more = output = DTYPE_Q6_K;
    } else if (dtype_parse(s->type, &base)) {
        more = base;
        output = dtype_info(base)->block_elements > 1 ? DTYPE_Q8_0 : base;
    } else {
        fprintf(stderr, "unknown type %s\n", s->type);
        return false;
    }
    add_tensor(w, "token_embd.weight", s->tied ? output : base, s->embd, s->vocab, 0);
    add_tensor(w, "output_norm.weight", DTYPE_F32, s->embd, 0, 0);
    if (!s->tied)
        add_tensor(w, "output.weight", output, s->embd, s->vocab, 0);
    for (size_t layer = 0; layer < s->layers; layer++)
        layer_tensors(w, layer, base, more);
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
        {"rope_base", &s->rope_base, NULL},
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
        fprintf(stderr, "usage: make_model OUT.gguf [135m|1b|3b|moe] [key=value ...]; see the head "
                        "of make_model.c\n");
        return 2;
    }
    w.random = w.shape.seed * 0x9e3779b97f4a7c15u | 1;
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
