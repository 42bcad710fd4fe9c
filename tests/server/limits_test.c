/* Quotas of requests in flight: at the limit, one more, and after one has left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>

#include "server/limits.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(quotas)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
