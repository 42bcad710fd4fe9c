/* SPM end to end on a small vocabulary: order by score, spaces, bytes, provenance, errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/tokenizer/stream_decoder.h"
#include "tests/engine/tokenizer/vocab_build.h"

#define MARK "\xe2\x96\x81"

enum { UNK, BOS, EOS, FIRST_BYTE, FIRST_WORD = FIRST_BYTE + 256 };

static const struct test_token words[] = {
    {MARK, 1, -10},       {"a", 1, -11},        {"b", 1, -12},      {"ab", 1, -1},
    {MARK "ab", 1, -3},   {"bb", 1, -2},        {MARK MARK, 1, -4}, {"<tool>", 4, 0},
    {"\xc3\xa9", 1, -13}, {MARK "a", 1, -0.5f}, {"aa", 1, -6},      {"aaaa", 1, -7},
};
enum { N_WORDS = sizeof words / sizeof words[0] };
static struct test_token tokens[FIRST_WORD + N_WORDS + 1];
static char byte_texts[256][8];

static struct test_vocab spm_vocab(void)
{
    tokens[UNK] = (struct test_token){"<unk>", TOKEN_KIND_UNKNOWN, 0};
    tokens[BOS] = (struct test_token){"<s>", TOKEN_KIND_CONTROL, 0};
    tokens[EOS] = (struct test_token){"</s>", TOKEN_KIND_CONTROL, 0};
    for (unsigned byte = 0; byte < 256; byte++) {
        snprintf(byte_texts[byte], sizeof byte_texts[byte], "<0x%02X>", byte);
        tokens[FIRST_BYTE + byte] = (struct test_token){byte_texts[byte], TOKEN_KIND_BYTE, 0};
    }
    for (size_t i = 0; i < N_WORDS; i++)
        tokens[FIRST_WORD + i] = words[i];
    return (struct test_vocab){.model = "llama",
                               .tokens = tokens,
                               .n_tokens = FIRST_WORD + N_WORDS,
                               .bos = -1,
                               .eos = -1,
                               .unknown = -1,
                               .add_bos = 0,
                               .add_eos = -1,
                               .add_space_prefix = -1};
}

static struct tokenizer *must_open(const struct test_vocab *vocab)
{
    struct tokenizer *tokenizer;
    struct error err = {0};
    if (open_vocab(&tokenizer, vocab, NULL, &err))
        fail_msg("%s", err.text);
    return tokenizer;
}

/* The texts of the tokens, each in brackets. */
static void check(const struct tokenizer *tokenizer, const char *text, bool trusted,
                  const char *wanted)
{
    char got[512] = "";
    size_t n = 0, n_bytes = strlen(text);
    struct text_span span = {0, n_bytes};
    struct prompt_text prompt = {text, n_bytes, &span, trusted ? 0 : 1};
    struct token_list ids = {0};
    struct error err = {0};
    assert_int_equal(tokenizer_encode(tokenizer, &prompt, true, 0, &ids, &err), OK);
    for (size_t i = 0; i < ids.n_ids; i++) {
        size_t bytes;
        const char *token = tokenizer_token_text(tokenizer, ids.ids[i], &bytes);
        n += (size_t)snprintf(got + n, sizeof got - n, "[%.*s]", (int)bytes, token);
    }
    token_list_release(&ids);
    if (strcmp(got, wanted) != 0)
        fail_msg("\"%s\" gave %s, wanted %s", text, got, wanted);
}

static void test_merges(void **state)
{
    struct test_vocab vocab = spm_vocab();
    struct tokenizer *tokenizer = must_open(&vocab);
    (void)state;
    check(tokenizer, "ab", true, "[" MARK "ab]");      // " a" first, its score is the highest
    check(tokenizer, "abb", true, "[" MARK "a][bb]");  // bb before " ab"
    check(tokenizer, "bb", true, "[" MARK "][bb]");
    check(tokenizer, "bab", true, "[" MARK "][b][ab]");
    check(tokenizer, "babb", true, "[" MARK "][b][ab][b]");
    check(tokenizer, "  b", true, "[" MARK MARK "][" MARK "][b]");  // leftmost on a tie
    check(tokenizer, "b b", true, "[" MARK "][b][" MARK "][b]");
    check(tokenizer, "", true, "");
    check(tokenizer, "b\n\xc3\xa9", true, "[" MARK "][b][<0x0A>][\xc3\xa9]");
    check(tokenizer, "b\xe4\xbd\xa0", true, "[" MARK "][b][<0xE4>][<0xBD>][<0xA0>]");
    check(tokenizer, "b\xff", true, "[" MARK "][b][<0xFF>]");
    check(tokenizer, "<0x0A>", true, "[" MARK "][<0x3C>][<0x30>][<0x78>][<0x30>][<0x41>][<0x3E>]");
    tokenizer_close(tokenizer);
}

