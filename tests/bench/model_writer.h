/* What make_model.c writes: the description of a model, GGUF keys, and the tokenizer.
 *
 * The tokenizer is byte-level BPE: the bytes, the words of bench.py with the merges that lead to
 * them, filler up to the vocabulary's size, and the control tokens of a ChatML template. */
#ifndef WICARA_TESTS_BENCH_MODEL_WRITER_H
#define WICARA_TESTS_BENCH_MODEL_WRITER_H

#include <stdio.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/dtype.h"

enum { KEYS_BYTES_MAX = 1 << 28, TENSORS_MAX = 4096, POOL_BYTES = 1 << 22, ALIGNMENT = 32 };
enum { GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6, GGUF_BOOL = 7, GGUF_STRING = 8, GGUF_ARRAY = 9 };

struct shape {
    const char *arch;
    size_t layers, embd, heads, kv_heads, head_dim, ff, vocab, ctx, tied;
    size_t experts, experts_used, expert_ff, shared,
        dense;                                 // dense: leading layers without experts
    size_t kv_rank, nope, rotated, value_dim;  // latent attention
    size_t kv_b;  // latent attention as old files have it: both decompressions in one tensor
    size_t window;
    size_t rope_base, yarn, seed;  // yarn: factor over a context of 4,096; 0 = none
    const char *type;
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

static void arch_text(struct writer *w, const char *suffix, const char *text)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", w->shape.arch, suffix);
    key_text(w, key, text);
}

static void arch_f32(struct writer *w, const char *suffix, float value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", w->shape.arch, suffix);
    put_key(w, key, GGUF_F32);
    buf_append(&w->keys, &value, sizeof value);
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

#endif
