/* Numbers with suffixes; the table: every row in --help, no two alike, each form of a flag. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>

#include "server/options.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers), cmocka_unit_test(option_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
