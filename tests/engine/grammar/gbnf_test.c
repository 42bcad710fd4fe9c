/* GBNF: which texts grammars accept, and what is refused; choices. */
#include "tests/engine/grammar/grammar_help.h"

static void accepted_texts(void **state)
{
    (void)state;
    static const struct {
        const char *grammar, *yes[4], *no[4];
    } cases[] = {
        {"root ::= \"a\" | \"b\"", {"a", "b"}, {"", "ab", "c"}},
        {"root ::= \"(\" root \")\" | [0-9]+", {"1", "((12))"}, {"(1", "()", "(1))"}},
        {"# a list\nroot ::= item (\",\" item)*  # of items\nitem ::= [a-c]{2} | \"x\"?\n",
         {"ab", "ab,x,cc", "", ","},
         {"a", "abc"}},
        {"root ::= (\n  \"a\"\n  | \"b\"\n)+\n", {"a", "bab"}, {"", "c"}},
        {"root ::=\n  \"a\" |\n  \"b\"", {"a", "b"}, {"ab"}},
        {"root ::= [^a\\]\\n] . \"\\x41\\u00e9\\\"\\\\\"", {"béAé\"\\"}, {"aéAé\"\\"}},
        {"root ::= x{0,2} y{,1} x{1}\nx ::= \"x\"\ny ::= \"y\"", {"x", "xxyx"}, {"xxyxx", ""}},
        {"root ::= \"\" | \"a\" root \"b\"", {"", "ab", "aabb"}, {"aab", "ba"}},
        {"root ::= expr\nexpr ::= term ([-+] term)*\nterm ::= num | \"(\" expr \")\"\nnum ::= "
         "[0-9]+",
         {"1+2", "(1-(2))+33"},
         {"1+", "()"}},
        {"root ::= object\nobject ::= \"{\" ws (string \":\" ws value (\",\" ws string \":\" ws "
         "value)*"
         ")? \"}\"\nvalue ::= object | string | \"true\"\nstring ::= \"\\\"\" [^\"\\\\]* \"\\\"\" "
         "ws\nws ::= [ \\t\\n]*",
         {"{}", "{\"a\": {\"b\":true}, \"c\":\"d\"}"},
         {"{\"a\":}", "{,}"}},
    };
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        struct grammar *g = help_compile(GRAMMAR_GBNF, cases[i].grammar, &err);
        if (g == NULL)
            fail_msg("%s: %s", cases[i].grammar, err.text);
        for (size_t k = 0; k < 4 && cases[i].yes[k] != NULL; k++)
            if (!grammar_accepts(g, cases[i].yes[k]))
                fail_msg("%s does not accept '%s'", cases[i].grammar, cases[i].yes[k]);
        for (size_t k = 0; k < 4 && cases[i].no[k] != NULL; k++)
            if (grammar_accepts(g, cases[i].no[k]))
                fail_msg("%s accepts '%s'", cases[i].grammar, cases[i].no[k]);
        for (size_t extra = grammar_tokens_min(g) == 0; extra < 30; extra += 3) {
            draw_text(g, extra, extra, &text);
            assert_true(grammar_accepts(g, text.n_bytes == 0 ? "" : text.bytes));
        }
        grammar_unref(g);
    }
    buf_release(&text);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *grammar;
        enum status status;
        const char *text;
    } cases[] = {
        {"root ::= x", ERR_INVALID, "'x' is not defined"},
        {"a ::= \"a\"", ERR_INVALID, "no rule 'root'"},
        {"root ::= root \"a\" | \"b\"", ERR_INVALID, "left recursive"},
        {"root ::= a\na ::= \"\" b\nb ::= a \"x\" | \"y\"", ERR_INVALID, "left recursive"},
        {"root ::= \"a\" root", ERR_INVALID, "nothing can satisfy"},
        {"root ::= \"a", ERR_INVALID, "line 1"},
        {"root ::= \"a\"\nx ::= [a", ERR_INVALID, "line 2"},
        {"root ::= (\"a\"", ERR_INVALID, "( without )"},
        {"root ::= \"a\"\nroot ::= \"b\"", ERR_INVALID, "defined twice"},
        {"root = \"a\"", ERR_INVALID, "::="},
        {"root ::= \"\\q\"", ERR_INVALID, "escape"},
        {"root ::= <[1]>", ERR_UNSUPPORTED, "tokens"},
        {"root ::= \"a\"{3,2}", ERR_INVALID, "repetition"},
        {"root ::= \"a\"{1000001}", ERR_LIMIT, "1000000"},
        {"root ::= \"a\"?????", ERR_INVALID, "quantifiers"},
        {"", ERR_INVALID, "no rule 'root'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err;
        struct grammar *g = help_compile(GRAMMAR_GBNF, cases[i].grammar, &err);
        if (g != NULL || err.status != cases[i].status || strstr(err.text, cases[i].text) == NULL)
            fail_msg("%s: %s %s", cases[i].grammar, status_name(err.status), err.text);
    }
}

static void nesting_limit(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int depth = 64; depth <= 65; depth++) {
        struct error err;
        buf_clear(&text);
        buf_append_text(&text, "root ::= ");
        for (int i = 0; i < depth; i++)
            buf_append_char(&text, '(');
        buf_append_text(&text, "\"a\"");
        for (int i = 0; i < depth; i++)
            buf_append_char(&text, ')');
        struct grammar *g = help_compile(GRAMMAR_GBNF, text.bytes, &err);
        assert_int_equal(err.status, depth == 64 ? OK : ERR_LIMIT);
        grammar_unref(g);
    }
    buf_release(&text);
}

static void choices(void **state)
{
    (void)state;
    static const char list[] = "[\"yes\",\"no\",\"yesterday\",\"n\\n\",\"é\"]";
    static const char *const yes[] = {"yes", "no", "yesterday", "n\n", "é"};
    static const char *const no[] = {"", "y", "yesn", "yest", "\"yes\""};
    for (size_t i = 0; i < 5; i++) {
        assert_true(accepts(GRAMMAR_CHOICE, list, yes[i]));
        assert_false(accepts(GRAMMAR_CHOICE, list, no[i]));
    }
    static const char *const bad[] = {"[]", "{}", "[1]", "[\"\"]", "x", "[[\"a\"]]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err;
        assert_null(help_compile(GRAMMAR_CHOICE, bad[i], &err));
        assert_int_equal(err.status, ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_texts),
        cmocka_unit_test(refused),
        cmocka_unit_test(nesting_limit),
        cmocka_unit_test(choices),
    };
    return cmocka_run_group_tests(tests, help_setup, help_teardown);
}
