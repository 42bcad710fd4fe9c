/* JSON Schema: documents that a schema's grammar accepts and refuses, and what is refused of a
 * schema with its JSON pointer. Larger counts, against python-jsonschema: tests/golden/grammar. */
#include "tests/engine/grammar/grammar_help.h"

#define SCHEMA GRAMMAR_JSON_SCHEMA

struct document_case {
    const char *schema, *yes[5], *no[6];
};

static void check(const struct document_case *cases, size_t n)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < n; i++) {
        struct error err;
        struct grammar *g = help_compile(SCHEMA, cases[i].schema, &err);
        if (g == NULL)
            fail_msg("%s: %s", cases[i].schema, err.text);
        for (size_t k = 0; k < 5 && cases[i].yes[k] != NULL; k++)
            if (!grammar_accepts(g, cases[i].yes[k]))
                fail_msg("%s does not accept %s", cases[i].schema, cases[i].yes[k]);
        for (size_t k = 0; k < 6 && cases[i].no[k] != NULL; k++)
            if (grammar_accepts(g, cases[i].no[k]))
                fail_msg("%s accepts %s", cases[i].schema, cases[i].no[k]);
        static const size_t extras[] = {0, 1, 2, 3, 10, 60};
        for (size_t k = 0; k < sizeof extras / sizeof *extras; k++) {
            draw_text(g, extras[k], i, &text);
            if (!grammar_accepts(g, text.bytes))
                fail_msg("%s does not accept its own %s", cases[i].schema, text.bytes);
        }
        grammar_unref(g);
    }
    buf_release(&text);
}

#define CHECK(cases) check(cases, sizeof(cases) / sizeof *(cases))

static void strings(void **state)
{
    (void)state;
    static const struct document_case cases[] = {
        {"{\"type\":\"string\"}",
         {"\"\"", "\"é€\"", "\"\\u00e9\\n\\/\"", "\"\\ud83d\\ude00\""},
         {"\"", "\"\\ud83d\"", "\"\\u0000\"", "\"\n\"", "\"\x80\"", "1"}},
        {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
         {"\"ab\"", "\"éé€\"", "\"\\ud83d\\ude00a\""},
         {"\"a\"", "\"abcd\"", "\"\\ud83d\\ude00\""}},
        {"{\"type\":\"string\",\"maxLength\":0}", {"\"\""}, {"\"a\""}},
        {"{\"type\":\"string\",\"pattern\":\"b+\"}", {"\"abc\"", "\"b\""}, {"\"ac\"", "\"\""}},
        {"{\"type\":\"string\",\"pattern\":\"^\\\"\\\\\\\\\\n$\"}", {"\"\\\"\\\\\\n\""}, {"\"a\""}},
        {"{\"type\":\"string\",\"pattern\":\"^[a-z]+$\",\"minLength\":2,\"maxLength\":3}",
         {"\"ab\"", "\"abc\""},
         {"\"a\"", "\"abcd\"", "\"AB\""}},
        {"{\"allOf\":[{\"type\":\"string\",\"pattern\":\"a\"},{\"pattern\":\"b\"}]}",
         {"\"ab\"", "\"xbya\""},
         {"\"a\"", "\"b\"", "1"}},
        {"{\"type\":\"string\",\"format\":\"date\"}",
         {"\"2024-02-29\"", "\"1999-12-31\""},
         {"\"2023-02-29\"", "\"2024-13-01\"", "\"2024-04-31\""}},
        {"{\"type\":\"string\",\"format\":\"ipv4\"}",
         {"\"1.2.3.255\""},
         {"\"1.2.3.256\"", "\"01.2.3.4\"", "\"1.2.3\""}},
        {"{\"type\":\"string\",\"format\":\"uuid\"}",
         {"\"123e4567-e89b-12d3-a456-426614174000\""},
         {"\"123e4567\""}},
        {"{\"type\":\"string\",\"format\":\"int32\"}", {"\"anything\""}, {NULL}},
    };
    CHECK(cases);
}

