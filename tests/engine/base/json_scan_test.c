/* The strict JSON check: a table after the manner of JSONTestSuite (right, wrong, and where
 * RFC 8259 leaves it open: our rule), then each limit at its value and one past it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/json_scan.h"
#include "engine/base/mem.h"

static const struct json_limits wide = {JSON_SCAN_DEPTH_MAX, 1000000};

/* Scans a copy of exactly its size, so that the address sanitizer sees a byte too many. */
static enum status scan(const char *text, size_t n_bytes, const struct json_limits *limits,
                        struct error *err)
{
    char *exact = malloc(n_bytes ? n_bytes : 1);
    if (n_bytes)
        memcpy(exact, text, n_bytes);
    enum status status = json_scan(exact, n_bytes, limits, err);
    free(exact);
    return status;
}

static void test_right(void **state)
{
    // clang-format off
    static const char *const texts[] = {
        "0", "-0", "1", "-1", "10", "123456789012345678901234567890", "0.5", "-0.25", "1e5", "1E5",
        "1e+5", "1e-5", "0e0", "0e+1", "0E-1", "1.5e300", "1e-400", "123.456e78", "true", "false",
        "null", "\"\"", "\"a\"", "[]", "{}", "[[]]", "[{}]", "{\"a\":{}}", "[1]", "[1,2]",
        " [ 1 , 2 ] ", "\t\r\n{\t\"a\"\r:\n1 }\n", "{\"a\":1,\"b\":2}", "{\"\":1}",
        "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0041\\u00e9\\u20AC\"", "\"\\ud83d\\ude00\"", "\"\\uD834\\uDD1E\"", "\"\\uffff\"",
        "\"\\u0001\"", "\"\x7f\"", "\"\xc3\xbc\"", "\"\xe2\x82\xac\"", "\"\xf0\x9f\x98\x80\"",
        "\"\xf4\x8f\xbf\xbf\"", "\"\xe2\x80\xa8\"", "\"\xef\xbf\xbf\"", "\"\xef\xbb\xbf\"",
        "{\"a\":1,\"A\":2}", "{\"a\":1,\"a \":2}", "{\"ab\":1,\"a\":2,\"b\":3}",
        "{\"a\":[],\"b\":{},\"c\":null,\"d\":\"x\",\"e\":1.5}", "[null,true,false,0,\"\",{},[]]",
        "[\"\\\\\"]", "[\"//\"]", "[\"\\u005C\"]", "\"\\u002c\"", "[1.7976931348623157e308]",
        "[5e-324]",
    };
    // clang-format on
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct error err = {0};
        if (scan(texts[i], strlen(texts[i]), &wide, &err))
            fail_msg("%s: %s", texts[i], err.text);
        assert_int_equal(err.status, OK);
    }
}

/* What is wrong, and a part of the message that must say so. */
struct wrong {
    const char *text;
    size_t n_bytes;
    const char *part;
};
// clang-format off
#define WRONG(text, part) {text, sizeof(text) - 1, part}

