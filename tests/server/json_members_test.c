/* Members as spans of the text: blanks, escapes, nesting, brackets inside of strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>

#include "server/json_members.h"

static void spans(void **state)
{
    (void)state;
    static const char json[] =
        " { \"a\" : 1.0 ,\"b\\\"\":[1,{\"x\":\"]}\\\"\"}],\"\":\"s,}\",\"c\":{} , \"d\":null}";
    static const char *const wanted[][2] = {{"a", "1.0"},
                                            {"b\\\"", "[1,{\"x\":\"]}\\\"\"}]"},
                                            {"", "\"s,}\""},
                                            {"c", "{}"},
                                            {"d", "null"}};
    struct json_cursor cursor;
    struct json_span name, value;
    json_cursor_init(&cursor, json, sizeof json - 1);
    for (size_t i = 0; i < 5; i++) {
        assert_true(json_cursor_next(&cursor, &name, &value));
        assert_int_equal(name.n_bytes, strlen(wanted[i][0]));
        assert_memory_equal(name.text, wanted[i][0], name.n_bytes);
        assert_int_equal(value.n_bytes, strlen(wanted[i][1]));
        assert_memory_equal(value.text, wanted[i][1], value.n_bytes);
    }
    assert_false(json_cursor_next(&cursor, &name, &value));
    static const char array[] = "[ -1e5 ,\"a\" , [ ] ]";
    json_cursor_init(&cursor, array, sizeof array - 1);
    size_t n = 0, bytes = 0;
    while (json_cursor_next(&cursor, NULL, &value)) {
        n++;
        bytes += value.n_bytes;
    }
    assert_true(n == 3 && bytes == 4 + 3 + 3);
    json_cursor_init(&cursor, "5", 1);
    assert_false(json_cursor_next(&cursor, NULL, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(spans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
