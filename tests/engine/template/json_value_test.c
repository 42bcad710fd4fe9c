/* JSON to values: what is refused, what is kept (order, digits, text), where trust comes from. */
#include "tests/engine/template/render.h"

static const struct {
    const char *json, *expected;  // tojson of the value; NULL: refused
} rows[] = {
    {"{\"b\": 1, \"a\": 2, \"b\": 3}", "{\"b\": 3, \"a\": 2}"},
    {" [ 1 , -0 , 0.0 , -0.0 , 1e2 , 1E+2 , 12.50 , 1e-7 ] ",
     "[1, 0, 0.0, -0.0, 100.0, 100.0, 12.5, 1e-07]"},
    {"[9223372036854775807, 9223372036854775808, -9223372036854775808, -9223372036854775809]",
     "[9223372036854775807, 9223372036854775808, -9223372036854775808, -9223372036854775809]"},
    {"[true, false, null, {}, []]", "[true, false, null, {}, []]"},
    {"\"a\\u00e9\\ud83d\\ude00\\n\\/\\\"\"", "\"a\xc3\xa9\xf0\x9f\x98\x80\\n/\\\"\""},
    {"\"\\u007f\xc3\xa9\"", "\"\x7f\xc3\xa9\""},
    {"1e400", "Infinity"},
    {"", NULL},
    {"[1,]", NULL},
    {"[1 2]", NULL},
    {"{\"a\" 1}", NULL},
    {"{\"a\":1,}", NULL},
    {"{a:1}", NULL},
    {"{1:1}", NULL},
    {"[01]", NULL},
    {"[1.]", NULL},
    {"[.5]", NULL},
    {"[+1]", NULL},
    {"[1e]", NULL},
    {"[-]", NULL},
    {"[nul]", NULL},
    {"[NaN]", NULL},
    {"\"a", NULL},
    {"\"\\x\"", NULL},
    {"\"\\u12g4\"", NULL},
    {"\"\\u0000\"", NULL},
    {"\"\\ud800\"", NULL},
    {"\"\\udc00\"", NULL},
    {"\"\\ud800\\u0041\"", NULL},
    {"\"a\nb\"", NULL},
    {"\"\xff\"", NULL},
    {"\"\xc0\xaf\"", NULL},
    {"\"\xed\xa0\x80\"", NULL},
    {"[] x", NULL},
    {"'a'", NULL},
    {"\"\\\"", NULL},
    {"{\"a\":", NULL},
    {"[", NULL},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[512];
        snprintf(json, sizeof json, "{\"x\":%s}", rows[i].json);
        struct rendered r = render("{{ x|tojson }}", json);
        if ((r.status == OK) != (rows[i].expected != NULL))
            print_error("%s: %s\n", json, r.err.text);
        if (rows[i].expected) {
            assert_int_equal(r.status, OK);
            assert_string_equal(rendered_text(&r), rows[i].expected);
        } else {
            assert_int_equal(r.status, ERR_INVALID);
            assert_non_null(strstr(r.err.text, "at byte"));
        }
        rendered_release(&r);
    }
}

/* Every prefix of a document and every document with one byte changed: refused or read, never more
 * (sanitizers watch). */
static void test_mutations(void **state)
{
    (void)state;
    static const char document[] =
        "{\"a\":[1,-2.5e3,\"\\u00e9\\ud83d\\ude00\xc3\xa9\",true,null],\"b\":{}}";
    char copy[sizeof document];
    for (size_t i = 0; i + 1 < sizeof document; i++) {
        memcpy(copy, document, sizeof document);
        copy[i] = '\0';
        struct rendered r = render("{{ a }}", copy);
        assert_int_not_equal(r.status, OK);
        rendered_release(&r);
        for (int c = 1; c < 256; c++) {
            memcpy(copy, document, sizeof document);
            copy[i] = (char)c;
            r = render("{{ a }}{{ b }}", copy);
            assert_true(r.status == OK || r.status == ERR_INVALID);
            rendered_release(&r);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
