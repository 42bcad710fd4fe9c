/* The capped buffer: its invariants after every step, the cap at its value and one past it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/json_scan.h"
#include "engine/base/mem.h"

static void check(const struct buf *buf)
{
    assert_true(buf->n_bytes <= buf->bytes_max);
    if (buf->bytes)
        assert_true(buf->n_bytes < buf->capacity && buf->bytes[buf->n_bytes] == '\0');
    else
        assert_int_equal(buf->n_bytes, 0);
}

static void test_append(void **state)
{
    struct buf buf;
    (void)state;
    buf_init(&buf, 1000);
    check(&buf);
    assert_true(buf_append(&buf, NULL, 0));
    check(&buf);
    assert_true(buf_append(&buf, "a\0b", 3));
    assert_true(buf_append_text(&buf, "cd"));
    assert_true(buf_append_char(&buf, 'e'));
    assert_true(buf_printf(&buf, "%d-%s", -5, "x"));
    check(&buf);
    assert_int_equal(buf.n_bytes, 10);
    assert_memory_equal(buf.bytes, "a\0bcde-5-x", 11);
    buf_truncate(&buf, 3);
    buf_truncate(&buf, 7);
    check(&buf);
    assert_memory_equal(buf.bytes, "a\0b\0", 4);
    buf_clear(&buf);
    check(&buf);
    assert_int_equal(buf.n_bytes, 0);
    buf_release(&buf);
    check(&buf);
    buf_release(&buf);
}

/* Random appends against a plain array, with growth through many capacities. */
static void test_growth(void **state)
{
    enum { BYTES = 200000 };
    char *model = malloc(BYTES);
    struct buf buf;
    uint32_t random = 1;
    size_t n = 0;
    (void)state;
    buf_init(&buf, BYTES);
    for (;;) {
        char piece[1000];
        random = random * 1664525 + 1013904223;
        size_t length = (random >> 16) % sizeof piece;
        memset(piece, (int)(random >> 24), length);
        bool fits = n + length <= BYTES;
        assert_int_equal(buf_append(&buf, piece, length), fits);
        if (!fits)
            break;
        memcpy(model + n, piece, length);
        n += length;
    }
    check(&buf);
    assert_int_equal(buf.n_bytes, n);
    assert_memory_equal(buf.bytes, model, n);
    buf_release(&buf);
    free(model);
}

static void test_cap(void **state)
{
    struct error err = {0};
    struct buf buf;
    (void)state;
    buf_init(&buf, 8);
    assert_true(buf_append_text(&buf, "12345678"));
    assert_int_equal(buf_status(&buf, "reply", &err), OK);
    assert_true(buf_append(&buf, "", 0));
    assert_false(buf_append_char(&buf, '9'));
    check(&buf);
    assert_string_equal(buf.bytes, "12345678");
    assert_false(buf_append(&buf, "", 0));
    assert_int_equal(buf_status(&buf, "reply", &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "reply"));
    assert_non_null(strstr(err.text, "8"));
    assert_null(buf_detach(&buf));
    buf_clear(&buf);
    assert_true(buf_append_char(&buf, 'x'));
    assert_false(buf_printf(&buf, "%s", "12345678"));
    assert_string_equal(buf.bytes, "x");
    buf_clear(&buf);
    assert_true(buf_printf(&buf, "%s", "12345678"));
    check(&buf);
    buf_release(&buf);
    buf_init(&buf, 0);
    assert_true(buf_append(&buf, "", 0));
    assert_false(buf_append_char(&buf, 'x'));
    buf_release(&buf);
}

/* One append that is larger than the whole cap is a limit too, not a lack of memory. */
static void test_cap_in_one_append(void **state)
{
    struct error err = {0};
    struct buf buf;
    (void)state;
    buf_init(&buf, 100);
    char large[200] = {0};
    assert_false(buf_append(&buf, large, sizeof large));
    assert_int_equal(buf_status(&buf, "reply", &err), ERR_LIMIT);
    buf_release(&buf);
}

static void test_no_memory(void **state)
{
    struct error err = {0};
    struct buf buf;
    (void)state;
    buf_init(&buf, 1 << 20);
    assert_true(buf_append_text(&buf, "kept"));
    mem_fault_set(1, false);
    char large[500] = {0};
    assert_false(buf_append(&buf, large, sizeof large));
    mem_fault_set(0, false);
    check(&buf);
    assert_string_equal(buf.bytes, "kept");
    assert_false(buf_append_char(&buf, 'x'));
    assert_int_equal(buf_status(&buf, "reply", &err), ERR_MEMORY);
    buf_release(&buf);
}

static void test_detach(void **state)
{
    struct buf buf;
    (void)state;
    buf_init(&buf, 100);
    assert_null(buf_detach(&buf));
    assert_true(buf_append_text(&buf, "given"));
    char *text = buf_detach(&buf);
    assert_string_equal(text, "given");
    check(&buf);
    assert_true(buf_append_text(&buf, "again"));
    assert_string_equal(buf.bytes, "again");
    mem_free(text);
    buf_release(&buf);
}

static void test_json(void **state)
{
    static const struct {
        const char *bytes;
        size_t n_bytes;
        const char *json;
    } cases[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\n\r\t\b\f", 5, "\"\\n\\r\\t\\u0008\\u000c\""},
        {"\0\x1f\x7f", 3, "\"\\u0000\\u001f\\u007f\""},
        {"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"a\xff"
         "b",
         3,
         "\"a\xef\xbf\xbd"
         "b\""},
        {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"x\xe2\x82", 3, "\"x\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    const struct json_limits limits = {4, 4};
    struct buf buf;
    (void)state;
    buf_init(&buf, 1000);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&buf);
        assert_true(buf_append_json(&buf, cases[i].bytes, cases[i].n_bytes));
        assert_string_equal(buf.bytes, cases[i].json);
    }
    for (unsigned c = 1; c < 256; c++) {
        char byte = (char)c;
        buf_clear(&buf);
        assert_true(buf_append_json(&buf, &byte, 1));
        assert_int_equal(json_scan(buf.bytes, buf.n_bytes, &limits, NULL), OK);
    }
    buf_release(&buf);
    for (size_t cap = 0; cap < 12; cap++) {
        buf_init(&buf, cap);
        assert_int_equal(buf_append_json(&buf, "a\nb\x01", 4), cap >= 12);
        check(&buf);
        assert_int_equal(buf.n_bytes, 0);
        buf_release(&buf);
    }
    buf_init(&buf, 12);
    assert_true(buf_append_json(&buf, "a\nb\x01", 4));
    buf_release(&buf);
}

static void test_number(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 64);
    assert_true(buf_append_number(&buf, 0));
    buf_append_char(&buf, ' ');
    assert_true(buf_append_number(&buf, 1090));
    buf_append_char(&buf, ' ');
    assert_true(buf_append_number(&buf, UINT64_MAX));
    assert_string_equal(buf.bytes, "0 1090 18446744073709551615");
    buf_release(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),    cmocka_unit_test(test_growth),
        cmocka_unit_test(test_cap),       cmocka_unit_test(test_cap_in_one_append),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_detach),
        cmocka_unit_test(test_json),      cmocka_unit_test(test_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