static void test_prefix(void **state)
{
    struct test_vocab vocab = spm_vocab();
    (void)state;
    vocab.add_space_prefix = 0;
    struct tokenizer *tokenizer = must_open(&vocab);
    check(tokenizer, "ab", true, "[ab]");
    tokenizer_close(tokenizer);
    vocab.add_space_prefix = 1;
    vocab.add_bos = 1;
    vocab.add_eos = 1;
    tokenizer = must_open(&vocab);
    check(tokenizer, "bb<s>bb", true, "[<s>][" MARK "][bb][<s>][" MARK "][bb][</s>]");
    check(tokenizer, "<s>bb", true, "[<s>][" MARK "][bb][</s>]");
    check(tokenizer, "b<tool>b", false, "[<s>][" MARK "][b][<tool>][" MARK "][b][</s>]");
    check(tokenizer, "</s>", false, "[<s>][" MARK "][<0x3C>][<0x2F>][<0x73>][<0x3E>][</s>]");
    tokenizer_close(tokenizer);
}

/* A token with a space inside: words must not be done one by one. */
static void test_token_across_words(void **state)
{
    struct test_vocab vocab = spm_vocab();
    (void)state;
    tokens[vocab.n_tokens++] = (struct test_token){"b" MARK, TOKEN_KIND_NORMAL, 5};
    struct tokenizer *tokenizer = must_open(&vocab);
    check(tokenizer, "b b", true, "[" MARK "][b" MARK "][b]");
    tokenizer_close(tokenizer);
}

static void test_decoding(void **state)
{
    static const int32_t ids[] = {
        BOS,           FIRST_WORD + 4, FIRST_BYTE + 0xe4, FIRST_BYTE + 0xbd, FIRST_BYTE + 0xa0,
        FIRST_WORD + 9};
    struct test_vocab vocab = spm_vocab();
    struct tokenizer *tokenizer = must_open(&vocab);
    (void)state;
    for (int at_start = 0; at_start < 2; at_start++) {
        struct stream_decoder decoder;
        struct buf out;
        buf_init(&out, 100);
        stream_decoder_init(&decoder, tokenizer, false, at_start);
        for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
            assert_true(stream_decoder_push(&decoder, ids[i], &out));
        assert_true(stream_decoder_finish(&decoder, &out));
        assert_string_equal(out.bytes, " ab\xe4\xbd\xa0 a" + at_start);
        buf_release(&out);
    }
    tokenizer_close(tokenizer);
}

static void test_long_text(void **state)
{
    enum { BYTES = 1 << 20 };
    struct test_vocab vocab = spm_vocab();
    struct tokenizer *tokenizer = must_open(&vocab);
    char *text = mem_alloc(BYTES);
    struct prompt_text prompt = {text, BYTES, NULL, 0};
    struct token_list ids = {0};
    struct error err = {0};
    int64_t start = clock_ns();
    (void)state;
    assert_non_null(text);
    memset(text, 'a', BYTES);
    assert_int_equal(tokenizer_encode(tokenizer, &prompt, true, 0, &ids, &err), OK);
    assert_true(clock_ns() - start < 60 * INT64_C(1000000000));
    assert_int_equal(ids.n_ids, BYTES / 4 + 2);  // " a", then aaaa ..., and three left over
    token_list_release(&ids);
    mem_free(text);
    tokenizer_close(tokenizer);
}

static void expect(const struct test_vocab *vocab, enum status wanted, const char *word,
                   struct gguf_build *extra)
{
    struct tokenizer *tokenizer;
    struct error err = {0};
    enum status status = open_vocab(&tokenizer, vocab, extra, &err);
    if (status != wanted || !strstr(err.text, word))
        fail_msg("got %s \"%s\", wanted %s \"%s\"", status_name(status), err.text,
                 status_name(wanted), word);
    tokenizer_close(tokenizer);
    if (extra)
        build_release(extra);
}

static void test_errors(void **state)
{
    struct gguf_build extra = {0};
    struct test_vocab vocab = spm_vocab();
    (void)state;
    vocab.no_scores = true;
    expect(&vocab, ERR_FORMAT, "tokenizer.ggml.scores is missing", NULL);
    vocab = spm_vocab();
    tokens[FIRST_WORD].score = __builtin_inff();
    expect(&vocab, ERR_FORMAT, "tokenizer.ggml.scores[259] is no finite number", NULL);
    vocab = spm_vocab();
    tokens[7].score = __builtin_nanf("");
    expect(&vocab, ERR_FORMAT, "tokenizer.ggml.scores[7]", NULL);
    static const char *const bad_bytes[] = {"<0x-1>", "<0x0G>", "<0x004>", "0x04", "", "<0x04"};
    for (size_t i = 0; i < sizeof bad_bytes / sizeof bad_bytes[0]; i++) {
        vocab = spm_vocab();
        tokens[FIRST_BYTE + 4].text = bad_bytes[i];
        expect(&vocab, ERR_FORMAT, "tokenizer.ggml.tokens[7] is a byte", NULL);
    }
    vocab = spm_vocab();
    build_key_int(&extra, "tokenizer.ggml.remove_extra_whitespaces", GGUF_BOOL, 1, 1);
    expect(&vocab, ERR_UNSUPPORTED, "remove_extra_whitespaces", &extra);
    vocab = spm_vocab();
    build_key_u32(&extra, "tokenizer.ggml.eot_token_id", 100000);
    expect(&vocab, ERR_FORMAT, "tokenizer.ggml.eot_token_id", &extra);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_token_across_words),
        cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests_name("spm", tests, NULL, NULL);
}