static const struct wrong wrong_texts[] = {
    /* structure */
    WRONG("", "byte 0"), WRONG(" ", "byte 1"), WRONG("[", "byte 1"), WRONG("]", "byte 0"),
    WRONG("{", "byte 1"), WRONG("}", "byte 0"), WRONG("[1", "byte 2"), WRONG("[1,", "byte 3"),
    WRONG("[1,]", "byte 3"), WRONG("[,1]", "byte 1"), WRONG("[1,,2]", "byte 3"),
    WRONG("[1 2]", "byte 3"), WRONG("[1}", "byte 2"), WRONG("{]", "byte 1"), WRONG("[}", "byte 1"),
    WRONG("{\"a\"}", "byte 4"), WRONG("{\"a\":}", "byte 5"), WRONG("{\"a\":1", "byte 6"),
    WRONG("{\"a\":1,}", "byte 7"), WRONG("{,\"a\":1}", "byte 1"), WRONG("{\"a\" 1}", "byte 5"),
    WRONG("{\"a\"::1}", "byte 5"), WRONG("{\"a\":1 \"b\":2}", "byte 7"), WRONG("{a:1}", "byte 1"),
    WRONG("{1:1}", "byte 1"), WRONG("{null:1}", "byte 1"), WRONG("{'a':1}", "byte 1"),
    WRONG("{\"a\":1]", "byte 6"), WRONG("[\"a\":1]", "byte 4"), WRONG(",", "byte 0"),
    WRONG(":", "byte 0"), WRONG("[[[]]", "byte 5"), WRONG("{\"a\":[}", "byte 6"),
    /* behind the value */
    WRONG("1 1", "byte 2"), WRONG("{}{}", "byte 2"), WRONG("[],", "byte 2"), WRONG("[]]", "byte 2"),
    WRONG("\"a\"b", "byte 3"), WRONG("nulls", "byte 4"), WRONG("{} //", "byte 3"),
    WRONG("1\0", "byte 1"), WRONG("{}\0{}", "byte 2"), WRONG("true\x0b", "byte 4"),
    /* words and comments */
    WRONG("nul", "byte 0"), WRONG("True", "byte 0"), WRONG("NULL", "byte 0"),
    WRONG("tru]", "byte 0"),
    WRONG("NaN", "byte 0"), WRONG("Infinity", "byte 0"), WRONG("-Infinity", "byte 0"),
    WRONG("undefined", "byte 0"), WRONG("/*c*/1", "byte 0"), WRONG("[1//\n]", "byte 2"),
    WRONG("'a'", "byte 0"), WRONG("\x0c[]", "byte 0"), WRONG("\xc2\xa0[]", "byte 0"),
    WRONG("\0", "byte 0"), WRONG("[\0]", "byte 1"),
    /* numbers */
    WRONG("01", "byte 0"), WRONG("-01", "byte 0"), WRONG("00", "byte 0"), WRONG("-", "byte 0"),
    WRONG("+1", "byte 0"), WRONG(".5", "byte 0"), WRONG("-.5", "byte 0"), WRONG("1.", "byte 0"),
    WRONG("1.e5", "byte 0"), WRONG("1e", "byte 0"), WRONG("1e+", "byte 0"), WRONG("1e-", "byte 0"),
    WRONG("1e5.5", "byte 3"), WRONG("0x10", "byte 1"), WRONG("1_000", "byte 1"),
    WRONG("1a", "byte 1"),
    WRONG("[- 1]", "byte 1"), WRONG("[1 .5]", "byte 3"), WRONG("--1", "byte 0"),
    WRONG("1..5", "byte 0"),
    WRONG("1ee5", "byte 0"), WRONG("[1e400]", "not finite"), WRONG("-1e400", "not finite"),
    WRONG("1e99999999999", "not finite"), WRONG("\xef\xbc\x91", "byte 0"),
    /* strings */
    WRONG("\"", "byte 1"), WRONG("\"a", "byte 2"), WRONG("[\"a]", "byte 4"),
    WRONG("\"\\\"", "byte 3"),
    WRONG("\"\\", "byte 1"), WRONG("\"a\nb\"", "byte 2"), WRONG("\"a\tb\"", "byte 2"),
    WRONG("\"a\0b\"", "byte 2"), WRONG("\"\x1f\"", "byte 1"), WRONG("\"\\x41\"", "byte 1"),
    WRONG("\"\\a\"", "byte 1"), WRONG("\"\\'\"", "byte 1"), WRONG("\"\\\0\"", "byte 1"),
    WRONG("\"\\U0041\"", "byte 1"), WRONG("\"\\\xc3\xbc\"", "byte 1"),
    WRONG("\"\\u\"", "byte 1"), WRONG("\"\\u004\"", "byte 1"), WRONG("\"\\u004g\"", "byte 1"),
    WRONG("\"\\u 041\"", "byte 1"), WRONG("\"\\u-041\"", "byte 1"), WRONG("\"\\u00", "byte 1"),
    WRONG("\"\\u0000\"", "\\u0000"), WRONG("{\"a\\u0000b\":1}", "byte 3"),
    WRONG("\"\\ud800\"", "surrogate"), WRONG("\"\\udc00\"", "surrogate"),
    WRONG("\"\\udc00\\ud800\"", "surrogate"), WRONG("\"\\ud800\\ud800\"", "surrogate"),
    WRONG("\"\\ud800a\"", "surrogate"), WRONG("\"\\ud800\\u0041\"", "surrogate"),
    WRONG("\"\\ud800\\n\"", "surrogate"), WRONG("\"\\ud83d\\ude0\"", "surrogate"),
    WRONG("\"\\ud83d\\", "surrogate"), WRONG("\"\\uDBFF\\uE000\"", "surrogate"),
    /* UTF-8 */
    WRONG("\"\x80\"", "byte 1: not valid UTF-8"), WRONG("\"\xff\"", "UTF-8"),
    WRONG("\"\xc0\xaf\"", "UTF-8"), WRONG("\"\xe0\x80\xaf\"", "UTF-8"), WRONG("\"\xc3\"", "UTF-8"),
    WRONG("\"\xe2\x82\"", "UTF-8"), WRONG("\"\xed\xa0\x80\"", "UTF-8"),
    WRONG("\"\xf4\x90\x80\x80\"", "UTF-8"), WRONG("\"\xf0\x9f\x98", "UTF-8"),
    WRONG("{\"\xff\":1}", "UTF-8"), WRONG("\xef\xbb\xbf{}", "byte order mark"),
    WRONG("\xfe\xff\0{\0}", "byte 0"), WRONG("{\0}\0", "byte 1"),
    /* names */
    WRONG("{\"a\":1,\"a\":1}", "byte 8: duplicate"), WRONG("{\"a\":1,\"\\u0061\":2}", "duplicate"),
    WRONG("{\"\":1,\"\":2}", "duplicate"), WRONG("{\"\\/\":1,\"/\":2}", "duplicate"),
    WRONG("{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}", "duplicate"),
    WRONG("[{\"x\":{\"b\":1,\"c\":{\"b\":1},\"b\":2}}]", "duplicate"),
    WRONG("{\"a\":{\"a\":1},\"b\":1,\"a\":1}", "duplicate"),
};
// clang-format on

