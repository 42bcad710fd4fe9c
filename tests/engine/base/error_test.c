/* Status names, and texts that keep the first failure, are cleaned and never overflow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/base/utf8.h"

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(OK, 0);
    assert_string_equal(status_name(OK), "OK");
    assert_string_equal(status_name(ERR_FORMAT), "ERR_FORMAT");
    assert_string_equal(status_text(ERR_FORMAT), "malformed file");
    assert_string_equal(status_name(ERR_INTERNAL), "ERR_INTERNAL");
}

static void test_first_failure_wins(void **state)
{
    struct error err = {0};
    (void)state;
    assert_int_equal(error_set(&err, ERR_LIMIT, "%d is over %s", 7, "six"), ERR_LIMIT);
    assert_int_equal(error_set(&err, ERR_FORMAT, "later"), ERR_FORMAT);
    assert_int_equal(error_set_param(&err, ERR_INVALID, "n", "later"), ERR_INVALID);
    assert_int_equal(err.status, ERR_LIMIT);
    assert_string_equal(err.text, "7 is over six");
    assert_string_equal(err.param, "");
    assert_int_equal(error_set(NULL, ERR_IO, "nobody asks"), ERR_IO);
    error_prefix(NULL, "nobody");
}

static void test_param(void **state)
{
    struct error err = {0};
    char long_param[200];
    (void)state;
    assert_int_equal(error_set_param(&err, ERR_INVALID, "messages[2].role", "is %s", "odd"),
                     ERR_INVALID);
    assert_string_equal(err.param, "messages[2].role");
    assert_string_equal(err.text, "is odd");
    memset(long_param, 'p', sizeof long_param - 1);
    long_param[sizeof long_param - 1] = '\0';
    err = (struct error){0};
    error_set_param(&err, ERR_INVALID, long_param, "x");
    assert_int_equal(strlen(err.param), ERROR_PARAM_BYTES - 1);
}

static void test_prefix(void **state)
{
    struct error err = {0};
    (void)state;
    error_prefix(&err, "not recorded");
    assert_string_equal(err.text, "");
    error_set(&err, ERR_FORMAT, "bad magic");
    error_prefix(&err, "file %s", "a.gguf");
    error_prefix(&err, "model %d", 1);
    assert_string_equal(err.text, "model 1: file a.gguf: bad magic");
    assert_int_equal(err.status, ERR_FORMAT);
}

/* A prefix that fills the whole text must not push out what went wrong. */
static void test_long_prefix(void **state)
{
    char path[300];
    (void)state;
    for (size_t n_path = 0; n_path < sizeof path; n_path++) {
        for (size_t n_text = 1; n_text < ERROR_TEXT_BYTES; n_text += 17) {
            struct error err = {0};
            char text[ERROR_TEXT_BYTES] = {0};
            memset(path, 'p', n_path);
            path[n_path] = '\0';
            memset(text, 't', n_text);
            error_set(&err, ERR_FORMAT, "%s", text);
            error_prefix(&err, "%s", path);
            const char *rest = strstr(err.text, ": t");
            assert_non_null(rest);
            size_t n_whole = n_path + 2 + n_text;
            assert_int_equal(strlen(err.text),
                             n_whole < ERROR_TEXT_BYTES ? n_whole : ERROR_TEXT_BYTES - 1);
        }
    }
}

/* What a hostile name can do to a text: nothing beyond its length. */
static void test_cleaning(void **state)
{
    struct error err = {0};
    char name[600];
    (void)state;
    error_set(&err, ERR_FORMAT,
              "key a\nb\x1b[31mc\x7f"
              "d\te");
    assert_string_equal(err.text, "key a?b?[31mc?d?e");
    err = (struct error){0};
    error_set(&err, ERR_FORMAT, "role '%.3s' and \xff\xfe\x80.", "ab\xe2\x82\xac");
    assert_string_equal(err.text, "role 'ab?' and ?.");
    static const char *const characters[] = {"\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(characters[i]);
        for (size_t shift = 0; shift < 5; shift++) {
            memset(name, 'x', shift);
            size_t n = shift;
            while (n + length < sizeof name) {
                memcpy(name + n, characters[i], length);
                n += length;
            }
            name[n] = '\0';
            err = (struct error){0};
            error_set(&err, ERR_FORMAT, "%s", name);
            size_t kept = strlen(err.text);
            assert_true(kept > ERROR_TEXT_BYTES - 5 && kept < ERROR_TEXT_BYTES);
            assert_true(utf8_is_valid(err.text, kept, NULL));
            error_prefix(&err, "file");
            assert_true(utf8_is_valid(err.text, strlen(err.text), NULL));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),       cmocka_unit_test(test_first_failure_wins),
        cmocka_unit_test(test_param),       cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_long_prefix), cmocka_unit_test(test_cleaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
