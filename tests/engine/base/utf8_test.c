/* UTF-8 against the definition: every code point both ways, every sequence of up to three bytes and
 * a dense sample of four against a decoder that works by value ranges instead of byte ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/utf8.h"

/* Decodes by collecting bits and then asking whether the value needs that many bytes. */
static size_t decode_by_value(const unsigned char *bytes, size_t n_bytes, uint32_t *out)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (n_bytes == 0)
        return 0;
    if (bytes[0] < 0x80) {
        *out = bytes[0];
        return 1;
    }
    size_t ones = 0;
    while (ones < 8 && bytes[0] & 0x80u >> ones)
        ones++;
    if (ones < 2 || ones > 4 || ones > n_bytes)
        return 0;
    uint32_t value = bytes[0] & (0x7fu >> ones);
    for (size_t i = 1; i < ones; i++) {
        if (bytes[i] >> 6 != 2)
            return 0;
        value = value << 6 | (bytes[i] & 0x3f);
    }
    if (value < smallest[ones] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *out = value;
    return ones;
}

static void test_code_points(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x120000; c++) {
        char bytes[5] = "\0\0\0\0\x80";
        uint32_t back = 0, other = 0;
        size_t n = utf8_encode(c, bytes);
        bool exists = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        assert_int_equal(n, !exists ? 0 : c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
        if (!exists)
            continue;
        assert_int_equal(utf8_decode(bytes, n, &back), n);
        assert_int_equal(decode_by_value((unsigned char *)bytes, n, &other), n);
        assert_true(back == c && other == c);
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(utf8_decode(bytes, cut, &back), 0);
    }
    assert_int_equal(utf8_encode(UINT32_MAX, (char[4]){0}), 0);
}

/* One sequence through all four functions. */
static void check_bytes(const unsigned char *bytes, size_t n_bytes)
{
    uint32_t got = 1, wanted = 2;
    size_t n = utf8_decode((const char *)bytes, n_bytes, &got);
    assert_int_equal(n, decode_by_value(bytes, n_bytes, &wanted));
    assert_true(n == 0 || got == wanted);
    size_t bad = 0, reported = 99;
    while (bad < n_bytes && (n = decode_by_value(bytes + bad, n_bytes - bad, &wanted)))
        bad += n;
    assert_int_equal(utf8_is_valid((const char *)bytes, n_bytes, &reported), bad == n_bytes);
    assert_int_equal(reported, bad == n_bytes ? 99 : bad);
}

static void test_short_sequences(void **state)
{
    unsigned char bytes[4] = {0};
    (void)state;
    check_bytes(bytes, 0);
    for (uint32_t i = 0; i < 1 << 24; i++) {
        bytes[0] = (unsigned char)(i >> 16);
        bytes[1] = (unsigned char)(i >> 8);
        bytes[2] = (unsigned char)i;
        if (i % 65536 == 0)
            check_bytes(bytes, 1);
        if (i % 256 == 0)
            check_bytes(bytes, 2);
        if (i >= 0xc00000 || i % 7 == 0)  // an ASCII or continuation byte ends there anyway
            check_bytes(bytes, 3);
    }
    static const unsigned char edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90,
                                          0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    enum { EDGES = sizeof edges };
    for (unsigned lead = 0xee; lead < 0x100; lead++) {
        for (size_t i = 0; i < EDGES * EDGES * EDGES; i++) {
            bytes[0] = (unsigned char)lead;
            bytes[1] = edges[i % EDGES];
            bytes[2] = edges[i / EDGES % EDGES];
            bytes[3] = edges[i / EDGES / EDGES];
            check_bytes(bytes, 4);
        }
    }
}

/* True when some continuation makes the bytes one valid character. */
static bool can_be_completed(const unsigned char *bytes, size_t n_bytes)
{
    unsigned char whole[4];
    uint32_t ignored;
    for (size_t length = n_bytes + 1; length <= 4; length++) {
        for (unsigned fill = 0x80; fill < 0xc0; fill++) {
            memcpy(whole, bytes, n_bytes);
            memset(whole + n_bytes, (int)fill, length - n_bytes);
            if (decode_by_value(whole, length, &ignored) == length)
                return true;
        }
    }
    return false;
}

static void test_complete_prefix(void **state)
{
    static const unsigned char edges[] = {0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0,
                                          0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed,
                                          0xef, 0xf0, 0xf3, 0xf4, 0xf5};
    enum { EDGES = sizeof edges };
    (void)state;
    for (size_t i = 0; i < EDGES * EDGES * EDGES * EDGES; i++) {
        unsigned char bytes[4] = {edges[i % EDGES], edges[i / EDGES % EDGES],
                                  edges[i / EDGES / EDGES % EDGES],
                                  edges[i / EDGES / EDGES / EDGES]};
        size_t n_bytes = i % 4 + 1, wanted = n_bytes;
        for (size_t n = 1; n <= 3 && n <= n_bytes; n++) {
            if (can_be_completed(bytes + n_bytes - n, n))
                wanted = n_bytes - n;
        }
        assert_int_equal(utf8_complete_prefix((char *)bytes, n_bytes), wanted);
    }
    assert_int_equal(utf8_complete_prefix("", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code_points),
        cmocka_unit_test(test_short_sequences),
        cmocka_unit_test(test_complete_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