static void test_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong_texts / sizeof *wrong_texts; i++) {
        const struct wrong *wrong = &wrong_texts[i];
        struct error err = {0};
        enum status status = scan(wrong->text, wrong->n_bytes, &wide, &err);
        if (status != ERR_INVALID || err.status != ERR_INVALID || !strstr(err.text, wrong->part))
            fail_msg("case %zu %s: %s %s, wanted %s", i, wrong->text, status_name(status), err.text,
                     wrong->part);
        assert_int_equal(scan(wrong->text, wrong->n_bytes, &wide, NULL), ERR_INVALID);
    }
}

/* Every cut of a right object is wrong, and no cut is read past its end. */
static void test_cuts(void **state)
{
    static const char text[] =
        "{\"k\\u00e9\":[1.5e+10,-0,true,false,null,\"\\ud83d\\ude00\\n\xe2\x82"
        "\xac\"],\"o\":{\"p\":{},\"q\":[]}}";
    (void)state;
    for (size_t n = 0; n < sizeof text - 1; n++)
        assert_int_equal(scan(text, n, &wide, NULL), ERR_INVALID);
    assert_int_equal(scan(text, sizeof text - 1, &wide, NULL), OK);
}

/* depth brackets, the way they close, and perhaps one value inside. */
static size_t nest(char *out, size_t depth, bool objects)
{
    size_t n = 0;
    for (size_t i = 0; i < depth; i++) {
        out[n++] = objects ? '{' : '[';
        if (objects && i + 1 < depth) {
            memcpy(out + n, "\"a\":", 4);
            n += 4;
        }
    }
    for (size_t i = 0; i < depth; i++)
        out[n++] = objects ? '}' : ']';
    return n;
}

