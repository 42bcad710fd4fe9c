/* engine/tokenizer/stream_decoder: whatever the bytes and however they are grouped into tokens, the
 * text is that of decoding all at once, which a second, plainer decoder here states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/rng.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/stream_decoder.h"
#include "tests/engine/tokenizer/vocab_build.h"

#define BAD "\xef\xbf\xbd"

static struct byte_vocab vocab;

/* Tokens of several bytes, most of them cut inside characters; written in gpt-2's map. */
static const struct {
    const char *bytes;
} groups[] = {{"\xe4\xbd"},
              {"\xbd\xa0"},
              {"\xa0\xe4"},
              {"\xf0\x9f"},
              {"\x98\x80"},
              {"\x9f\x98\x80"},
              {"a\xf0"},
              {"\xc3\xa9"},
              {"\xa9x"},
              {"\xed\xa0"},
              {"\xf4\x90\x80"},
              {"\xc0\xaf"},
              {"\xe4\xbd\xa0"},
              {"\xf0\x9f\x98\x80"},
              {"\xff\xfe\xfd\xfc"},
              {"ok"}};
enum { N_GROUPS = sizeof groups / sizeof groups[0], CONTROL = BYTE_TOKENS + N_GROUPS };

static struct tokenizer *open_groups(void)
{
    static char texts[N_GROUPS][16];
    struct test_token tokens[N_GROUPS + 2];
    struct tokenizer *tokenizer;
    struct error err = {0};
    for (size_t i = 0; i < N_GROUPS; i++) {
        size_t n = 0;
        for (const char *byte = groups[i].bytes; *byte; byte++) {
            char mapped[4];
            size_t length = vocab_byte_text((unsigned char)*byte, mapped);
            memcpy(texts[i] + n, mapped, length);
            n += length;
        }
        texts[i][n] = '\0';
        tokens[i] = (struct test_token){texts[i], TOKEN_KIND_NORMAL, 0};
    }
    tokens[N_GROUPS] = (struct test_token){"<s>", TOKEN_KIND_CONTROL, 0};
    tokens[N_GROUPS + 1] = (struct test_token){"<t\xc3\xa9>", TOKEN_KIND_USER_DEFINED, 0};
    byte_vocab_init(&vocab, "gpt-2", tokens, N_GROUPS + 2, (const char *const[]){NULL}, 0);
    if (open_vocab(&tokenizer, &vocab.vocab, NULL, &err))
        fail_msg("%s", err.text);
    return tokenizer;
}

/* The first byte of an invalid sequence and the continuations that a longer character would allow
 * are one U+FFFD. Tries every character that could start so: slow and simple. */
