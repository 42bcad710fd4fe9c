/* SHA-256: the vectors of FIPS 180-4 and that the digest does not see where the spans are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/base/sha256.h"

static void check(const void *bytes, size_t n_bytes, const char *hex)
{
    uint8_t digest[SHA256_BYTES];
    char text[2 * SHA256_BYTES + 1];
    sha256(digest, bytes, n_bytes, NULL, 0, NULL, 0);
    for (size_t i = 0; i < SHA256_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(text, hex);
}

static void test_vectors(void **state)
{
    char *million = malloc(1000000);
    (void)state;
    memset(million, 'a', 1000000);
    check(NULL, 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check(million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

static void test_cuts(void **state)
{
    uint8_t text[150], whole[SHA256_BYTES], cut[SHA256_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 7);
    sha256(whole, text, sizeof text, NULL, 0, NULL, 0);
    for (size_t i = 0; i <= sizeof text; i++) {
        for (size_t j = i; j <= sizeof text; j += 13) {
            sha256(cut, i ? text : NULL, i, text + i, j - i, text + j, sizeof text - j);
            assert_memory_equal(cut, whole, SHA256_BYTES);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
