/* The memory account: its limit at the last byte and one past it, and that threads together never
 * pass it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "engine/base/account.h"

static void test_limit(void **state)
{
    struct account account;
    struct error err = {0};
    (void)state;
    account_init(&account, 100);
    assert_int_equal(account_reserve(&account, ACCOUNT_WEIGHTS, 60, &err), OK);
    assert_int_equal(account_reserve(&account, ACCOUNT_KV, 41, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "kv needs 41 bytes"));
    assert_non_null(strstr(err.text, "40 of 100"));
    assert_int_equal(account_reserve(&account, ACCOUNT_KV, SIZE_MAX, NULL), ERR_LIMIT);
    assert_int_equal(account_reserve(&account, ACCOUNT_KV, 40, &err), OK);
    assert_int_equal(account_reserve(&account, ACCOUNT_QUEUE, 0, NULL), OK);
    assert_int_equal(account_reserve(&account, ACCOUNT_QUEUE, 1, NULL), ERR_LIMIT);
    assert_int_equal(account.used_bytes, 100);
    assert_int_equal(account.class_bytes[ACCOUNT_WEIGHTS], 60);
    assert_int_equal(account.class_bytes[ACCOUNT_KV], 40);
    account_release(&account, ACCOUNT_WEIGHTS, 60);
    assert_int_equal(account_reserve(&account, ACCOUNT_SCRATCH, 60, NULL), OK);
    assert_int_equal(account.used_bytes, 100);
    assert_string_equal(account_class_name(ACCOUNT_SCRATCH), "scratch");
}

static void test_no_limit(void **state)
{
    struct account account;
    (void)state;
    account_init(&account, 0);
    assert_int_equal(account_reserve(&account, ACCOUNT_KV, SIZE_MAX / 2, NULL), OK);
    assert_int_equal(account_reserve(&account, ACCOUNT_KV, SIZE_MAX / 2 + 1, NULL), OK);
    assert_int_equal(account_reserve(&account, ACCOUNT_KV, 1, NULL), ERR_LIMIT);
}

struct greedy {
    struct account *account;
    size_t n_granted;
};

static void *reserve_many(void *context)
{
    struct greedy *greedy = context;
    for (int i = 0; i < 20000; i++) {
        if (account_reserve(greedy->account, ACCOUNT_QUEUE, 3, NULL) == OK)
            greedy->n_granted++;
        if (i % 5 == 4 && greedy->n_granted > 0) {
            account_release(greedy->account, ACCOUNT_QUEUE, 3);
            greedy->n_granted--;
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct account account;
    struct greedy greedy[3];
    pthread_t threads[3];
    size_t n_granted = 0;
    (void)state;
    account_init(&account, 100000);
    for (size_t i = 0; i < 3; i++) {
        greedy[i] = (struct greedy){&account, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, reserve_many, &greedy[i]), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        n_granted += greedy[i].n_granted;
    }
    assert_true(account.used_bytes <= 100000);
    assert_int_equal(account.used_bytes, 3 * n_granted);
    assert_int_equal(account.class_bytes[ACCOUNT_QUEUE], 3 * n_granted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
