/* Log lines as they arrive at stderr: one line a call, levels, and hostile text that stays in its
 * line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"

static int saved_stderr, read_end;

static void capture(void)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    read_end = ends[0];
}

/* What was written since capture(), as text. */
static void captured(char *out, size_t room)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    size_t n = 0;
    ssize_t more;
    while (n < room - 1 && (more = read(read_end, out + n, room - 1 - n)) > 0)
        n += (size_t)more;
    out[n] = '\0';
    close(read_end);
}

static void test_line(void **state)
{
    char text[4000];
    int year, month, day, hour, minute, second, ms, end = 0;
    (void)state;
    capture();
    log_warn("slot %d is %s", 3, "late");
    captured(text, sizeof text);
    int n = sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ warn  slot 3 is late%n", &year, &month, &day,
                   &hour, &minute, &second, &ms, &end);
    assert_int_equal(n, 7);
    assert_string_equal(text + end, "\n");
}

static void test_levels(void **state)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    enum log_level level;
    char text[4000];
    (void)state;
    for (int max = 0; max < 4; max++) {
        assert_true(log_level_parse(names[max], &level));
        assert_int_equal(level, max);
        log_set_level(level);
        capture();
        log_error("line0");
        log_warn("line1");
        log_info("line2");
        log_debug("line3");
        captured(text, sizeof text);
        for (int i = 0; i < 4; i++) {
            char line[] = {'l', 'i', 'n', 'e', (char)('0' + i), '\0'};
            assert_int_equal(strstr(text, line) != NULL, i <= max);
        }
    }
    log_set_level(LOG_INFO);
    assert_false(log_level_parse("loud", &level));
    assert_false(log_level_parse("", &level));
}

static void test_hostile(void **state)
{
    char text[4000], name[3000];
    (void)state;
    capture();
    log_error("a\nb\rc\x1b[2Jd\x7f");
    captured(text, sizeof text);
    assert_non_null(strstr(text, "a?b?c?[2Jd?\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    capture();
    log_error("%s", name);
    captured(text, sizeof text);
    assert_true(strlen(text) > 900 && strlen(text) <= 1024);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
