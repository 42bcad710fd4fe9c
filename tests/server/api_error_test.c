/* Every status of ours has an HTTP status, a type and retry advice that fit together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>

#include "server/api_error.h"

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