static void numbers(void **state)
{
    (void)state;
    static const struct document_case cases[] = {
        {"{\"type\":\"integer\"}", {"0", "-1", "123"}, {"01", "1.0", "-", "1e3", "+1"}},
        {"{\"type\":\"number\"}", {"0", "-1.5", "1e+10", "0.25E-1"}, {"01", "1.", ".5", "1e"}},
        {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":123}",
         {"5", "9", "10", "99", "123"},
         {"4", "124", "05", "1000", "-5"}},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":-3,\"exclusiveMaximum\":2}",
         {"-2", "-1", "0", "1"},
         {"-3", "2", "-0", "-20"}},
        {"{\"type\":\"integer\",\"maximum\":-10}", {"-10", "-99", "-123"}, {"-9", "0", "10"}},
        {"{\"type\":\"number\",\"minimum\":2.5,\"maximum\":10}",
         {"2.5", "2.50", "3", "9.99", "10.0"},
         {"2.4", "2", "10.01", "11", "-3"}},
        {"{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":1}",
         {"0.1", "0.05", "0.999"},
         {"0", "0.0", "1", "1.0", "-0.5"}},
        {"{\"type\":\"number\",\"minimum\":-1.5,\"maximum\":-0.5}",
         {"-1.5", "-1", "-0.5", "-0.75"},
         {"-1.6", "-0.4", "0", "1"}},
        {"{\"type\":\"integer\",\"multipleOf\":7}", {"0", "7", "-14", "700"}, {"1", "8", "77778"}},
        {"{\"type\":\"number\",\"multipleOf\":0.25}",
         {"0.5", "1", "2.75", "-0.25"},
         {"0.3", "0.125", "1.1"}},
        {"{\"type\":\"integer\",\"multipleOf\":15,\"minimum\":20,\"maximum\":50}",
         {"30", "45"},
         {"15", "60", "40"}},
        {"{\"type\":\"integer\",\"maximum\":9223372036854775807}", {"1", "-1"}, {"1.5"}},
    };
    CHECK(cases);
}

