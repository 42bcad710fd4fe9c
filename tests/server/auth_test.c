/* API keys: which header carries one, near misses, and the tenant that comes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
// cmocka needs the four above.
#include <cmocka.h>

#include "server/auth.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
