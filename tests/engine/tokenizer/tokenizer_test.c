/* Opening tokenizers: what a wrong file is told, and every allocation that can fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/tokenizer/special.h"
#include "tests/engine/tokenizer/vocab_build.h"

static struct byte_vocab vocab;

static const struct test_token tokens[] = {{"<s>", 3, 0}, {"<t>", 4, 0}, {"ab", 1, 0}};
static const char *const merges[] = {"a b"};

static void good_vocab(void)
{
    byte_vocab_init(&vocab, "gpt-2", tokens, 3, merges, 1);
    vocab.vocab.bos = 256;
    vocab.vocab.eos = 257;
}

/* Opens it (with one more key) and expects the status and a word of the message. */
static void expect(enum status wanted, const char *word, struct gguf_build *extra)
{
    struct tokenizer *tokenizer;
    struct error err = {0};
    enum status status = open_vocab(&tokenizer, &vocab.vocab, extra, &err);
    if (status != wanted || (word && !strstr(err.text, word)))
        fail_msg("got %s \"%s\", wanted %s \"%s\"", status_name(status), err.text,
                 status_name(wanted), word ? word : "");
    if (status)
        assert_null(tokenizer);
    tokenizer_close(tokenizer);
    if (extra)
        build_release(extra);
    good_vocab();
}

static void test_good(void **state)
{
    (void)state;
    good_vocab();
    expect(OK, NULL, NULL);
}

static void test_keys(void **state)
{
    struct gguf_build extra = {0};
    (void)state;
    good_vocab();
    vocab.vocab.model = NULL;
    expect(ERR_FORMAT, "tokenizer.ggml.model is missing", NULL);
    vocab.vocab.model = "t5";
    expect(ERR_UNSUPPORTED, "\"t5\"; supported are gpt2", NULL);
    vocab.vocab.pre = "kimi-k2";
    expect(ERR_UNSUPPORTED, "\"kimi-k2\"; supported are default gpt-2", NULL);
    vocab.vocab.pre = NULL;
    build_key_u32(&extra, "tokenizer.ggml.pre", 7);
    expect(ERR_FORMAT, "tokenizer.ggml.pre is no text", &extra);
    vocab.vocab.pre = NULL;
    expect(OK, NULL, NULL);
    vocab.vocab.tokens = NULL;
    expect(ERR_FORMAT, "tokenizer.ggml.tokens is missing", NULL);
    vocab.vocab.n_tokens = 0;
    expect(ERR_FORMAT, "tokenizer.ggml.tokens", NULL);
    vocab.vocab.merges = NULL;
    expect(ERR_FORMAT, "tokenizer.ggml.merges is missing", NULL);
    vocab.vocab.no_kinds = true;
    expect(OK, NULL, NULL);
}

static void test_tokens(void **state)
{
    static char longest[VOCAB_TOKEN_BYTES_MAX + 2];
    (void)state;
    memset(longest, 'x', sizeof longest - 1);
    good_vocab();
    vocab.tokens[258].text = longest;
    expect(ERR_LIMIT, "tokenizer.ggml.tokens[258] has 65537 bytes, the limit is 65536", NULL);
    vocab.tokens[3].text = longest + 1;
    expect(OK, NULL, NULL);
    vocab.tokens[256].text = longest + sizeof longest - 1 - SPECIAL_BYTES_MAX - 1;
    expect(ERR_LIMIT, "tokenizer.ggml.tokens[256] is a special token of 1025 bytes", NULL);
    vocab.tokens[256].text = longest + sizeof longest - 1 - SPECIAL_BYTES_MAX;
    expect(OK, NULL, NULL);
    vocab.tokens[258].text = "<t>";
    expect(ERR_FORMAT, "tokens[258] has the text of tokenizer.ggml.tokens[257]", NULL);
    vocab.tokens[3].text = "";
    vocab.tokens[4].text = "";
    expect(OK, NULL, NULL);
    vocab.tokens[258].kind = 7;
    expect(ERR_FORMAT, "tokenizer.ggml.token_type[258] is 7", NULL);
    vocab.tokens[258].kind = -1;
    expect(ERR_FORMAT, "tokenizer.ggml.token_type[258] is -1", NULL);
}

