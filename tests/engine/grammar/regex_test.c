/* Regular expressions: which texts they accept, and what is refused by name. */
#include "tests/engine/grammar/grammar_help.h"

static void accepted_texts(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *yes[4], *no[5];
    } cases[] = {
        {"a", {"a"}, {"", "aa", "b"}},
        {"ab|cd", {"ab", "cd"}, {"abcd", "ac", "a"}},
        {"a*", {"", "a", "aaaa"}, {"b", "ab"}},
        {"a+b?", {"a", "ab", "aaab"}, {"", "b", "abb"}},
        {"(ab){2,3}", {"abab", "ababab"}, {"ab", "abababab", "aba"}},
        {"a{3}", {"aaa"}, {"aa", "aaaa"}},
        {"a{2,}", {"aa", "aaaaaaaa"}, {"a"}},
        {"a{0,2}", {"", "a", "aa"}, {"aaa"}},
        {"[a-cx]", {"a", "b", "x"}, {"d", "-", ""}},
        {"[^a-c]", {"d", "\n", "é", "€"}, {"a", "", "dd"}},
        {"[]a]+", {"]a", "a"}, {"[", ""}},
        {"[a\\-z]", {"a", "-", "z"}, {"b"}},
        {"\\d\\D\\w\\W\\s\\S", {"1a_- x", "0-a!\tb"}, {"aa_- x", "11_- x"}},
        {".", {"a", "é", "\t"}, {"\n", "", "ab"}},
        {"^a$", {"a"}, {"aa", ""}},
        {"(^a|b)c$", {"ac", "bc"}, {"abc"}},
        {"a^b", {NULL}, {"ab", "a^b", ""}},
        {"\\x41\\u0042\\u{43}\\u00e9", {"ABCé"}, {"abc"}},
        {"\\ud83d\\ude00", {"😀"}, {"x"}},
        {"a{,2}b{x}", {NULL}, {"ab"}},
        {"a{b", {"a{b"}, {"ab"}},
        {"(?:a)(?<n>b)(?P<m>c)", {"abc"}, {"ab"}},
        {"a*?b+?", {"aab", "b"}, {"a"}},
        {"\\.\\*\\\\\\/", {".*\\/"}, {"a"}},
        {"\\p{Lu}\\P{L}", {"A1", "É-"}, {"a1", "AA"}},
        {"(a|b)*abb", {"abb", "aabb", "babaabb"}, {"ab", "abba"}},
        {"(a{0,20}){0,20}", {"", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, {"b"}},
        {".*a.{6}", {"xxaxxxxxx", "aaaaaaaaa"}, {"axxxxx", "bbbbbbbbb"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        struct grammar *g = help_compile(GRAMMAR_REGEX, cases[i].pattern, &err);
        if (g == NULL && cases[i].yes[0] == NULL)
            continue;  // nothing matches, or refused
        if (g == NULL)
            fail_msg("%s: %s", cases[i].pattern, err.text);
        for (size_t k = 0; k < 4 && cases[i].yes[k] != NULL; k++)
            if (!grammar_accepts(g, cases[i].yes[k]))
                fail_msg("%s does not accept '%s'", cases[i].pattern, cases[i].yes[k]);
        for (size_t k = 0; k < 5 && cases[i].no[k] != NULL; k++)
            if (grammar_accepts(g, cases[i].no[k]))
                fail_msg("%s accepts '%s'", cases[i].pattern, cases[i].no[k]);
        grammar_unref(g);
    }
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        enum status status;
        const char *text;
    } cases[] = {
        {"(a", ERR_INVALID, "( without )"},
        {"a)", ERR_INVALID, ") without ("},
        {"[a", ERR_INVALID, "[ without ]"},
        {"*a", ERR_INVALID, "nothing before it"},
        {"a**", ERR_INVALID, "quantifier of a quantifier"},
        {"a{2}{3}", ERR_INVALID, "quantifier of a quantifier"},
        {"a{3,2}", ERR_INVALID, "end comes before"},
        {"[b-a]", ERR_INVALID, "end comes before"},
        {"a\\", ERR_INVALID, "nothing behind"},
        {"\\u12", ERR_INVALID, "\\u escape"},
        {"(?=a)b", ERR_UNSUPPORTED, "lookaround"},
        {"(?<!a)b", ERR_UNSUPPORTED, "lookaround"},
        {"(a)\\1", ERR_UNSUPPORTED, "back-reference"},
        {"\\bword", ERR_UNSUPPORTED, "word boundary"},
        {"(?i)a", ERR_UNSUPPORTED, "flags"},
        {"(?>a)", ERR_UNSUPPORTED, "atomic"},
        {"a++", ERR_UNSUPPORTED, "possessive"},
        {"\\p{Greek}", ERR_UNSUPPORTED, "property"},
        {"\\q", ERR_UNSUPPORTED, "escape"},
        {"a{,3}", ERR_UNSUPPORTED, "{0,n}"},
        {"a{1000001}", ERR_LIMIT, "1000000"},
        {"a^b", ERR_INVALID, "nothing can satisfy"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        struct grammar *g = help_compile(GRAMMAR_REGEX, cases[i].pattern, &err);
        if (g != NULL || err.status != cases[i].status || strstr(err.text, cases[i].text) == NULL)
            fail_msg("%s: %s %s", cases[i].pattern, status_name(err.status), err.text);
    }
}

static void limits(void **state)
{
    (void)state;
    struct error err;
    struct buf pattern;
    buf_init(&pattern, 1 << 20);
    for (int depth = 64; depth <= 65; depth++) {
        buf_clear(&pattern);
        for (int i = 0; i < depth; i++)
            buf_append_char(&pattern, '(');
        buf_append_char(&pattern, 'a');
        for (int i = 0; i < depth; i++)
            buf_append_char(&pattern, ')');
        struct grammar *g = help_compile(GRAMMAR_REGEX, pattern.bytes, &err);
        assert_int_equal(err.status, depth == 64 ? OK : ERR_LIMIT);
        grammar_unref(g);
    }
    for (int n = 16384; n <= 16385; n++) {
        buf_clear(&pattern);
        for (int i = 0; i < n; i++)
            buf_append_char(&pattern, 'a');
        struct grammar *g = help_compile(GRAMMAR_REGEX, pattern.bytes, &err);
        assert_int_equal(err.status, n == 16384 ? OK : ERR_LIMIT);
        grammar_unref(g);
    }
    buf_release(&pattern);
    // A counter, not a million states.
    struct grammar *g = help_compile(GRAMMAR_REGEX, "[ab]{1000000}", &err);
    assert_non_null(g);
    assert_true(grammar_bytes(g) < 8 << 20);
    grammar_unref(g);
}

static void draws(void **state)
{
    (void)state;
    static const char *const patterns[] = {"[a-z]+@[a-z]{2,5}\\.(com|org)", "(ab|c)*d",
                                           "\\d{4}-\\d\\d", ".{0,20}x", "(a|aa|aaa){3,9}"};
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        struct error err;
        struct grammar *g = help_compile(GRAMMAR_REGEX, patterns[i], &err);
        assert_non_null(g);
        for (size_t extra = 0; extra < 12; extra++) {
            draw_text(g, extra, extra, &text);
            assert_true(grammar_accepts(g, text.bytes));
        }
        grammar_unref(g);
    }
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_texts),
        cmocka_unit_test(refused),
        cmocka_unit_test(limits),
        cmocka_unit_test(draws),
    };
    return cmocka_run_group_tests(tests, help_setup, help_teardown);
}