static void test_depth(void **state)
{
    static char text[2000];
    static const size_t limits[] = {1, 2, 64, JSON_SCAN_DEPTH_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        const struct json_limits own = {limits[i], 1000};
        for (int objects = 0; objects < 2; objects++) {
            struct error err = {0};
            size_t n = nest(text, limits[i], objects);
            assert_int_equal(scan(text, n, &own, NULL), OK);
            n = nest(text, limits[i] + 1, objects);
            assert_int_equal(scan(text, n, &own, &err), ERR_INVALID);
            assert_non_null(strstr(err.text, "deeper"));
        }
    }
    assert_int_equal(scan("1", 1, &(struct json_limits){0, 10}, NULL), OK);
    assert_int_equal(scan("[]", 2, &(struct json_limits){0, 10}, NULL), ERR_INVALID);
    /* A limit past the stack is cut to it. */
    size_t n = nest(text, JSON_SCAN_DEPTH_MAX + 1, false);
    assert_int_equal(scan(text, n, &(struct json_limits){SIZE_MAX, 1000}, NULL), ERR_INVALID);
}

static void test_deep_bomb(void **state)
{
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES);
    (void)state;
    memset(text, '[', BYTES);
    assert_int_equal(scan(text, BYTES, &wide, NULL), ERR_INVALID);
    free(text);
}

static void test_nodes(void **state)
{
    struct error err = {0};
    (void)state;
    assert_int_equal(scan("[1,2,{\"a\":3}]", 13, &(struct json_limits){9, 5}, NULL), OK);
    assert_int_equal(scan("[1,2,{\"a\":3}]", 13, &(struct json_limits){9, 4}, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "more than 4 values"));
    assert_int_equal(scan("1", 1, &(struct json_limits){9, 0}, NULL), ERR_INVALID);
}

static void test_long_numbers(void **state)
{
    char text[600];
    (void)state;
    memset(text, '1', sizeof text);
    assert_int_equal(scan(text, 63, &wide, NULL), OK);
    memcpy(text, "0.", 2);
    assert_int_equal(scan(text, 63, &wide, NULL), OK);
    assert_int_equal(scan(text, 64, &wide, NULL), ERR_INVALID);
    assert_int_equal(scan(text, 513, &wide, NULL), ERR_INVALID);
}

/* Many names in one object, and one duplicate that is far away; time stays linear. */
static void test_many_names(void **state)
{
    enum { NAMES = 100000 };
    char *text = malloc(NAMES * 20);
    struct error err = {0};
    size_t n = 0;
    clock_t start = clock();
    (void)state;
    text[n++] = '{';
    for (int i = 0; i < NAMES; i++)
        n += (size_t)snprintf(text + n, 20, "\"name%d\":%d,", i, i % 10);
    text[n - 1] = '}';
    assert_int_equal(scan(text, n, &wide, NULL), OK);
    text[n - 1] = ',';
    size_t at = n + 1;
    n += (size_t)snprintf(text + n, 20, "\"name7\":0}");
    assert_int_equal(scan(text, n, &wide, &err), ERR_INVALID);
    char place[40];
    snprintf(place, sizeof place, "byte %zu: duplicate", at);
    assert_non_null(strstr(err.text, place));
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 3);
    free(text);
}

static void test_no_memory(void **state)
{
    static const char text[] = "{\"a\":{\"b\":[{\"c\":1}]}}";
    bool reached = true;
    (void)state;
    for (uint64_t nth = 1; reached; nth++) {
        mem_fault_set(nth, false);
        enum status status = json_scan(text, sizeof text - 1, &wide, NULL);
        reached = mem_fault_count() >= nth;
        mem_fault_set(0, false);
        assert_int_equal(status, reached ? ERR_MEMORY : OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_cuts),         cmocka_unit_test(test_depth),
        cmocka_unit_test(test_deep_bomb),    cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_long_numbers), cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
