/* A tiny random model with a tokenizer and a chat template, so that the whole engine runs without a
 * download. Weights are those of tests/engine/model/tiny_model.h; the vocabulary is SPM: the bytes,
 * a few pieces, and the control tokens of the template. */
#ifndef WICARA_TESTS_TINY_CHAT_MODEL_H
#define WICARA_TESTS_TINY_CHAT_MODEL_H

#include "tests/engine/model/tiny_model.h"

static const char *const TINY_CHAT_PIECES[] = {
    "\u2581", "e",      "t",       "a",       "o",   "n",         "th",    "he",
    "in",     "er",     "\u2581t", "\u2581a", "the", "\u2581the", "an",    "re",
    "on",     "at",     "\u2581s", "\u2581w", "nd",  "\u2581and", "hello", "\u2581hello",
    "\u00e9", "\u4f60", "\u597d",  "ing",     "\n",  "ed"};

/* User-defined tokens that a test adds behind the others; without it the model is as it was. */
#ifdef TINY_CHAT_EXTRA_TOKENS
static const char *const tiny_chat_extra[] = {TINY_CHAT_EXTRA_TOKENS};
enum { TINY_CHAT_N_EXTRA = sizeof tiny_chat_extra / sizeof *tiny_chat_extra };
#else
static const char *const tiny_chat_extra[] = {""};
enum { TINY_CHAT_N_EXTRA = 0 };
#endif

enum {
    TINY_CHAT_UNK,
    TINY_CHAT_BOS,
    TINY_CHAT_EOS,
    TINY_CHAT_USER,
    TINY_CHAT_ASSISTANT,
    TINY_CHAT_BYTES,  // 256 of them
    TINY_CHAT_WORDS = TINY_CHAT_BYTES + 256,
    TINY_CHAT_EXTRA = TINY_CHAT_WORDS + sizeof TINY_CHAT_PIECES / sizeof *TINY_CHAT_PIECES,
    TINY_CHAT_VOCAB = TINY_CHAT_EXTRA + TINY_CHAT_N_EXTRA,
};

#ifndef TINY_CHAT_TEMPLATE
#define TINY_CHAT_TEMPLATE                                                                         \
    "{{ bos_token }}{% for m in messages %}"                                                       \
    "{% if m['role'] == 'user' %}<|user|>{% else %}<|assistant|>{% endif %}{{ m['content'] }}"     \
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
#endif

static inline const char *tiny_chat_token(size_t id, char text[16])
{
    static const char *const first[] = {"<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>"};
    if (id < TINY_CHAT_BYTES)
        return first[id];
    if (id >= TINY_CHAT_EXTRA)
        return tiny_chat_extra[id - TINY_CHAT_EXTRA];
    if (id >= TINY_CHAT_WORDS)
        return TINY_CHAT_PIECES[id - TINY_CHAT_WORDS];
    snprintf(text, 16, "<0x%02X>", (unsigned)(id - TINY_CHAT_BYTES));
    return text;
}

static inline void tiny_chat_array(struct tiny_writer *w, const char *key, uint32_t kind)
{
    uint32_t array = 9;
    uint64_t n = TINY_CHAT_VOCAB;
    tiny_text(&w->keys, key);
    buf_append(&w->keys, &array, sizeof array);
    buf_append(&w->keys, &kind, sizeof kind);
    buf_append(&w->keys, &n, sizeof n);
    w->n_keys++;
}

static inline void tiny_chat_keys(struct tiny_writer *w)
{
    tiny_key_text(w, "tokenizer.ggml.model", "llama");
    tiny_key_text(w, "tokenizer.chat_template", TINY_CHAT_TEMPLATE);
    tiny_chat_array(w, "tokenizer.ggml.tokens", TINY_STRING);
    for (size_t id = 0; id < TINY_CHAT_VOCAB; id++) {
        char text[16];
        tiny_text(&w->keys, tiny_chat_token(id, text));
    }
    tiny_chat_array(w, "tokenizer.ggml.scores", TINY_F32);
    for (size_t id = 0; id < TINY_CHAT_VOCAB; id++) {
        float score = id < TINY_CHAT_WORDS ? 0 : -(float)(id - TINY_CHAT_WORDS);
        buf_append(&w->keys, &score, sizeof score);
    }
    tiny_chat_array(w, "tokenizer.ggml.token_type", 5);
    for (size_t id = 0; id < TINY_CHAT_VOCAB; id++) {
        int32_t type = id == TINY_CHAT_UNK    ? 2
                       : id < TINY_CHAT_BYTES ? 3
                       : id < TINY_CHAT_WORDS ? 6
                       : id < TINY_CHAT_EXTRA ? 1
                                              : 4;
        buf_append(&w->keys, &type, sizeof type);
    }
}

/* Writes the model into a new temporary file, whose name goes to path; unlink() it. With a window
 * its first layer sees only that many tokens, and the context is eight times as long. */
static inline bool tiny_chat_model_write(enum dtype dtype, uint32_t window, char path[64])
{
    const struct tiny_model model = {.name = "tiny chat",
                                     .arch = "llama",
                                     .n_embd = 64,
                                     .n_layers = 2,
                                     .n_heads = 4,
                                     .n_kv_heads = 2,
                                     .head_dim = 16,
                                     .n_ff = 96,
                                     .n_vocab = TINY_CHAT_VOCAB,
                                     .window = window,
                                     .window_period = window ? 2 : 0,
                                     .override = window ? "context_length" : NULL,
                                     .override_value = 8 * TINY_CTX,
                                     .dtype = dtype};
    struct tiny_writer w = {.model = &model};
    struct buf file;
    buf_init(&w.keys, 1 << 24);
    buf_init(&w.infos, 1 << 24);
    buf_init(&w.data, 1 << 26);
    buf_init(&file, 1 << 27);
    tiny_keys(&w);
    tiny_chat_keys(&w);
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
    snprintf(path, 64, "/tmp/wicara_chat_XXXXXX");
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
