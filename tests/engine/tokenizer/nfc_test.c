/* Normalisation: forms as the `tokenizers` library gives them, bytes that are not UTF-8,
 * provenance, long runs of marks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/tokenizer/nfc.h"

static void forms_are_the_library_s(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\x65\xcc\x81", "\xc3\xa9"},
        {"\x65\xcc\x93\xcc\x81", "\x65\xcc\x93\xcc\x81"},
        {"\x61\xcc\xa3\xcc\x82", "\xe1\xba\xad"},
        {"\x61\xcc\x82\xcc\xa3", "\xe1\xba\xad"},
        {"\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"},
        {"\xea\xb0\x80\xe1\x86\xa8", "\xea\xb0\x81"},
        {"\xe2\x84\xab", "\xc3\x85"},
        {"\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc"},
        {"\xe1\xba\x9b\xcc\xa3", "\xe1\xba\x9b\xcc\xa3"},
        {"\xcd\x84", "\xcc\x88\xcc\x81"},
        {"\x3e\xcc\xb8", "\xe2\x89\xaf"},
        {"\xe0\xa7\x87\xe0\xa6\xbe", "\xe0\xa7\x8b"},
        {"\xf0\x9d\x85\x9e", "\xf0\x9d\x85\x97\xf0\x9d\x85\xa5"},
        {"\x61\x62\x63", "\x61\x62\x63"},
        {"\xe4\xbd\xa0\xe5\xa5\xbd", "\xe4\xbd\xa0\xe5\xa5\xbd"},
        {"\x61\xcc\x81\xcc\x81", "\xc3\xa1\xcc\x81"},
        {"\xcc\x81\x61", "\xcc\x81\x61"},
        {"\xe1\x84\x80\xcc\x81\xe1\x85\xa1", "\xe1\x84\x80\xcc\x81\xe1\x85\xa1"},
        {"\xff\xcc\x81", "\xff\xcc\x81"},
        {"e\xcc", "e\xcc"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct nfc_text out;
        struct prompt_text in = {.bytes = cases[i][0], .n_bytes = strlen(cases[i][0])};
        assert_int_equal(nfc_normalize(&out, &in, 0, in.n_bytes, NULL), OK);
        if (out.text.n_bytes != strlen(cases[i][1]) ||
            memcmp(out.text.bytes, cases[i][1], out.text.n_bytes))
            print_message("case %zu\n", i);
        assert_int_equal(out.text.n_bytes, strlen(cases[i][1]));
        assert_memory_equal(out.text.bytes, cases[i][1], out.text.n_bytes);
        assert_int_equal(out.text.n_untrusted, 0);
        nfc_release(&out);
    }
}

/* "x" trusted, "e" trusted with an untrusted accent, "y" untrusted, "z" trusted. */
static void provenance_follows(void **state)
{
    (void)state;
    struct nfc_text out;
    const struct text_span untrusted[] = {{2, 5}};
    struct prompt_text in = {"xe\xcc\x81yz", 6, untrusted, 1};
    assert_int_equal(nfc_normalize(&out, &in, 0, 6, NULL), OK);
    assert_int_equal(out.text.n_bytes, 5);
    assert_int_equal(out.text.n_untrusted, 1);
    assert_int_equal(out.text.untrusted[0].first, 1);
    assert_int_equal(out.text.untrusted[0].last, 4);
    nfc_release(&out);
}

static void a_million_marks_take_no_time(void **state)
{
    (void)state;
    enum { MARKS = 1000000 };
    char *bytes = malloc(2 * MARKS + 1);
    bytes[0] = 'a';
    for (size_t i = 0; i < MARKS; i++)
        memcpy(bytes + 1 + 2 * i, i % 2 ? "\xcc\x81" : "\xcc\xa3", 2);
    struct nfc_text out;
    struct prompt_text in = {.bytes = bytes, .n_bytes = 2 * MARKS + 1};
    int64_t start = clock_ns();
    assert_int_equal(nfc_normalize(&out, &in, 0, in.n_bytes, NULL), OK);
    assert_true(clock_ns() - start < INT64_C(20000000000));
    assert_memory_equal(out.text.bytes, "\xe1\xba\xa1", 3);
    nfc_release(&out);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_the_library_s),
        cmocka_unit_test(provenance_follows),
        cmocka_unit_test(a_million_marks_take_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
