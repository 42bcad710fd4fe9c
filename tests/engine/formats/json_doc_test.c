/* The tape of a JSON text: structure, look-ups, values, limits, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/formats/json_doc.h"

static enum status parse(struct json_doc *doc, const char *text, struct error *err)
{
    return json_doc_parse(doc, text, strlen(text), 1000, err);
}

static void walks_in_order(void **state)
{
    (void)state;
    struct json_doc doc;
    const char *text = " {\"a\": [1, [2, 3], {}, []], \"b\\u0062\": \"x\\n\\u00e9\\ud83d\\ude00\", "
                       "\"c\":{\"d\":null}, \"t\":true,\"f\":false} ";
    assert_int_equal(parse(&doc, text, NULL), OK);
    const struct json_node *root = doc.nodes;
    assert_int_equal(json_count(root), 10);
    const struct json_node *a = json_find(&doc, root, "a");
    assert_int_equal(json_count(a), 4);
    const struct json_node *inner = json_next(a, json_first(a));
    assert_int_equal(inner->kind, JSON_ARRAY);
    assert_int_equal(json_count(inner), 2);
    uint64_t value = 0;
    assert_true(json_u64(&doc, json_first(inner), &value));
    assert_int_equal(value, 2);
    assert_null(json_first(json_next(a, inner)));
    char out[64];
    const struct json_node *b = json_find(&doc, root, "bb");
    assert_int_equal(json_string(&doc, b, out), 8);
    assert_memory_equal(out, "x\n\xc3\xa9\xf0\x9f\x98\x80", 8);
    assert_true(json_equals(&doc, b, "x\n\xc3\xa9\xf0\x9f\x98\x80"));
    assert_false(json_equals(&doc, b, "x\n\xc3\xa9"));
    const struct json_node *c = json_find(&doc, root, "c");
    assert_true(json_is(json_find(&doc, c, "d"), JSON_NULL));
    assert_null(json_find(&doc, c, "a"));
    assert_null(json_find(&doc, NULL, "a"));
    assert_true(json_is(json_find(&doc, root, "t"), JSON_TRUE));
    assert_true(json_is(json_find(&doc, root, "f"), JSON_FALSE));
    json_doc_release(&doc);
}

static void numbers_are_what_they_say(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool whole;
        uint64_t u;
        double f;
    } cases[] = {
        {"0", true, 0, 0},
        {"18446744073709551615", true, UINT64_MAX, 18446744073709551615.0},
        {"18446744073709551616", false, 0, 18446744073709551616.0},
        {"-1", false, 0, -1},
        {"1.0", false, 0, 1},
        {"1e3", false, 0, 1000},
        {"0.1", false, 0, 0.1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_doc doc;
        uint64_t u = 0;
        double f = 0;
        assert_int_equal(parse(&doc, cases[i].text, NULL), OK);
        assert_int_equal(json_u64(&doc, doc.nodes, &u), cases[i].whole);
        assert_int_equal(u, cases[i].whole ? cases[i].u : u);
        assert_true(json_f64(&doc, doc.nodes, &f));
        assert_true(f == cases[i].f);
        json_doc_release(&doc);
    }
}

static void refuses_what_json_scan_refuses(void **state)
{
    (void)state;
    static const char *const texts[] = {"",     "{",           "{\"a\":1,\"a\":2}", "[NaN]",
                                        "[1,]", "\"\\u0000\"", "[Infinity]",        "{}{}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_doc doc;
        struct error err = {0};
        assert_int_equal(parse(&doc, texts[i], &err), ERR_FORMAT);
        assert_non_null(strstr(err.text, "invalid JSON at byte"));
        assert_null(doc.nodes);
    }
}

static void depth_and_nodes_have_limits(void **state)
{
    (void)state;
    char text[2 * JSON_DOC_DEPTH_MAX + 8];
    for (size_t depth = JSON_DOC_DEPTH_MAX; depth <= JSON_DOC_DEPTH_MAX + 1; depth++) {
        struct json_doc doc;
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        assert_int_equal(parse(&doc, text, NULL) == OK, depth == JSON_DOC_DEPTH_MAX);
        json_doc_release(&doc);
    }
    for (size_t nodes = 3; nodes <= 4; nodes++) {
        struct json_doc doc;
        assert_int_equal(json_doc_parse(&doc, "[1,2,3]", 7, nodes, NULL) == OK, nodes == 4);
        json_doc_release(&doc);
    }
}

static void failing_memory_is_an_error(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth < 10; nth++) {
        struct json_doc doc;
        mem_fault_set(nth, false);
        enum status status = parse(&doc, "{\"a\":[1,2],\"b\":{}}", NULL);
        mem_fault_set(0, false);
        assert_true(status == OK || status == ERR_MEMORY);
        json_doc_release(&doc);
        if (status == OK)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_in_order),
        cmocka_unit_test(numbers_are_what_they_say),
        cmocka_unit_test(refuses_what_json_scan_refuses),
        cmocka_unit_test(depth_and_nodes_have_limits),
        cmocka_unit_test(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
