/* engine/tokenizer/pretokenize: the cuts of every shape against the reference library (committed
 * goldens), a few of them in words, and what must hold for any bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/unicode.h"
#include "tests/engine/tokenizer/golden_records.h"

enum { BYTES_MAX = 1 << 20 };

/* Lengths of the pieces in bytes; returns their number. */
static size_t cut(const char *pre, size_t n_pre, const char *text, size_t n_bytes,
                  uint32_t *lengths)
{
    static uint32_t units[BYTES_MAX];
    const struct pretokenizer *pretokenizer = pretokenizer_find(pre, n_pre);
    struct piece_walk walk;
    size_t first, last, n = 0;
    assert_non_null(pretokenizer);
    assert_true(n_bytes <= BYTES_MAX);
    piece_walk_init(&walk, pretokenizer, units, unicode_units(text, n_bytes, units));
    for (; piece_walk_next(&walk, &first, &last); n++) {
        assert_true(last > first);
        lengths[n] = 0;
        for (size_t i = first; i < last; i++)
            lengths[n] += (uint32_t)unit_bytes(units[i]);
    }
    return n;
}

/* The pieces stand between bars. */
static void test_in_words(void **state)
{
    static const struct {
        const char *pre, *wanted;
    } cases[] = {
        {"gpt-2", "I|'ll| pay|  | $|12345|.|\n\n | x"},
        {"gpt-2", "I|'|LL| don|'t"},
        {"gpt-2", "a|  | b| |\t|c"},
        {"smollm", "I| pay| $|1|2|3|."},
        {"smollm", "!|\xf0\x91\xb7\xa0|!"},  // U+11DE0, a digit for Digits alone
        {"gpt-2", "!\xf0\x91\xb7\xa0!"},
        {"starcoder", "v|1|0| |2|x"},
        {"default", "a|..|b| |123|45"},
        {"falcon", "a|`.`|b| |123|4"},
        {"llama-bpe", "I|'LL| pay| $|123|45|.\n\n|  | x"},
        {"llama-bpe", "'\xc5\xbf|X|(a|.b"},
        {"qwen2", "I|'ll| pay| $|1|2|.|  \r\n|  | x"},
        {"qwen35", "e\xcc\x81t\xc3\xa9|1"},
        {"qwen2", "e|\xcc\x81t\xc3\xa9|1"},
        {"gpt-4o", "camel|Case|HTTPServer's|./\n|123|4"},
        {"tekken", "camel|Case|'s|1|2"},
        {"deepseek-coder", "a|\n|\n| b|.|\xe4\xbd\xa0\xe5\xa5\xbd|1"},
        {"deepseek-v3", "123|4|\xe4\xbd\xa0|.foo|_bar| \xe2\x82\xac\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128], got[256];
        uint32_t lengths[128];
        size_t n = 0, n_got = 0;
        for (const char *c = cases[i].wanted; *c; c++) {
            if (*c != '|')
                text[n++] = *c;
        }
        size_t n_pieces = cut(cases[i].pre, strlen(cases[i].pre), text, n, lengths);
        for (size_t j = 0, at = 0; j < n_pieces; at += lengths[j++]) {
            if (j)
                got[n_got++] = '|';
            memcpy(got + n_got, text + at, lengths[j]);
            n_got += lengths[j];
        }
        got[n_got] = '\0';
        if (strcmp(got, cases[i].wanted) != 0)
            fail_msg("%s: got \"%s\", wanted \"%s\"", cases[i].pre, got, cases[i].wanted);
    }
}

static void test_goldens(void **state)
{
    struct golden_file file;
    struct golden_field name, text = {0}, wanted = {0};
    uint32_t lengths[512];
    size_t n_records = 0;
    (void)state;
    assert_true(golden_open(&file, "tests/golden/tokenizer/shapes.bin.gz"));
    while (golden_next(&file, 1, &name)) {
        assert_true(golden_next(&file, 1, &text) && golden_next(&file, 4, &wanted));
        size_t n = cut(name.bytes, name.count, text.bytes, text.count, lengths);
        if (n != wanted.count || memcmp(lengths, wanted.numbers, n * sizeof *lengths) != 0)
            fail_msg("%.*s: record %zu \"%.*s\" is cut differently", (int)name.count, name.bytes,
                     n_records, (int)text.count, text.bytes);
        n_records++;
    }
    assert_int_equal(file.at, file.n_bytes);
    assert_int_equal(n_records, 1700);
    golden_close(&file);
}

static const char *const shapes[] = {"default",    "gpt-2",        "smollm",         "falcon",
                                     "llama-bpe",  "qwen2",        "qwen35",         "laguna",
                                     "seed-coder", "ufakzeka",     "minicpm5",       "gpt-4o",
                                     "tekken",     "deepseek-llm", "deepseek-coder", "deepseek-v3"};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

/* Whatever the bytes, the pieces are the text and none is empty. */
static void test_any_bytes(void **state)
{
    char text[64];
    uint32_t lengths[64];
    (void)state;
    for (uint32_t round = 0; round < 20000; round++) {
        size_t n = rng_bits(1, 0, round, 0) % 64, total = 0;
        for (size_t i = 0; i < n; i++) {
            uint64_t bits = rng_bits(2, 0, round, (uint32_t)i);
            text[i] = bits & 256 ? (char)bits : " \n\r'sA1.\xe4\xbd\xa0\xff\xcc\x81/"[bits % 16];
        }
        const char *shape = shapes[round % N_SHAPES];
        size_t n_pieces = cut(shape, strlen(shape), text, n, lengths);
        for (size_t i = 0; i < n_pieces; i++) {
            assert_true(lengths[i] > 0);
            total += lengths[i];
        }
        assert_int_equal(total, n);
    }
}

/* A megabyte that could make a matcher look ahead again and again; quadratic time would need many
 * minutes where linear time needs milliseconds. */
static void test_hostile_runs(void **state)
{
    static const struct {
        const char *start, *run, *end;
    } texts[] = {{"", " ", "\xe4\xbd\xa0 "},
                 {"\n", " ", "x"},
                 {"", "\n ", ""},
                 {"", "a", ""},
                 {"\xe4\xbd\xa0", "A", ""},
                 {"", "A\xcc\x81", " "},
                 {"", "'", "s"},
                 {"", "1", ""},
                 {"", "\xff", ""},
                 {"", "\t.", "\n"},
                 {"", " \xe4\xbd\xa0", " "},
                 {"", "\xcc\x81", "\n"}};
    static char text[BYTES_MAX];
    static uint32_t lengths[BYTES_MAX];
    int64_t start = clock_ns();
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t n = strlen(texts[i].start), run = strlen(texts[i].run), end = strlen(texts[i].end);
        memcpy(text, texts[i].start, n);
        for (; n + run + end <= BYTES_MAX / 2; n += run)
            memcpy(text + n, texts[i].run, run);
        memcpy(text + n, texts[i].end, end);
        for (size_t j = 0; j < N_SHAPES; j++)
            assert_true(cut(shapes[j], strlen(shapes[j]), text, n + end, lengths) > 0);
    }
    assert_true(clock_ns() - start < 60 * INT64_C(1000000000));
}

static void test_names(void **state)
{
    struct error err = {0};
    (void)state;
    assert_null(pretokenizer_find("gpt-2x", 6));
    assert_null(pretokenizer_find("gpt", 3));
    assert_null(pretokenizer_find("", 0));
    assert_true(pretokenizer_find("llama-bpe", 9)->ignore_merges);
    assert_true(pretokenizer_find("tekken", 6)->adds_bos);
    assert_false(pretokenizer_find("qwen2", 5)->adds_bos);
    assert_int_equal(pretokenizer_unknown("kimi-k2", 7, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "kimi-k2"));
    assert_non_null(strstr(err.text, "llama-bpe"));
    assert_non_null(strstr(err.text, "deepseek-v3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_words),  cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_any_bytes), cmocka_unit_test(test_hostile_runs),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("pretokenize", tests, NULL, NULL);
}
