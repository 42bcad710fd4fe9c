/* Matchers: masks against reading token by token, budgets, markers, fresh starts, the cache of
 * grammars, failing memory. */
#include "tests/engine/grammar/grammar_help.h"

#include "engine/base/mem.h"
#include "engine/grammar/grammar_state.h"

static const char schema[] =
    "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"minLength\":1,"
    "\"maxLength\":40},\"list\":{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"integer\"},"
    "{\"$ref\":\"#\"}]}},\"p\":{\"type\":\"string\",\"pattern\":\"^a.*z$\"}},\"required\":["
    "\"name\"],"
    "\"additionalProperties\":{\"type\":\"boolean\"}}";

/* A matcher that has read `n` of the tokens. */
static struct matcher *matcher_after(struct grammar *g, size_t budget, const int32_t *tokens,
                                     size_t n)
{
    struct matcher *m;
    assert_int_equal(matcher_create(&m, g, budget, NULL), OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(matcher_accept(m, tokens[i], NULL), OK);
    return m;
}

/* At each place every token is in the mask exactly when a matcher takes it; long budget. */
static void compare_masks(const char *text, uint64_t n_seeds, size_t n_tokens)
{
    struct error err;
    struct grammar *g = help_compile(GRAMMAR_JSON_SCHEMA, text, &err);
    assert_non_null(g);
    for (uint64_t seed = 0; seed < n_seeds; seed++) {
        int32_t tokens[64];
        size_t n = 0;
        struct matcher *m = matcher_after(g, 100000, tokens, 0);
        while (n < n_tokens && !matcher_is_complete(m)) {
            const uint64_t *bits;
            int32_t allowed[HELP_TOKENS];
            size_t n_allowed = 0;
            assert_int_equal(matcher_mask(m, &bits, NULL), OK);
            for (int32_t t = 0; t < HELP_END; t++) {
                struct matcher *other = matcher_after(g, 100000, tokens, n);
                bool taken = matcher_accept(other, t, NULL) == OK;
                matcher_free(other);
                if (taken != is_allowed(bits, t))
                    fail_msg("token %d behind %zu tokens: %d", t, n, taken);
                if (taken)
                    allowed[n_allowed++] = t;
            }
            double u = rng_uniform(seed, 0, (uint32_t)n, 0);
            tokens[n] = allowed[(size_t)(u * (double)n_allowed)];
            assert_int_equal(matcher_accept(m, tokens[n++], NULL), OK);
        }
        matcher_free(m);
    }
    grammar_unref(g);
}

static void mask_is_what_can_be_read(void **state)
{
    (void)state;
    compare_masks(schema, 6, 50);
    // Long tokens that lead back to where they began, also beside a count that runs out.
    compare_masks("{\"type\":\"string\",\"pattern\":\"x\",\"maxLength\":12}", 1, 8);
    compare_masks("{\"type\":\"string\",\"pattern\":\"[b-e\u20ac]{2}x\"}", 1, 8);
    compare_masks("{\"type\":\"string\",\"pattern\":\"^[^c]*$\"}", 1, 8);
}

/* For every budget: the text ends in time, and near the end a token is allowed exactly when
 * something can follow it that ends in time, as far as this small grammar can be tried out. */
static void budgets(void **state)
{
    (void)state;
    struct error err;
    struct grammar *g = help_compile(GRAMMAR_JSON_SCHEMA, schema, &err);
    struct buf text;
    buf_init(&text, 1 << 20);
    for (size_t extra = 0; extra < 40; extra++)
        for (uint64_t seed = 0; seed < 4; seed++)
            draw_text(g, extra, seed, &text);
    buf_release(&text);
    grammar_unref(g);
    g = help_compile(GRAMMAR_REGEX, "x(ab){0,10}|y{3}", &err);
    assert_int_equal(grammar_tokens_min(g), 1);
    struct matcher *m = matcher_after(g, 2, NULL, 0);
    const uint64_t *bits;
    assert_int_equal(matcher_mask(m, &bits, NULL), OK);
    assert_true(is_allowed(bits, 'x'));
    assert_false(is_allowed(bits, 'y'));  // three tokens do not fit
    assert_int_equal(matcher_accept(m, 'x', NULL), OK);
    assert_int_equal(matcher_mask(m, &bits, NULL), OK);
    assert_true(is_allowed(bits, HELP_END));
    assert_true(is_allowed(bits, 256 + 9));  // "ab" is one token
    assert_false(is_allowed(bits, 'a'));     // two are too many
    matcher_free(m);
    grammar_unref(g);
}

static void control_tokens_and_markers(void **state)
{
    (void)state;
    struct grammar_source source = {
        .kind = GRAMMAR_REGEX, .text = "ab|.*q", .n_bytes = 6, .free_until = "</think>"};
    struct grammar *g;
    const uint64_t *bits;
    assert_int_equal(grammar_compile(&g, help_vocabulary, &source, NULL), OK);
    int32_t tokens[] = {'x', '"', 0x80, HELP_THINK_END, '\n', 'a', 'b'};
    struct matcher *m = matcher_after(g, 100, tokens, 3);
    assert_int_equal(matcher_mask(m, &bits, NULL), OK);
    assert_true(is_allowed(bits, HELP_THINK_END));
    assert_true(is_allowed(bits, 'z'));
    assert_false(is_allowed(bits, HELP_END));
    matcher_free(m);
    m = matcher_after(g, 100, tokens, 4);
    assert_int_equal(matcher_mask(m, &bits, NULL), OK);
    assert_false(is_allowed(bits, HELP_THINK_END));
    assert_true(is_allowed(bits, '\n'));
    assert_false(is_allowed(bits, HELP_END));
    matcher_free(m);
    m = matcher_after(g, 100, tokens, 7);
    assert_true(matcher_is_accepting(m));
    matcher_free(m);
    // The end of the thought is made in time: the marker and the shortest text fit exactly.
    assert_int_equal(grammar_tokens_min(g), 2);
    m = matcher_after(g, 3, tokens, 1);
    assert_int_equal(matcher_mask(m, &bits, NULL), OK);
    assert_true(is_allowed(bits, HELP_THINK_END));
    assert_false(is_allowed(bits, 'x'));
    matcher_free(m);
    grammar_unref(g);
    // A marker that is no control token is found in the text, wherever tokens part.
    source.free_until = "END";
    assert_int_equal(grammar_compile(&g, help_vocabulary, &source, NULL), OK);
    int32_t more[] = {'E', 'N', 'E', 'N', 'D', 'a', 'b'};
    m = matcher_after(g, 100, more, 7);
    assert_true(matcher_is_accepting(m));
    matcher_free(m);
    grammar_unref(g);
}

/* Byte by byte: 1 = it may end there, 0 = something must follow, -1 = it cannot be read. */
static int read_reply(const struct grammar_calls *calls, const char *text)
{
    static const char call[] = "{\"properties\":{\"n\":{\"const\":1}},\"required\":[\"n\"],"
                               "\"type\":\"object\",\"additionalProperties\":false}";
    struct grammar_source source = {
        .kind = GRAMMAR_JSON_SCHEMA, .text = call, .n_bytes = sizeof call - 1, .calls = calls};
    struct grammar *g;
    struct matcher *m;
    assert_int_equal(grammar_compile(&g, help_vocabulary, &source, NULL), OK);
    assert_int_equal(grammar_tokens_min(g), 0);
    assert_int_equal(matcher_create(&m, g, 1000, NULL), OK);
    int is_accepting = 1;
    for (; *text != '\0' && is_accepting >= 0; text++) {
        const uint64_t *bits;
        int32_t token = *text == '~' ? HELP_THINK_END : (uint8_t)*text;
        assert_int_equal(matcher_mask(m, &bits, NULL), OK);
        bool taken = matcher_accept(m, token, NULL) == OK;
        assert_true(taken == is_allowed(bits, token));
        is_accepting = taken ? matcher_is_accepting(m) : -1;
    }
    matcher_free(m);
    grammar_unref(g);
    return is_accepting;
}

/* A free reply whose calls keep to a schema. '~' stands for the control token </think>. */
static void calls_in_free_text(void **state)
{
    (void)state;
    struct grammar_calls calls = {.open = "<c>", .close = "</c>"};
    static const struct {
        const char *text;
        int marked, bare;  // as read_reply()
    } cases[] = {
        {"", 1, 1},
        {"a <c and <<", 1, 1},
        {"\xff and \x80", -1, -1},  // a byte of the tree, not of text
        {"~ <", 1, 1},
        {"<c>", 0, 0},
        {"x<<c>\n{\"n\":1}\n</c>", 1, 1},
        {"x<c>{\"n\":2", -1, -1},
        {"<c>x", -1, -1},
        {"<c>{\"n\":1}</c>\n<c>{\"n\": 1}</c> then", 1, 1},
        {"<c>[{\"n\":1}, {\"n\":1}]</c>", 1, 1},
        {"<c>[{\"n\":1}, {\"n\":2", -1, -1},
        {"<c>{\"n\":1}</c><c>{\"m", -1, -1},
        {"{\"n\":1}", 1, 1},
        {"{\"n\":2", 1, -1},
        {" \t{\"m", 1, -1},
        {"{\"n\":1};{\"m", 1, -1},
        {"a {\"m", 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        calls.is_bare = false;
        if (read_reply(&calls, cases[i].text) != cases[i].marked)
            fail_msg("case %zu: %d", i, read_reply(&calls, cases[i].text));
        calls.is_bare = true;
        if (read_reply(&calls, cases[i].text) != cases[i].bare)
            fail_msg("case %zu, bare: %d", i, read_reply(&calls, cases[i].text));
    }
    // In a thought a call is thought, and behind it a call.
    calls.thought_open = "<t>";
    calls.thought_close = "</think>";
    assert_int_equal(read_reply(&calls, "<t>{\"m\" <c>{\"m"), 1);
    assert_int_equal(read_reply(&calls, "<t> <c>x ~\n\n{\"m"), -1);
    assert_int_equal(read_reply(&calls, "<t> <c>x ~\n\n{\"n\":1}"), 1);
    assert_int_equal(read_reply(&calls, "\n <t>x"), -1);
    calls.is_thinking = true;
    assert_int_equal(read_reply(&calls, "<c>x"), 1);
    assert_int_equal(read_reply(&calls, "<c>x~<c>x"), -1);
    assert_int_equal(read_reply(&calls, "<c>x~ok <c>{\"n\":1}</c>"), 1);
    // A call is closed in time; what has no room is not begun.
    calls = (struct grammar_calls){.open = "<c>", .close = "</c>"};
    struct grammar_source source = {
        .kind = GRAMMAR_CHOICE, .text = "[\"abc\"]", .n_bytes = 7, .calls = &calls};
    struct grammar *g;
    const uint64_t *bits;
    int32_t tokens[] = {'<', 'c', '>'};
    assert_int_equal(grammar_compile(&g, help_vocabulary, &source, NULL), OK);
    for (size_t budget = 6; budget < 10; budget++) {
        struct matcher *m = matcher_after(g, budget, tokens, 2);
        assert_int_equal(matcher_mask(m, &bits, NULL), OK);
        assert_true(is_allowed(bits, '>') == (budget >= 8));  // <c>, abc, </c>
        assert_true(is_allowed(bits, 'x'));
        matcher_free(m);
    }
    grammar_unref(g);
}

/* A grammar that starts over in the middle changes no mask. */
static void fresh_starts(void **state)
{
    (void)state;
    struct error err;
    struct grammar *g = help_compile(GRAMMAR_JSON_SCHEMA, schema, &err);
    struct grammar *other = help_compile(GRAMMAR_JSON_SCHEMA, schema, &err);
    struct matcher *a = matcher_after(g, 60, NULL, 0), *b = matcher_after(other, 60, NULL, 0);
    for (uint32_t n = 0; n < 60 && !matcher_is_complete(a); n++) {
        const uint64_t *x, *y;
        int32_t allowed[HELP_TOKENS];
        size_t n_allowed = 0;
        if (n % 3 == 1) {
            pthread_mutex_lock(&g->mu);
            grammar_restart(g);
            pthread_mutex_unlock(&g->mu);
        }
        assert_int_equal(matcher_mask(a, &x, NULL), OK);
        assert_int_equal(matcher_mask(b, &y, NULL), OK);
        assert_memory_equal(x, y, help_vocabulary->n_words * sizeof *x);
        for (int32_t t = 0; t < HELP_TOKENS; t++)
            if (is_allowed(x, t))
                allowed[n_allowed++] = t;
        int32_t token = allowed[(size_t)(rng_uniform(9, 0, n, 0) * (double)n_allowed)];
        assert_int_equal(matcher_accept(a, token, NULL), OK);
        assert_int_equal(matcher_accept(b, token, NULL), OK);
    }
    matcher_free(a);
    matcher_free(b);
    grammar_unref(g);
    grammar_unref(other);
}

/* With memory for a few masks only, it starts over again and again, and the text is the same. */
static void small_memory(void **state)
{
    (void)state;
    struct error err;
    struct buf texts[2];
    struct vocabulary *own = help_vocabulary;
    struct trie_item items[HELP_TOKENS];
    memcpy(items, help_items, sizeof items);
    for (int i = 0; i < HELP_TOKENS; i++)  // they were sorted: those with text come first
        if (items[i].token < 0)
            items[i].n_bytes = 0;
    assert_int_equal(vocabulary_from_items(&help_vocabulary, items, HELP_TOKENS, 1 << 20, NULL),
                     OK);
    for (int i = 0; i < 2; i++) {
        buf_init(&texts[i], 1 << 20);
        struct grammar *g = help_compile(GRAMMAR_JSON_SCHEMA, schema, &err);
        if (i == 1)
            g->budget.bytes_max = g->budget.n_bytes + (1 << 20);
        draw_text(g, 200, 77, &texts[i]);
        if (i == 1)
            assert_true(g->epoch > 0);
        grammar_unref(g);
    }
    assert_string_equal(texts[0].bytes, texts[1].bytes);
    buf_release(&texts[0]);
    buf_release(&texts[1]);
    vocabulary_free(help_vocabulary);
    help_vocabulary = own;
}

static void wrong_tokens(void **state)
{
    (void)state;
    struct error err;
    struct grammar *g = help_compile(GRAMMAR_REGEX, "ab", &err);
    struct matcher *m = matcher_after(g, 10, NULL, 0);
    assert_int_equal(matcher_accept(m, 'b', NULL), ERR_INTERNAL);
    assert_int_equal(matcher_accept(m, HELP_END, NULL), ERR_INTERNAL);
    assert_int_equal(matcher_accept(m, -1, NULL), ERR_INTERNAL);
    assert_int_equal(matcher_accept(m, HELP_TOKENS, NULL), ERR_INTERNAL);
    assert_int_equal(matcher_accept(m, 'a', NULL), OK);
    assert_false(matcher_is_accepting(m));
    assert_int_equal(matcher_accept(m, 'b', NULL), OK);
    assert_true(matcher_is_complete(m));
    matcher_free(m);
    grammar_unref(g);
}

static void failing_memory(void **state)
{
    (void)state;
    struct grammar_source source = {
        .kind = GRAMMAR_JSON_SCHEMA, .text = schema, .n_bytes = sizeof schema - 1};
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        struct grammar *g = NULL;
        struct matcher *m = NULL;
        const uint64_t *bits;
        struct error err = {0};
        mem_fault_set(nth, false);
        enum status status = grammar_compile(&g, help_vocabulary, &source, &err);
        if (status == OK)
            status = matcher_create(&m, g, 50, &err);
        if (status == OK)
            status = matcher_mask(m, &bits, &err);
        if (status == OK)
            status = matcher_accept(m, '{', &err);
        done = mem_fault_count() < nth;
        mem_fault_set(0, false);
        if (status != OK && status != ERR_MEMORY)
            fail_msg("allocation %llu: %s", (unsigned long long)nth, err.text);
        matcher_free(m);
        grammar_unref(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mask_is_what_can_be_read),
        cmocka_unit_test(budgets),
        cmocka_unit_test(control_tokens_and_markers),
        cmocka_unit_test(calls_in_free_text),
        cmocka_unit_test(fresh_starts),
        cmocka_unit_test(small_memory),
        cmocka_unit_test(wrong_tokens),
        cmocka_unit_test(failing_memory),
    };
    return cmocka_run_group_tests(tests, help_setup, help_teardown);
}