static void arrays(void **state)
{
    (void)state;
    static const struct document_case cases[] = {
        {"{\"type\":\"array\",\"items\":{\"type\":\"boolean\"}}",
         {"[]", "[true]", "[true, false,\n  true]", "[ true ]"},
         {"[1]", "[true,]", "[,true]", "[true   ]"}},
        {"{\"type\":\"array\",\"items\":{\"const\":1},\"minItems\":2,\"maxItems\":3}",
         {"[1,1]", "[1,1,1]"},
         {"[1]", "[]", "[1,1,1,1]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"const\":1},{\"const\":2}],\"items\":{\"const\":3}"
         "}",
         {"[]", "[1]", "[1,2]", "[1,2,3,3]"},
         {"[2]", "[1,3]", "[1,2,2]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"const\":1}],\"items\":false,\"minItems\":1}",
         {"[1]"},
         {"[]", "[1,1]"}},
        {"{\"type\":\"array\",\"items\":[{\"const\":1}],\"additionalItems\":{\"const\":2}}",
         {"[1,2,2]"},
         {"[2]"}},
        {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1]"}},
        {"{\"type\":\"array\",\"items\":false}", {"[]"}, {"[1]"}},
        {"{\"type\":\"array\",\"uniqueItems\":true,\"maxItems\":1}", {"[1]"}, {"[1,1]"}},
        {"{\"type\":\"array\",\"minItems\":1000,\"maxItems\":100000,\"items\":{\"const\":1}}",
         {NULL},
         {"[1]"}},
    };
    CHECK(cases);
}

static void objects(void **state)
{
    (void)state;
    static const struct document_case cases[] = {
        {"{\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}},\"required\":[\"b\"],"
         "\"type\":\"object\",\"additionalProperties\":false}",
         {"{\"b\":2}", "{\"a\":1,\"b\":2}", "{ \"a\": 1,\n \"b\": 2 }"},
         {"{}", "{\"a\":1}", "{\"b\":2,\"a\":1}", "{\"b\":2,\"c\":1}", "{\"b\":1}"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1}},"
         "\"additionalProperties\":{\"const\":2}}",
         {"{}", "{\"a\":1,\"b\":2,\"ab\":2}", "{\"\":2}"},
         {"{\"b\":1}", "{\"b\":2,\"a\":2}", "{\"b\":2,\"a\":1}"}},
        {"{\"type\":\"object\",\"patternProperties\":{\"^x\":{\"const\":1},\"y$\":{\"type\":"
         "\"integer\"}},\"additionalProperties\":false}",
         {"{\"x\":1}", "{\"ay\":5}", "{\"xy\":1}", "{\"y\":1,\"x\":1}"},
         {"{\"x\":2}", "{\"xy\":2}", "{\"a\":1}"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{},\"c\":{}},\"minProperties\":2,"
         "\"maxProperties\":2,\"additionalProperties\":false}",
         {"{\"a\":1,\"b\":2}", "{\"a\":1,\"c\":2}", "{\"b\":1,\"c\":2}"},
         {"{\"a\":1}", "{}", "{\"a\":1,\"b\":2,\"c\":3}"}},
        {"{\"type\":\"object\",\"required\":[\"z\"],\"additionalProperties\":{\"const\":0}}",
         {"{\"z\":0}", "{\"z\":0,\"y\":0}"},
         {"{}", "{\"z\":1}", "{\"y\":0}"}},
        {"{\"type\":\"object\",\"propertyNames\":{\"maxLength\":2},\"minProperties\":1}",
         {"{\"ab\":1}"},
         {"{\"abc\":1}", "{}"}},
        {"{\"type\":\"object\",\"properties\":{\"a\\\"\\n\":{\"const\":1}},"
         "\"additionalProperties\":false}",
         {"{\"a\\\"\\n\":1}"},
         {"{\"a\":1}"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":false},\"additionalProperties\":{\"const\":1}"
         "}",
         {"{}", "{\"b\":1}"},
         {"{\"a\":1}"}},
    };
    CHECK(cases);
}

static void combinations(void **state)
{
    (void)state;
    static const struct document_case cases[] = {
        {"true", {"1", "null", "[{}]", "{\"a\":[]}"}, {"", "x", "[1"}},
        {"{\"enum\":[1,\"a\\n\",null,[1,2],{\"k\":true}]}",
         {"1", "\"a\\n\"", "null", "[1,2]", "{\"k\":true}"},
         {"2", "\"a\"", "[1]"}},
        {"{\"enum\":[1,2,\"x\",30],\"type\":\"integer\",\"maximum\":10}",
         {"1", "2"},
         {"\"x\"", "30"}},
        {"{\"type\":[\"string\",\"null\"],\"maxLength\":1}", {"\"a\"", "null"}, {"\"ab\"", "1"}},
        {"{\"type\":\"boolean\",\"nullable\":true}", {"true", "null"}, {"1"}},
        {"{\"anyOf\":[{\"type\":\"integer\"},{\"const\":\"x\"}],\"maximum\":5}",
         {"5", "\"x\""},
         {"6", "\"y\""}},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"t\":{\"const\":\"a\"},\"v\":{"
         "\"const\":"
         "1}},\"required\":[\"t\"],\"additionalProperties\":false},{\"type\":\"object\","
         "\"properties\":{\"t\":{\"const\":\"b\"}},\"required\":[\"t\"],"
         "\"additionalProperties\":false}]}",
         {"{\"t\":\"a\",\"v\":1}", "{\"t\":\"b\"}"},
         {"{\"t\":\"b\",\"v\":1}", "{\"t\":\"c\"}"}},
        {"{\"oneOf\":[{\"type\":\"integer\",\"maximum\":3},{\"type\":\"integer\",\"minimum\":4}]}",
         {"3", "4"},
         {"3.5"}},
        {"{\"allOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"minimum\":1}}},{\"properties\":"
         "{"
         "\"a\":{\"type\":\"integer\",\"maximum\":2}},\"required\":[\"a\"],"
         "\"additionalProperties\":false}]}",
         {"{\"a\":1}", "{\"a\":2}"},
         {"{\"a\":0}", "{\"a\":3}", "{}"}},
        {"{\"$ref\":\"#/$defs/list\",\"$defs\":{\"list\":{\"type\":\"object\",\"properties\":{"
         "\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/list\"},{\"type\":\"null\"}]}},\"required\":["
         "\"next\"],\"additionalProperties\":false}}}",
         {"{\"next\":null}", "{\"next\":{\"next\":null}}"},
         {"{}", "{\"next\":{}}"}},
        {"{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", {"[]", "[[],[[]]]"}, {"[1]", "[[]"}},
        {"{\"$ref\":\"#here\",\"$defs\":{\"a~b\":{\"$anchor\":\"here\",\"const\":1}}}",
         {"1"},
         {"2"}},
        {"{\"$ref\":\"#/$defs/a~0b%25\",\"$defs\":{\"a~b%\":{\"const\":1}}}", {"1"}, {"2"}},
        {"{\"not\":{\"type\":[\"object\",\"array\",\"string\",\"null\",\"boolean\"]}}",
         {"1", "1.5"},
         {"\"a\"", "null"}},
    };
    CHECK(cases);
}

static void strict_closes_objects(void **state)
{
    (void)state;
    struct grammar_source source = {
        .kind = SCHEMA,
        .text = "{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1}}}",
    };
    source.n_bytes = strlen(source.text);
    for (int strict = 0; strict < 2; strict++) {
        struct grammar *g;
        source.is_strict = strict;
        assert_int_equal(grammar_compile(&g, help_vocabulary, &source, NULL), OK);
        assert_int_equal(grammar_accepts(g, "{\"a\":1,\"b\":2}"), !strict);
        grammar_unref(g);
    }
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *schema;
        enum status status;
        const char *text;
    } cases[] = {
        {"{\"type\":\"array\",\"uniqueItems\":true}", ERR_UNSUPPORTED, "'#/uniqueItems'"},
        {"{\"properties\":{\"a\":{\"type\":\"object\",\"dependentRequired\":{\"x\":[\"y\"]}}}}",
         ERR_UNSUPPORTED, "'#/properties/a/dependentRequired'"},
        {"{\"items\":[{\"if\":{\"minimum\":1},\"else\":false}]}", ERR_UNSUPPORTED,
         "'#/items/0/if'"},
        {"{\"not\":{\"const\":1}}", ERR_UNSUPPORTED, "'#/not'"},
        {"{\"not\":{\"type\":\"integer\"}}", ERR_UNSUPPORTED, "'#/not'"},
        {"{\"contains\":{\"const\":1}}", ERR_UNSUPPORTED, "'#/contains'"},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", ERR_UNSUPPORTED,
         "'#/oneOf'"},
        {"{\"$ref\":\"other.json\"}", ERR_UNSUPPORTED, "'#/$ref'"},
        {"{\"$ref\":\"#/nowhere\"}", ERR_INVALID, "'#/$ref'"},
        {"{\"type\":\"strin\"}", ERR_INVALID, "'#/type'"},
        {"{\"type\":\"string\",\"pattern\":\"(?=a)\"}", ERR_UNSUPPORTED, "'#/pattern'"},
        {"{\"type\":\"string\",\"format\":\"regex\"}", ERR_UNSUPPORTED, "'#/format'"},
        {"{\"type\":\"string\",\"minLength\":-1}", ERR_INVALID, "'#/minLength'"},
        {"{\"type\":\"string\",\"minLength\":1000001}", ERR_LIMIT, "'#/minLength'"},
        {"{\"type\":\"integer\",\"multipleOf\":0}", ERR_INVALID, "'#/multipleOf'"},
        {"{\"enum\":5}", ERR_INVALID, "'#/enum'"},
        {"{\"anyOf\":[]}", ERR_INVALID, "'#/anyOf'"},
        {"{\"anyOf\":[5]}", ERR_INVALID, "'#/anyOf/0'"},
        {"false", ERR_INVALID, "nothing can satisfy"},
        {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", ERR_INVALID, "nothing can satisfy"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}",
         ERR_INVALID, "nothing can satisfy"},
        {"{\"anyOf\":[{\"$ref\":\"#\"},{\"const\":1}]}", ERR_INVALID, "left recursive"},
        {"5", ERR_INVALID, "must be an object"},
        {"{\"a\":1", ERR_INVALID, "not JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        struct grammar *g = help_compile(SCHEMA, cases[i].schema, &err);
        if (g != NULL || err.status != cases[i].status || strstr(err.text, cases[i].text) == NULL)
            fail_msg("%s: %s %s", cases[i].schema, status_name(err.status), err.text);
    }
}

static void json_object(void **state)
{
    (void)state;
    static const char *const yes[] = {"{}", "{\"a\":1}",
                                      "{\"a\":{\"b\":[1,\"\",null]},\"c\":true}"};
    static const char *const no[] = {"[]", "1", "{a:1}", "{\"a\":01}", "{\"a\":1,}", "{}{}"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        assert_true(accepts(GRAMMAR_JSON_OBJECT, "", yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        assert_false(accepts(GRAMMAR_JSON_OBJECT, "", no[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),      cmocka_unit_test(numbers),
        cmocka_unit_test(arrays),       cmocka_unit_test(objects),
        cmocka_unit_test(combinations), cmocka_unit_test(strict_closes_objects),
        cmocka_unit_test(refused),      cmocka_unit_test(json_object),
    };
    return cmocka_run_group_tests(tests, help_setup, help_teardown);
}