static size_t invalid_length(const unsigned char *bytes, size_t n)
{
    static const struct {
        unsigned char lead_min, lead_max, second_min, second_max, length;
    } rows[] = {{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
                {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
                {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (bytes[0] < rows[i].lead_min || bytes[0] > rows[i].lead_max)
            continue;
        if (n < 2 || bytes[1] < rows[i].second_min || bytes[1] > rows[i].second_max)
            return 1;
        size_t length = 2;
        while (length < rows[i].length && length < n && (bytes[length] & 0xc0) == 0x80)
            length++;
        return length;
    }
    return 1;
}

static void decode_plainly(const char *bytes, size_t n_bytes, struct buf *out)
{
    for (size_t i = 0; i < n_bytes;) {
        uint32_t code;
        size_t length = utf8_decode(bytes + i, n_bytes - i, &code);
        if (length) {
            buf_append(out, bytes + i, length);
            i += length;
        } else {
            buf_append(out, BAD, 3);
            i += invalid_length((const unsigned char *)bytes + i, n_bytes - i);
        }
    }
}

static void check_bytes(const struct tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                        const char *wanted, size_t n_wanted)
{
    struct stream_decoder decoder;
    struct buf out;
    buf_init(&out, 4096);
    stream_decoder_init(&decoder, tokenizer, false, true);
    for (size_t i = 0; i < n_ids; i++) {
        assert_true(stream_decoder_push(&decoder, ids[i], &out));
        assert_true(utf8_is_valid(out.bytes ? out.bytes : "", out.n_bytes, NULL));
    }
    assert_true(stream_decoder_finish(&decoder, &out));
    if (n_wanted != out.n_bytes || (n_wanted && memcmp(out.bytes, wanted, n_wanted) != 0))
        fail_msg("got \"%s\", wanted \"%s\"", out.bytes, wanted);
    buf_release(&out);
}

static void check(const struct tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                  const char *wanted)
{
    check_bytes(tokenizer, ids, n_ids, wanted, strlen(wanted));
}

/* The expectations are Python's bytes.decode(errors="replace"). */
static void test_known(void **state)
{
    struct tokenizer *tokenizer = open_groups();
    (void)state;
    check(tokenizer, (int32_t[]){0xe4, 0xbd, 0xa0}, 3, "\xe4\xbd\xa0");
    check(tokenizer, (int32_t[]){0xe4, 0xbd}, 2, BAD);
    check(tokenizer, (int32_t[]){0xe4, 'a'}, 2, BAD "a");
    check(tokenizer, (int32_t[]){0xf0, 0x9f, 0x98, 'a'}, 4, BAD "a");
    check(tokenizer, (int32_t[]){0xf0, 0x9f, 0xe4, 0xbd, 0xa0}, 5, BAD "\xe4\xbd\xa0");
    check(tokenizer, (int32_t[]){0xed, 0xa0, 0x80}, 3, BAD BAD BAD);
    check(tokenizer, (int32_t[]){0xf4, 0x90, 0x80, 0x80}, 4, BAD BAD BAD BAD);
    check(tokenizer, (int32_t[]){0xc0, 0xaf}, 2, BAD BAD);
    check(tokenizer, (int32_t[]){0xff, 0xfe, 'a'}, 3, BAD BAD "a");
    check(tokenizer, (int32_t[]){0xe4, 0xe4, 0xbd, 0xa0}, 4, BAD "\xe4\xbd\xa0");
    check(tokenizer, NULL, 0, "");
    tokenizer_close(tokenizer);
}

/* Random tokens against the plain decoder on their joined bytes. */
static void test_random(void **state)
{
    struct tokenizer *tokenizer = open_groups();
    (void)state;
    for (uint32_t round = 0; round < 20000; round++) {
        int32_t ids[40];
        size_t n = rng_bits(1, 0, round, 0) % 40;
        struct buf joined, wanted;
        buf_init(&joined, 4096);
        buf_init(&wanted, 4096);
        for (size_t i = 0; i < n; i++) {
            uint64_t bits = rng_bits(2, 0, round, (uint32_t)i);
            size_t bytes;
            ids[i] = (int32_t)(bits & 3 ? BYTE_TOKENS + bits / 4 % N_GROUPS : bits / 4 % 256);
            const char *piece = tokenizer_piece(tokenizer, ids[i], &bytes);
            buf_append(&joined, piece, bytes);
        }
        decode_plainly(joined.bytes, joined.n_bytes, &wanted);
        check_bytes(tokenizer, ids, n, wanted.bytes, wanted.n_bytes);
        buf_release(&joined);
        buf_release(&wanted);
    }
    tokenizer_close(tokenizer);
}

/* The same bytes in tokens of one byte and in larger ones give the same text. */
static void test_grouping(void **state)
{
    struct tokenizer *tokenizer = open_groups();
    (void)state;
    for (uint32_t round = 0; round < 5000; round++) {
        int32_t single[200];
        int32_t grouped[40];
        size_t n_single = 0;
        struct buf wanted;
        buf_init(&wanted, 4096);
        for (size_t i = 0; i < 40; i++) {
            size_t group = rng_bits(3, 0, round, (uint32_t)i) % N_GROUPS;
            grouped[i] = (int32_t)(BYTE_TOKENS + group);
            for (const char *byte = groups[group].bytes; *byte; byte++)
                single[n_single++] = (unsigned char)*byte;
        }
        struct stream_decoder decoder;
        stream_decoder_init(&decoder, tokenizer, false, true);
        for (size_t i = 0; i < n_single; i++)
            stream_decoder_push(&decoder, single[i], &wanted);
        stream_decoder_finish(&decoder, &wanted);
        assert_false(wanted.failed);
        check_bytes(tokenizer, grouped, 40, wanted.bytes, wanted.n_bytes);
        buf_release(&wanted);
    }
    tokenizer_close(tokenizer);
}

/* Control tokens are silent unless asked for, and do not break a character that goes on. */
static void test_control(void **state)
{
    static const int32_t ids[] = {0xe4, CONTROL, 0xbd, 0xa0, CONTROL + 1};
    static const char *const wanted[] = {"\xe4\xbd\xa0<t\xc3\xa9>",
                                         BAD "<s>" BAD BAD "<t\xc3\xa9>"};
    struct tokenizer *tokenizer = open_groups();
    (void)state;
    for (int show = 0; show < 2; show++) {
        struct stream_decoder decoder;
        struct buf out;
        buf_init(&out, 4096);
        stream_decoder_init(&decoder, tokenizer, show, true);
        for (size_t i = 0; i < 5; i++)
            assert_true(stream_decoder_push(&decoder, ids[i], &out));
        assert_true(stream_decoder_finish(&decoder, &out));
        assert_string_equal(out.bytes, wanted[show]);
        buf_release(&out);
    }
    tokenizer_close(tokenizer);
}

/* A buffer that is full says so and nothing is written past its cap. */
static void test_full_buffer(void **state)
{
    struct tokenizer *tokenizer = open_groups();
    (void)state;
    for (size_t cap = 0; cap < 6; cap++) {
        struct stream_decoder decoder;
        struct buf out;
        buf_init(&out, cap);
        stream_decoder_init(&decoder, tokenizer, false, true);
        bool fine =
            stream_decoder_push(&decoder, 'a', &out) && stream_decoder_push(&decoder, 0xe4, &out) &&
            stream_decoder_push(&decoder, 'b', &out) && stream_decoder_finish(&decoder, &out);
        assert_int_equal(fine, cap >= 5);  // a, U+FFFD, b
        assert_true(out.n_bytes <= cap);
        buf_release(&out);
    }
    tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),       cmocka_unit_test(test_random),
        cmocka_unit_test(test_grouping),    cmocka_unit_test(test_control),
        cmocka_unit_test(test_full_buffer),
    };
    return cmocka_run_group_tests_name("stream_decoder", tests, NULL, NULL);
}
