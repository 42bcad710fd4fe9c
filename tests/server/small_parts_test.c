/* The small pure parts: member spans, keys, limits, option values, gzip negotiation, errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>
#include <unistd.h>

#include "server/api_error.h"
#include "server/auth.h"
#include "server/generation_request.h"
#include "server/json_members.h"
#include "server/limits.h"
#include "server/options.h"
#include "server/static_files.h"

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

static void exact_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool fits;
        int64_t value;
    } cases[] = {{"0", true, 0},
                 {"-1", true, -1},
                 {"9007199254740993", true, 9007199254740993},
                 {"9223372036854775807", true, INT64_MAX},
                 {"-9223372036854775808", true, INT64_MIN},
                 {"9223372036854775808", false, 0},
                 {"-9223372036854775809", false, 0},
                 {"1.0", false, 0},
                 {"1e3", false, 0},
                 {"-", false, 0},
                 {"", false, 0},
                 {" 1", false, 0},
                 {"99999999999999999999999999", false, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t value = 0;
        struct json_span span = {cases[i].text, strlen(cases[i].text)};
        assert_int_equal(int64_from_span(&span, &value), cases[i].fits);
        if (cases[i].fits)
            assert_true(value == cases[i].value);
    }
}

static void keys(void **state)
{
    (void)state;
    struct auth auth;
    struct error err = {OK, "", ""};
    uint8_t one[SHA256_BYTES], two[SHA256_BYTES], none[SHA256_BYTES] = {0};
    assert_int_equal(auth_init(&auth, NULL, NULL, &err), OK);
    assert_int_equal(auth_check(&auth, NULL, NULL, one), 0);
    assert_memory_equal(one, none, SHA256_BYTES);
    auth_release(&auth);
    assert_int_equal(auth_init(&auth, "k1,k2", NULL, &err), OK);
    assert_int_equal(auth_check(&auth, "Bearer k1", NULL, one), 0);
    assert_int_equal(auth_check(&auth, "bearer  k2", NULL, two), 1);
    assert_memory_not_equal(one, two, SHA256_BYTES);
    assert_int_equal(auth_check(&auth, NULL, "k2", two), 1);
    assert_int_equal(auth_check(&auth, NULL, NULL, two), AUTH_NO_KEY);
    assert_int_equal(auth_check(&auth, "Bearer ", NULL, two), AUTH_NO_KEY);
    assert_int_equal(auth_check(&auth, "Bearer k3", "k1", two), AUTH_BAD_KEY);
    assert_memory_equal(two, none, SHA256_BYTES);
    static const char *const near[] = {"Bearer k", "Bearer k1 ", "Bearer K1", "Bearer k1,k2",
                                       "Bearer k11"};
    for (size_t i = 0; i < sizeof near / sizeof near[0]; i++)
        assert_true(auth_check(&auth, near[i], NULL, two) < 0);
    auth_release(&auth);
    assert_int_equal(auth_init(&auth, "a b", NULL, &err), ERR_INVALID);
    err.status = OK;
    assert_int_equal(auth_init(&auth, ",", NULL, &err), ERR_INVALID);
    err.status = OK;
    assert_int_equal(auth_init(&auth, NULL, "/does/not/exist", &err), ERR_IO);
}

static void quotas(void **state)
{
    (void)state;
    struct key_limits limits;
    struct error err = {OK, "", ""};
    assert_int_equal(key_limits_init(&limits, 2, 2, &err), OK);
    assert_true(key_limits_enter(&limits, 0));
    assert_true(key_limits_enter(&limits, 0));
    assert_false(key_limits_enter(&limits, 0));
    assert_true(key_limits_enter(&limits, 1));
    key_limits_leave(&limits, 0);
    assert_true(key_limits_enter(&limits, 0));
    assert_false(key_limits_enter(&limits, 2));
    key_limits_release(&limits);
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } cases[] = {{"0", true, 0},           {"4096", true, 4096},    {"64K", true, 65536},
                 {"1.5G", true, 3u << 29}, {"2M", true, 2 << 20},   {"1GB", true, 1 << 30},
                 {"1k", true, 1024},       {"", false, 0},          {"-1", false, 0},
                 {"+1", false, 0},         {"0x10", false, 0},      {"1e3", false, 0},
                 {"1.5", false, 0},        {"K", false, 0},         {"1KK", false, 0},
                 {"inf", false, 0},        {"99999999T", false, 0}, {"1 ", false, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t value = 0;
        assert_int_equal(options_parse_number(cases[i].text, &value), cases[i].good);
        if (cases[i].good)
            assert_true(value == cases[i].value);
    }
}

static void option_table(void **state)
{
    (void)state;
    size_t n_rows;
    const struct option_row *table = options_table(&n_rows);
    struct buf help;
    buf_init(&help, 1 << 20);
    options_write_help(&help);
    for (size_t i = 0; i < n_rows; i++) {
        char flag[64];
        snprintf(flag, sizeof flag, "--%s", table[i].name);
        assert_non_null(strstr(help.bytes, flag));
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(table[i].name, table[j].name);
            assert_true(table[i].offset != table[j].offset);
        }
    }
    buf_release(&help);
    struct options_state state_of;
    struct error err = {OK, "", ""};
    char words[][12] = {"wicara", "--port=1", "-np", "7", "--insecure", "-c", "2K"};
    char *argv[7];
    for (size_t i = 0; i < 7; i++)
        argv[i] = words[i];
    assert_int_equal(options_read(&state_of, 7, argv, &err), OK);
    assert_true(state_of.values.port == 1 && state_of.values.parallel == 7);
    assert_true(state_of.values.insecure && state_of.values.ctx_size == 2048);
    assert_string_equal(state_of.values.host, "127.0.0.1");
    options_release(&state_of);
}

static void gzip(void **state)
{
    (void)state;
    static const char *const yes[] = {"gzip", "deflate, gzip", "GZIP;q=0.5", "br,gzip ;q=1",
                                      "gzip, *;q=0"};
    static const char *const no[] = {"",      "br",     "gzip;q=0",    "gzip; q=0.0",
                                     "gzipx", "x-gzip", "deflate;gzip"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(static_files_takes_gzip(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(static_files_takes_gzip(no[i]));
    assert_false(static_files_takes_gzip(NULL));
    assert_string_equal(static_files_type("/a.b.js"), "text/javascript; charset=utf-8");
    assert_string_equal(static_files_type("/a"), "application/octet-stream");
}

static void errors(void **state)
{
    (void)state;
    static const struct {
        enum status status;
        int http;
        bool retry;
    } cases[] = {
#define X(name, text) {name, 0, false},
        STATUS_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {cases[i].status, "", ""};
        struct api_error error = api_error_from(&err);
        assert_true(error.http_status >= 400 && error.http_status <= 503);
        assert_non_null(error.type);
        assert_true(error.message && error.message[0]);
        assert_int_equal(error.retry_after_s > 0, error.http_status == 503);
        assert_int_equal(api_error_is_retryable(&error), error.http_status == 503);
    }
    struct error err = {ERR_INVALID, "bad \"n\"", "n"};
    struct api_error error = api_error_from(&err);
    struct buf out;
    buf_init(&out, 4096);
    api_error_write(&out, &error);
    assert_string_equal(out.bytes, "{\"error\":{\"message\":\"bad \\\"n\\\"\",\"type\":"
                                   "\"invalid_request_error\",\"param\":\"n\",\"code\":null}}");
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans),  cmocka_unit_test(exact_integers), cmocka_unit_test(keys),
        cmocka_unit_test(quotas), cmocka_unit_test(numbers),        cmocka_unit_test(option_table),
        cmocka_unit_test(gzip),   cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
