/* The parameter table: every row at, inside and outside its range and type, on each endpoint. The
 * cases are made from the table, the meaning of the ranges is not: see also tests/api/test_errors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>

#include "server/params.h"

static enum status parse(enum endpoint endpoint, const char *text, struct params *out,
                         struct error *err, bool strict, char *ignored_text)
{
    struct request_body body;
    struct buf ignored;
    *err = (struct error){OK, "", ""};
    buf_init(&ignored, 2 * IGNORED_BYTES_MAX);
    enum status status = request_body_parse(&body, text, strlen(text), err);
    assert_int_equal(status, OK);
    status = params_parse(endpoint, &body, strict, out, &ignored, err);
    if (ignored_text)
        snprintf(ignored_text, IGNORED_BYTES_MAX + 1, "%s", ignored.bytes ? ignored.bytes : "");
    request_body_release(&body);
    buf_release(&ignored);
    return status;
}

static enum status try_value(enum endpoint endpoint, const struct param *param, const char *value,
                             struct error *err)
{
    char text[256];
    struct params params;
    snprintf(text, sizeof text, "{ \"%s\" : %s }", param->name, value);
    return parse(endpoint, text, &params, err, false, NULL);
}

static void each_row(void (*check)(enum endpoint endpoint, const struct param *param))
{
    size_t n_params;
    const struct param *table = params_table(&n_params);
    assert_true(n_params > 60);
    for (size_t i = 0; i < n_params; i++) {
        for (unsigned endpoint = ENDPOINT_CHAT; endpoint <= ENDPOINT_DETOKENIZE; endpoint *= 2)
            if (table[i].endpoints & endpoint)
                check((enum endpoint)endpoint, &table[i]);
    }
}

static void check_types(enum endpoint endpoint, const struct param *param)
{
    static const struct {
        unsigned type;
        const char *value;
    } values[] = {{TYPE_BOOL, "true"},
                  {TYPE_NUMBER, "1.5"},
                  {TYPE_STRING, "\"zz\""},
                  {TYPE_ARRAY, "[1]"},
                  {TYPE_OBJECT, "{\"a\":1}"}};
    struct error err;
    assert_int_equal(try_value(endpoint, param, "null", &err), OK);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        enum status status = try_value(endpoint, param, values[i].value, &err);
        bool fits = values[i].type & param->types;
        if (!fits) {
            assert_int_equal(status, ERR_INVALID);
            assert_string_equal(err.param, param->name);
            assert_non_null(strstr(err.text, "must be"));
        } else if (param->kind == PARAM_IGNORED) {
            assert_int_equal(status, OK);
        } else if (param->kind == PARAM_REFUSED && values[i].type != TYPE_BOOL) {
            assert_int_equal(status, ERR_UNSUPPORTED);
            assert_string_equal(err.param, param->name);
        }
    }
}

static void types(void **state)
{
    (void)state;
    each_row(check_types);
}

static void check_range(enum endpoint endpoint, const struct param *param)
{
    if (param->min > param->max)
        return;
    char value[64];
    struct error err;
    double step = param->types == TYPE_INT ? 1 : 0.001;
    const struct {
        double value;
        bool inside;
    } cases[] = {{param->min, !param->min_excluded}, {param->max, true}, {param->min - step, false},
                 {param->max + step, false},         {-1e300, false},    {1e300, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(value, sizeof value, "%.17g", cases[i].value);
        enum status status = try_value(endpoint, param, value, &err);
        assert_int_equal(status, cases[i].inside ? OK : ERR_INVALID);
        if (status != OK)
            assert_string_equal(err.param, param->name);
    }
}

static void ranges(void **state)
{
    (void)state;
    each_row(check_range);
}

static void check_neutral(enum endpoint endpoint, const struct param *param)
{
    assert_non_null(param->note);
    if (param->kind == PARAM_HONOURED)
        return;
    char text[256];
    struct error err;
    for (const char *at = param->neutral; at;) {
        size_t n = strcspn(at, "|");
        snprintf(text, sizeof text, "%.*s", (int)n, at);
        char body[512];
        struct params params;
        snprintf(body, sizeof body, "{\"%s\":%s}", param->name, text);
        assert_int_equal(parse(endpoint, body, &params, &err, true, NULL), OK);  // strict too
        at = at[n] ? at + n + 1 : NULL;
    }
}

static void neutral_values(void **state)
{
    (void)state;
    struct params params;
    struct error err;
    each_row(check_neutral);
    assert_int_equal(
        parse(ENDPOINT_CHAT, "{\"modalities\": [ \"text\"\n ] }", &params, &err, false, NULL), OK);
    static const char *const different[] = {"{\"verbosity\":\" medium\"}", "{\"best_of\":1.5}",
                                            "{\"modalities\":[\"text\",\"text\"]}",
                                            "{\"stop_regex\":\"a\"}"};
    for (size_t i = 0; i < sizeof different / sizeof different[0]; i++)
        assert_int_not_equal(parse(ENDPOINT_CHAT, different[i], &params, &err, false, NULL), OK);
}

static void defaults(void **state)
{
    (void)state;
    struct params params;
    struct error err;
    assert_int_equal(parse(ENDPOINT_CHAT, "{}", &params, &err, false, NULL), OK);
    assert_true(params.temperature == 0.8 && params.top_p == 1 && params.min_p == 0.05);
    assert_true(params.repetition_penalty == 1 && params.n == 1 && params.top_k == 0);
    assert_true(!params.stream && !params.logprobs && params.top_logprobs == -1);
    assert_int_equal(parse(ENDPOINT_COMPLETIONS, "{}", &params, &err, false, NULL), OK);
    assert_true(params.legacy_logprobs == -1 && params.max_tokens == 16);
    assert_int_equal(parse(ENDPOINT_CHAT,
                           "{\"temperature\":0.25,\"n\":2.0,\"stream\":true,\"seed\":7}", &params,
                           &err, false, NULL),
                     OK);
    assert_true(params.temperature == 0.25 && params.n == 2 && params.stream);
    assert_memory_equal(params.seed.span.text, "7", params.seed.span.n_bytes);
}

static void ignored(void **state)
{
    (void)state;
    struct params params;
    struct error err;
    char names[IGNORED_BYTES_MAX + 1];
    assert_int_equal(
        parse(ENDPOINT_CHAT,
              "{\"user\":\"u\",\"temperature\":1,\"new\":[],\"x\\r\\ny\":1,\"z\":null}", &params,
              &err, false, names),
        OK);
    assert_string_equal(names, "user, new");
    assert_int_equal(parse(ENDPOINT_CHAT, "{\"new\":1}", &params, &err, true, NULL),
                     ERR_UNSUPPORTED);
    assert_string_equal(err.param, "new");
    assert_int_equal(parse(ENDPOINT_CHAT, "{\"temperature\":1}", &params, &err, true, NULL), OK);
}

static void bodies(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "", "[]", "null", "{", "{\"a\":1,\"a\":1}", "{}x", "{\"a\":\"\\u0000\"}", "{\"a\":01}"};
    struct request_body body;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct error err = {OK, "", ""};
        assert_int_equal(request_body_parse(&body, wrong[i], strlen(wrong[i]), &err), ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),    cmocka_unit_test(ranges),  cmocka_unit_test(neutral_values),
        cmocka_unit_test(defaults), cmocka_unit_test(ignored), cmocka_unit_test(bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
