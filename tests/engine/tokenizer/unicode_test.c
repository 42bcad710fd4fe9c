/* engine/tokenizer/unicode: classes of well-known characters and units of any bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/utf8.h"
#include "engine/tokenizer/unicode.h"

static void test_classes(void **state)
{
    static const struct {
        uint32_t code;
        unsigned class;
    } cases[] = {
        {'A', CHAR_LU},
        {'z', CHAR_LL},
        {0x1c5, CHAR_LT},
        {0x2b0, CHAR_LM},
        {0xaa, CHAR_LO},
        {0x301, CHAR_M},
        {'7', CHAR_N},
        {0xb2, CHAR_N},
        {0x2167, CHAR_N},
        {'!', CHAR_P},
        {'_', CHAR_P},
        {'$', CHAR_S},
        {'`', CHAR_S},
        {' ', CHAR_SPACE},
        {'\n', CHAR_SPACE},
        {0x85, CHAR_SPACE},
        {0xa0, CHAR_SPACE},
        {0x3000, CHAR_SPACE},
        {0, CHAR_OTHER},
        {0x1c, CHAR_OTHER},
        {0x7f, CHAR_OTHER},
        {0x200b, CHAR_OTHER},
        {0xfeff, CHAR_OTHER},
        {0xe000, CHAR_OTHER},
        {0x1f600, CHAR_S},
        {0x10ffff, CHAR_OTHER},
        {0x4e00, CHAR_LO | CHAR_HAN},
        {0x3005, CHAR_LM | CHAR_HAN},
        {0x3042, CHAR_LO},
        {0x10d40, CHAR_N},      /* new in Unicode 16 */
        {0x1c89, CHAR_LU},      /* new in Unicode 16 */
        {0x11de0, CHAR_N_NEWER} /* a digit since Unicode 17 */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (unicode_class(cases[i].code) != cases[i].class)
            fail_msg("U+%04X has class 0x%x, wanted 0x%x", (unsigned)cases[i].code,
                     unicode_class(cases[i].code), cases[i].class);
    }
}

/* How many code points a class has in Unicode 16. */
static void test_counts(void **state)
{
    static const unsigned wanted[] = {
        [CHAR_LU] = 1858,   [CHAR_LL] = 2258,  [CHAR_LT] = 31,     [CHAR_LM] = 404,
        [CHAR_LO] = 136477, [CHAR_M] = 2501,   [CHAR_N] = 1911,    [CHAR_P] = 855,
        [CHAR_S] = 8514,    [CHAR_SPACE] = 25, [CHAR_N_NEWER] = 13};
    unsigned counts[CHAR_CLASSES] = {0};
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++)
        counts[unicode_class(code) & CHAR_CLASS_MASK]++;
    for (size_t i = 1; i < CHAR_CLASSES; i++)
        assert_int_equal(counts[i], wanted[i]);
}

/* Every code point is one unit of its own length. */
static void test_all_code_points(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        char bytes[4];
        uint32_t unit;
        size_t n = utf8_encode(code, bytes);
        if (n == 0)
            continue;
        assert_int_equal(unicode_units(bytes, n, &unit), 1);
        assert_int_equal(unit_code(unit), code);
        assert_int_equal(unit_bytes(unit), n);
        assert_int_equal(unit_class(unit), unicode_class(code) & CHAR_CLASS_MASK);
        assert_int_equal(unit_is_han(unit), (unicode_class(code) & CHAR_HAN) != 0);
    }
}

/* Bytes that are no UTF-8 are one unit each, and all bytes are accounted for. */
static void test_bad_bytes(void **state)
{
    static const char text[] = "a\xff\xe4\xbd\xc3\xa9\xed\xa0\x80\xf4\x90\x80\x80";
    static const uint32_t wanted[] = {'a',
                                      UNIT_BAD_BYTE + 0xff,
                                      UNIT_BAD_BYTE + 0xe4,
                                      UNIT_BAD_BYTE + 0xbd,
                                      0xe9,
                                      UNIT_BAD_BYTE + 0xed,
                                      UNIT_BAD_BYTE + 0xa0,
                                      UNIT_BAD_BYTE + 0x80,
                                      UNIT_BAD_BYTE + 0xf4,
                                      UNIT_BAD_BYTE + 0x90,
                                      UNIT_BAD_BYTE + 0x80,
                                      UNIT_BAD_BYTE + 0x80};
    uint32_t units[sizeof text];
    size_t n = unicode_units(text, sizeof text - 1, units), bytes = 0;
    (void)state;
    assert_int_equal(n, sizeof wanted / sizeof wanted[0]);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(unit_code(units[i]), wanted[i]);
        if (wanted[i] >= UNIT_BAD_BYTE)
            assert_int_equal(unit_class(units[i]), CHAR_OTHER);
        bytes += unit_bytes(units[i]);
    }
    assert_int_equal(bytes, sizeof text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_all_code_points),
        cmocka_unit_test(test_bad_bytes),
    };
    return cmocka_run_group_tests_name("unicode", tests, NULL, NULL);
}
