/* Which Accept-Encoding takes gzip, and media types by suffix. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>

#include "server/static_files.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gzip)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
