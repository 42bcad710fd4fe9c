/* The sorted index over named records: every name is found, no other, and a repeated one is seen
 * wherever it stands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/formats/name_index.h"

enum { RECORDS = 500 };

struct record {
    const char *name;
    int payload[3];
};

static char names[RECORDS][16];
static struct record records[RECORDS];

/* Names in an order that is neither ascending nor descending. */
static void fill(void)
{
    for (size_t i = 0; i < RECORDS; i++) {
        snprintf(names[i], sizeof names[i], "n%zu", i * 7919 % RECORDS);
        records[i] = (struct record){.name = names[i]};
    }
}

static void test_finds_each(void **state)
{
    struct name_index index;
    (void)state;
    fill();
    for (size_t n = 0; n <= RECORDS; n = n ? n * 5 / 2 : 1) {
        assert_true(name_index_init(&index, records, sizeof *records, n));
        for (size_t i = 0; i < RECORDS; i++) {
            ptrdiff_t wanted = i < n ? (ptrdiff_t)i : NAME_INDEX_NONE;
            assert_int_equal(name_index_find(&index, names[i]), wanted);
        }
        assert_int_equal(name_index_find(&index, ""), NAME_INDEX_NONE);
        assert_int_equal(name_index_find(&index, "n"), NAME_INDEX_NONE);
        assert_int_equal(name_index_find(&index, "zzz"), NAME_INDEX_NONE);
        assert_int_equal(name_index_duplicate(&index), NAME_INDEX_NONE);
        name_index_release(&index);
    }
}

static void test_duplicate(void **state)
{
    struct name_index index;
    (void)state;
    for (size_t i = 1; i < RECORDS; i += 7) {
        fill();
        records[i].name = names[i / 2];
        assert_true(name_index_init(&index, records, sizeof *records, RECORDS));
        assert_int_equal(name_index_duplicate(&index), i);
        name_index_release(&index);
    }
}

static void test_no_memory(void **state)
{
    struct name_index index;
    (void)state;
    fill();
    mem_fault_set(1, false);
    assert_false(name_index_init(&index, records, sizeof *records, RECORDS));
    mem_fault_set(0, false);
    name_index_release(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_each),
        cmocka_unit_test(test_duplicate),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
