/* Known digests, however the bytes are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/digest.h"

static void test_known(void **state)
{
    static const struct {
        enum digest_kind kind;
        const char *text, *hex;
    } cases[] = {
        {DIGEST_SHA256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {DIGEST_SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        // git hash-object of an empty file and of "hello\n"
        {DIGEST_GIT_SHA1, "", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"},
        {DIGEST_GIT_SHA1, "hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char hex[DIGEST_HEX_BYTES];
        size_t n = strlen(cases[i].text);
        struct digest *digest = digest_create(cases[i].kind, n);
        assert_non_null(digest);
        digest_add(digest, "junk", 4);
        digest_restart(digest);
        for (int round = 0; round < 2; round++) {  // digest_hex() starts anew
            for (size_t at = 0; at < n; at++)
                digest_add(digest, cases[i].text + at, 1);
            digest_hex(digest, hex);
            assert_string_equal(hex, cases[i].hex);
        }
        digest_free(digest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
