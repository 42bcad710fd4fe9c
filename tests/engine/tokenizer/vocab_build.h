/* Small vocabularies for the tests of engine/tokenizer, as GGUF files in memory. */
#ifndef WICARA_TESTS_VOCAB_BUILD_H
#define WICARA_TESTS_VOCAB_BUILD_H

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/formats/model_file.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"
#include "tests/engine/formats/gguf_build.h"

struct test_token {
    const char *text;
    int kind;  // enum token_kind
    float score;
};

/* What goes into the file; a NULL or negative member is left out. */
struct test_vocab {
    const char *model;
    const char *pre;
    const struct test_token *tokens;
    size_t n_tokens;
    const char *const *merges;
    size_t n_merges;
    bool no_kinds, no_scores;
    int bos, eos, add_bos, add_eos, add_space_prefix, unknown;
};

static inline void build_flag(struct gguf_build *build, const char *key, int value, size_t *n_keys)
{
    if (value < 0)
        return;
    build_key_int(build, key, GGUF_BOOL, (uint64_t)value, 1);
    (*n_keys)++;
}

static inline void build_id(struct gguf_build *build, const char *key, int value, size_t *n_keys)
{
    if (value < 0)
        return;
    build_key_u32(build, key, (uint32_t)value);
    (*n_keys)++;
}

/* The keys behind the header. */
static inline size_t build_vocab_keys(struct gguf_build *keys, const struct test_vocab *vocab)
{
    size_t n_keys = 1;
    build_key_text(keys, "general.architecture", "llama");
    if (vocab->model) {
        build_key_text(keys, "tokenizer.ggml.model", vocab->model);
        n_keys++;
    }
    if (vocab->pre) {
        build_key_text(keys, "tokenizer.ggml.pre", vocab->pre);
        n_keys++;
    }
    if (vocab->tokens) {
        build_array(keys, "tokenizer.ggml.tokens", GGUF_STRING, vocab->n_tokens);
        for (size_t i = 0; i < vocab->n_tokens; i++)
            build_text(keys, vocab->tokens[i].text);
        n_keys++;
    }
    if (vocab->tokens && !vocab->no_kinds) {
        build_array(keys, "tokenizer.ggml.token_type", GGUF_I32, vocab->n_tokens);
        for (size_t i = 0; i < vocab->n_tokens; i++)
            build_u32(keys, (uint32_t)vocab->tokens[i].kind);
        n_keys++;
    }
    if (vocab->tokens && !vocab->no_scores) {
        build_array(keys, "tokenizer.ggml.scores", GGUF_F32, vocab->n_tokens);
        for (size_t i = 0; i < vocab->n_tokens; i++)
            build_f32(keys, vocab->tokens[i].score);
        n_keys++;
    }
    if (vocab->merges) {
        build_array(keys, "tokenizer.ggml.merges", GGUF_STRING, vocab->n_merges);
        for (size_t i = 0; i < vocab->n_merges; i++)
            build_text(keys, vocab->merges[i]);
        n_keys++;
    }
    build_id(keys, "tokenizer.ggml.bos_token_id", vocab->bos, &n_keys);
    build_id(keys, "tokenizer.ggml.eos_token_id", vocab->eos, &n_keys);
    build_id(keys, "tokenizer.ggml.unknown_token_id", vocab->unknown, &n_keys);
    build_flag(keys, "tokenizer.ggml.add_bos_token", vocab->add_bos, &n_keys);
    build_flag(keys, "tokenizer.ggml.add_eos_token", vocab->add_eos, &n_keys);
    build_flag(keys, "tokenizer.ggml.add_space_prefix", vocab->add_space_prefix, &n_keys);
    return n_keys;
}

/* The bytes of a GGUF file as a model file. */
static inline enum status open_bytes(struct model_file **out, const void *bytes, size_t n_bytes,
                                     struct error *err)
{
    char path[64];
    int fd = memfd_create("vocab", 0);
    assert(fd >= 0 && write(fd, bytes, n_bytes) == (ssize_t)n_bytes);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum status status = model_file_open(out, path, err);
    close(fd);
    return status;
}

/* The bytes of a file with the vocabulary and, when extra is not NULL, one more key that build_*
 * calls wrote. */
static inline struct gguf_build build_vocab(const struct test_vocab *vocab,
                                            const struct gguf_build *extra)
{
    const uint64_t dims[] = {8};
    struct gguf_build keys = {0}, build = {0};
    size_t n_keys = build_vocab_keys(&keys, vocab);
    build_header(&build, 3, 1, n_keys + (extra != NULL));
    build_bytes(&build, keys.bytes, keys.n_bytes);
    if (extra)
        build_bytes(&build, extra->bytes, extra->n_bytes);
    build_tensor(&build, "output_norm.weight", 1, dims, DTYPE_F32, 0);
    build_pad(&build, 32);
    build_data(&build, 32);
    build_release(&keys);
    return build;
}

static inline enum status open_vocab_file(struct model_file **out, const struct test_vocab *vocab,
                                          const struct gguf_build *extra, struct error *err)
{
    struct gguf_build build = build_vocab(vocab, extra);
    enum status status = open_bytes(out, build.bytes, build.n_bytes, err);
    build_release(&build);
    return status;
}

static inline enum status open_vocab(struct tokenizer **out, const struct test_vocab *vocab,
                                     const struct gguf_build *extra, struct error *err)
{
    struct model_file *file;
    *out = NULL;
    enum status status = open_vocab_file(&file, vocab, extra, err);
    if (status)
        return status;
    status = tokenizer_open(out, file, err);
    model_file_close(file);
    return status;
}

/* A byte-level vocabulary: the 256 bytes (their texts live in `texts`), then what is given. */
enum { BYTE_TOKENS = 256, TEST_TOKENS_MAX = 320 };
struct byte_vocab {
    struct test_token tokens[TEST_TOKENS_MAX];
    char texts[BYTE_TOKENS][5];
    struct test_vocab vocab;
};

static inline void byte_vocab_init(struct byte_vocab *out, const char *pre,
                                   const struct test_token *more, size_t n_more,
                                   const char *const *merges, size_t n_merges)
{
    memset(out, 0, sizeof *out);
    assert(n_more <= TEST_TOKENS_MAX - BYTE_TOKENS);
    for (unsigned byte = 0; byte < BYTE_TOKENS; byte++) {
        vocab_byte_text((unsigned char)byte, out->texts[byte]);
        out->tokens[byte] = (struct test_token){out->texts[byte], TOKEN_KIND_NORMAL, 0};
    }
    for (size_t i = 0; i < n_more; i++)
        out->tokens[BYTE_TOKENS + i] = more[i];
    out->vocab = (struct test_vocab){.model = "gpt2",
                                     .pre = pre,
                                     .tokens = out->tokens,
                                     .n_tokens = BYTE_TOKENS + n_more,
                                     .merges = merges,
                                     .n_merges = n_merges,
                                     .no_scores = true,
                                     .bos = -1,
                                     .eos = -1,
                                     .add_bos = -1,
                                     .add_eos = -1,
                                     .add_space_prefix = -1,
                                     .unknown = -1};
}

#endif