static void test_companions(void **state)
{
    struct gguf_build extra = {0};
    (void)state;
    good_vocab();
    vocab.vocab.no_kinds = true;
    build_array(&extra, "tokenizer.ggml.token_type", GGUF_I32, 2);
    build_u32(&extra, 1);
    build_u32(&extra, 1);
    expect(ERR_FORMAT, "tokenizer.ggml.token_type has 2 items, but there are 259 tokens", &extra);
    vocab.vocab.no_kinds = true;
    build_key_u32(&extra, "tokenizer.ggml.token_type", 1);
    expect(ERR_FORMAT, "tokenizer.ggml.token_type is no array", &extra);
    vocab.vocab.tokens = NULL;
    build_array(&extra, "tokenizer.ggml.tokens", GGUF_U32, 1);
    build_u32(&extra, 1);
    expect(ERR_FORMAT, "tokenizer.ggml.tokens[0] is no text", &extra);
}

static void test_merges(void **state)
{
    static const struct {
        const char *merge, *word;
    } cases[] = {
        {"", "no two tokens"},
        {"a", "no two tokens"},
        {"ab", "no two tokens"},
        {"a ", "no two tokens"},
        {" a", "no two tokens"},
        {"abc", "no two tokens"},
        {"a b c", "right part is no token"},
        {"zz b", "left part is no token"},
        {"b a", "the result is no token"},
        {"a zz", "right part is no token"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *both[] = {"a b", cases[i].merge};
        good_vocab();
        vocab.vocab.merges = both;
        vocab.vocab.n_merges = 2;
        expect(ERR_FORMAT, "tokenizer.ggml.merges[1]", NULL);
        vocab.vocab.merges = both;
        vocab.vocab.n_merges = 2;
        expect(ERR_FORMAT, cases[i].word, NULL);
    }
}

static void test_ids(void **state)
{
    (void)state;
    good_vocab();
    vocab.vocab.eos = 259;
    expect(ERR_FORMAT, "tokenizer.ggml.eos_token_id", NULL);
    vocab.vocab.eos = 258;
    expect(OK, NULL, NULL);
    vocab.vocab.bos = 1 << 30;
    expect(ERR_FORMAT, "tokenizer.ggml.bos_token_id", NULL);
    vocab.vocab.bos = -1;
    vocab.vocab.add_bos = 1;
    expect(ERR_FORMAT, "add_bos_token is true, but tokenizer.ggml.bos_token_id", NULL);
    vocab.vocab.bos = -1;
    vocab.vocab.add_bos = 0;
    expect(OK, NULL, NULL);
}

static void test_facts(void **state)
{
    struct tokenizer *tokenizer;
    struct error err = {0};
    size_t n;
    (void)state;
    good_vocab();
    vocab.tokens[258].text = "\xc4\xa0x";  // a space and x in the byte-level map
    vocab.vocab.n_merges = 0;
    assert_int_equal(open_vocab(&tokenizer, &vocab.vocab, NULL, &err), OK);
    assert_int_equal(tokenizer_vocab(tokenizer), 259);
    assert_memory_equal(tokenizer_piece(tokenizer, 258, &n), " x", 2);
    assert_int_equal(n, 2);
    assert_memory_equal(tokenizer_token_text(tokenizer, 258, &n), "\xc4\xa0x", 3);
    assert_int_equal(n, 3);
    assert_memory_equal(tokenizer_piece(tokenizer, 256, &n), "<s>", 3);
    assert_int_equal(tokenizer_find(tokenizer, "<t>", 3), 257);
    assert_int_equal(tokenizer_find(tokenizer, "<t", 2), TOKEN_NONE);
    assert_int_equal(tokenizer_find(tokenizer, "", 0), TOKEN_NONE);
    tokenizer_close(tokenizer);
    tokenizer_close(NULL);
}

/* Fails the n-th allocation for every n until all go through. */
static void check_memory(const struct test_vocab *test_vocab)
{
    static const char text[] =
        "ab <s> abababababababababababababababababababababababababababab <t> x";
    struct prompt_text prompt = {text, sizeof text - 1, NULL, 0};
    struct model_file *file;
    struct error open_err = {0};
    assert_int_equal(open_vocab_file(&file, test_vocab, NULL, &open_err), OK);
    size_t n_failed = 0;
    for (uint64_t nth = 1;; nth++) {
        struct tokenizer *tokenizer;
        struct token_list ids = {0};
        struct error err = {0};
        mem_fault_set(nth, false);
        enum status status = tokenizer_open(&tokenizer, file, &err);
        if (!status)
            status = tokenizer_encode(tokenizer, &prompt, true, 0, &ids, &err);
        uint64_t n_calls = mem_fault_count();
        mem_fault_set(0, false);
        if (status) {
            assert_int_equal(status, ERR_MEMORY);
            assert_true(err.text[0] != '\0');
            assert_int_equal(ids.n_ids, 0);
            n_failed++;
        }
        token_list_release(&ids);
        tokenizer_close(tokenizer);
        if (!status) {
            assert_true(n_calls < nth);
            break;
        }
    }
    assert_true(n_failed > 8);
    model_file_close(file);
}

static void test_no_memory_bpe(void **state)
{
    (void)state;
    good_vocab();
    check_memory(&vocab.vocab);
}

static void test_no_memory_spm(void **state)
{
    static const struct test_token spm[] = {{"<unk>", 2, 0}, {"<s>", 3, 0}, {"</s>", 3, 0},
                                            {"a", 1, -1},    {"b", 1, -2},  {"ab", 1, -3}};
    const struct test_vocab spm_vocab = {.model = "llama",
                                         .tokens = spm,
                                         .n_tokens = 6,
                                         .bos = 1,
                                         .eos = 2,
                                         .unknown = 0,
                                         .add_bos = 1,
                                         .add_eos = 0,
                                         .add_space_prefix = 1};
    (void)state;
    check_memory(&spm_vocab);
}

/* A file with some wrong bytes gives an error or a tokenizer that works; the sanitizers watch. */
static void check_damage(const struct test_vocab *test_vocab, uint32_t rounds)
{
    static const char text[] = "ab <s><t> \xe4\xbd\xa0\xff 123 aaaa's";
    struct gguf_build good = build_vocab(test_vocab, NULL);
    uint8_t *bytes = mem_alloc(good.n_bytes);
    uint32_t n_opened = 0, n_refused = 0;
    assert_non_null(bytes);
    for (uint32_t round = 0; round < rounds; round++) {
        struct model_file *file;
        struct tokenizer *tokenizer = NULL;
        struct token_list ids = {0};
        struct error err = {0};
        memcpy(bytes, good.bytes, good.n_bytes);
        for (uint32_t i = 0; i <= round % 3; i++) {
            uint64_t bits = rng_bits(9, 0, round, i);
            bytes[24 + (bits >> 16) % (good.n_bytes - 24)] = bits & 1 ? (uint8_t)(bits >> 8) : 0;
        }
        if (open_bytes(&file, bytes, good.n_bytes, &err))
            continue;
        enum status status = tokenizer_open(&tokenizer, file, &err);
        model_file_close(file);
        n_refused += status != OK;
        n_opened += status == OK;
        struct prompt_text prompt = {text, sizeof text - 1, NULL, 0};
        if (!status)
            assert_int_equal(tokenizer_encode(tokenizer, &prompt, true, 0, &ids, &err), OK);
        for (size_t i = 0; i < ids.n_ids; i++) {
            size_t n;
            assert_in_range(ids.ids[i], 0, tokenizer_vocab(tokenizer) - 1);
            assert_non_null(tokenizer_piece(tokenizer, ids.ids[i], &n));
        }
        token_list_release(&ids);
        tokenizer_close(tokenizer);
    }
    assert_true(n_opened > rounds / 50 && n_refused > rounds / 50);
    mem_free(bytes);
    build_release(&good);
}

static void test_damaged_files(void **state)
{
    (void)state;
    good_vocab();
    check_damage(&vocab.vocab, 3000);
    vocab.vocab.model = "gemma4";
    check_damage(&vocab.vocab, 3000);
    static const struct test_token spm[] = {{"<unk>", 2, 0},  {"<s>", 3, 0}, {"</s>", 3, 0},
                                            {"a", 1, -1},     {"b", 1, -2},  {"ab", 1, -3},
                                            {"<0x41>", 6, 0}, {"<t>", 4, 0}};
    const struct test_vocab spm_vocab = {.model = "llama",
                                         .tokens = spm,
                                         .n_tokens = 8,
                                         .bos = 1,
                                         .eos = 2,
                                         .unknown = 0,
                                         .add_bos = 1,
                                         .add_eos = 1,
                                         .add_space_prefix = 1};
    check_damage(&spm_vocab, 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),          cmocka_unit_test(test_keys),
        cmocka_unit_test(test_tokens),        cmocka_unit_test(test_companions),
        cmocka_unit_test(test_merges),        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_facts),         cmocka_unit_test(test_no_memory_bpe),
        cmocka_unit_test(test_no_memory_spm), cmocka_unit_test(test_damaged_files),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
