/* The line of a step's time over its rows: found, steady under noise, guessed while unknown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/rng.h"
#include "engine/scheduler/step_cost.h"

static void the_line_is_found(void **state)
{
    (void)state;
    struct step_cost cost = {0};
    for (int i = 0; i < 200; i++)
        step_cost_add(&cost, 1 + i % 9, 5000 + 300 * (1 + i % 9));
    struct step_line line = step_cost_line(&cost);
    assert_true(line.fixed_us > 4990 && line.fixed_us < 5010);
    assert_true(line.row_us > 299 && line.row_us < 301);
    for (int i = 0; i < 600; i++)  // the machine becomes slower: the old line is forgotten
        step_cost_add(&cost, 1 + i % 9, 10000 + 600 * (1 + i % 9));
    line = step_cost_line(&cost);
    assert_true(line.fixed_us > 9500 && line.fixed_us < 10500);
    assert_true(line.row_us > 550 && line.row_us < 650);
}

static void late_steps_do_little(void **state)
{
    (void)state;
    struct step_cost cost = {0};
    for (uint32_t i = 0; i < 300; i++) {
        double rows = 1 + i % 5;
        double us = 5000 + 300 * rows;
        step_cost_add(&cost, rows, rng_bits(1, 0, i, 0) % 40 == 0 ? 100 * us : us);
    }
    struct step_line line = step_cost_line(&cost);
    assert_true(line.fixed_us + line.row_us * 3 < 1.25 * 5900);
    assert_true(line.row_us > 0);
}

static void equal_steps_leave_the_guess(void **state)
{
    (void)state;
    struct step_cost cost = {0};
    struct step_line line = step_cost_line(&cost);
    assert_true(line.fixed_us == 0 && line.row_us == 0);
    for (int i = 0; i < 50; i++)
        step_cost_add(&cost, 1, 600);
    line = step_cost_line(&cost);
    assert_true(line.row_us > 99 && line.row_us < 101 && line.fixed_us > 499 &&
                line.fixed_us < 501);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_is_found),
        cmocka_unit_test(late_steps_do_little),
        cmocka_unit_test(equal_steps_leave_the_guess),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
