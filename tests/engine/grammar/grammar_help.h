/* A small vocabulary and short ways to ask a grammar, for the tests of engine/grammar. */
#ifndef WICARA_TESTS_GRAMMAR_HELP_H
#define WICARA_TESTS_GRAMMAR_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/buf.h"
#include "engine/base/rng.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/vocabulary.h"

/* Every byte is the token of its number; then come these, then a control token, then the end. */
static const char *const help_tokens[] = {
    "{\"",  "\":",   "\",\"", "\"}", "true", "false", "null",     "  ",     "    ",       "ab",
    "abc",  "\"a\"", "123",   "},{", "[[",   "]]",    "\xe2\x82", "\xac\"", "\",",        " \"",
    "name", "\\u00", "\n  ",  "}}",  "éx",   "-1",    ".5",       "e+1",    "abcdefghij",
};

enum {
    HELP_TEXTS = sizeof help_tokens / sizeof *help_tokens,
    HELP_THINK_END = 256 + HELP_TEXTS,
    HELP_END = HELP_THINK_END + 1,
    HELP_TOKENS = HELP_END + 1,
};

static struct vocabulary *help_vocabulary;
static char help_bytes[256];
static struct trie_item help_items[HELP_TOKENS];

static inline int help_setup(void **state)
{
    (void)state;
    for (int b = 0; b < 256; b++) {
        help_bytes[b] = (char)b;
        help_items[b] = (struct trie_item){&help_bytes[b], b == 255 ? 0 : 1, b};
    }
    for (int i = 0; i < HELP_TEXTS; i++)
        help_items[256 + i] =
            (struct trie_item){help_tokens[i], (uint32_t)strlen(help_tokens[i]), 256 + i};
    help_items[HELP_THINK_END] = (struct trie_item){"\xff</think>", 9, HELP_THINK_END};
    help_items[HELP_END] = (struct trie_item){"", 0, -1 - HELP_END};
    return vocabulary_from_items(&help_vocabulary, help_items, HELP_TOKENS, HELP_TOKENS, NULL);
}

static inline int help_teardown(void **state)
{
    (void)state;
    vocabulary_free(help_vocabulary);
    return 0;
}

static inline struct grammar *help_compile(enum grammar_kind kind, const char *text,
                                           struct error *err)
{
    struct grammar_source source = {.kind = kind, .text = text, .n_bytes = strlen(text)};
    struct grammar *grammar = NULL;
    *err = (struct error){0};
    enum status status = grammar_compile(&grammar, help_vocabulary, &source, err);
    assert_int_equal(status, err->status);
    assert_true((grammar != NULL) == (status == OK));
    return grammar;
}

static inline bool is_allowed(const uint64_t *bits, int32_t token)
{
    return bits[token / 64] >> (token & 63) & 1;
}

/* Reads the text byte by byte; each byte must be in the mask exactly when it can be read. */
static inline bool grammar_accepts(struct grammar *grammar, const char *text)
{
    struct matcher *matcher;
    assert_int_equal(matcher_create(&matcher, grammar, 1 << 20, NULL), OK);
    bool ok = true;
    for (size_t i = 0; ok && text[i] != '\0'; i++) {
        const uint64_t *bits;
        assert_int_equal(matcher_mask(matcher, &bits, NULL), OK);
        bool allowed = is_allowed(bits, (uint8_t)text[i]);
        ok = matcher_accept(matcher, (uint8_t)text[i], NULL) == OK;
        assert_int_equal(allowed, ok);
    }
    const uint64_t *bits;
    if (ok) {
        assert_int_equal(matcher_mask(matcher, &bits, NULL), OK);
        ok = is_allowed(bits, HELP_END);
    }
    matcher_free(matcher);
    return ok;
}

static inline bool accepts(enum grammar_kind kind, const char *text, const char *value)
{
    struct error err;
    struct grammar *grammar = help_compile(kind, text, &err);
    if (grammar == NULL)
        fail_msg("%s: %s", text, err.text);
    bool ok = grammar_accepts(grammar, value);
    grammar_unref(grammar);
    return ok;
}

/* Draws a text within shortest + extra tokens; it must come to its end. */
static inline void draw_text(struct grammar *grammar, size_t extra, uint64_t seed, struct buf *text)
{
    struct matcher *matcher;
    size_t budget = grammar_tokens_min(grammar) + extra, n = 0;
    uint32_t position = 0;
    buf_clear(text);
    assert_int_equal(matcher_create(&matcher, grammar, budget, NULL), OK);
    while (!matcher_is_complete(matcher) && n < budget) {
        const uint64_t *bits;
        struct error err = {0};
        int32_t allowed[HELP_TOKENS], token;
        size_t n_allowed = 0;
        if (matcher_mask(matcher, &bits, &err) != OK)
            fail_msg("%s", err.text);
        for (int32_t t = 0; t < HELP_TOKENS; t++)
            if (is_allowed(bits, t))
                allowed[n_allowed++] = t;
        assert_int_not_equal(n_allowed, 0);
        token = allowed[(size_t)(rng_uniform(seed, 0, position++, 0) * (double)n_allowed)];
        if (matcher_accept(matcher, token, &err) != OK)
            fail_msg("token %d: %s", token, err.text);
        n++;
        uint8_t bytes[TRIE_DEPTH_MAX + 1];
        if (token != HELP_END)
            buf_append(text, bytes, vocabulary_token(help_vocabulary, token, bytes));
    }
    if (!matcher_is_accepting(matcher))
        fail_msg("not at its end after %zu of %zu tokens: %s", n, budget, text->bytes);
    matcher_free(matcher);
}

#endif
