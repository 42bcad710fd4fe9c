/* What the fuzz targets of grammars share: a vocabulary of bytes and a few longer tokens, and the
 * checks of a compiled grammar. Header only. */
#ifndef WICARA_TESTS_GRAMMAR_FUZZ_H
#define WICARA_TESTS_GRAMMAR_FUZZ_H

#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/utf8.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/vocabulary.h"
#include "tests/fuzz/fuzz.h"

enum { FUZZ_LONGER = 12, FUZZ_END = 256 + FUZZ_LONGER, FUZZ_TOKENS = FUZZ_END + 1 };

static struct vocabulary *fuzz_vocabulary;
static char fuzz_bytes[256];

static inline void fuzz_make_vocabulary(void)
{
    static const char *const longer[FUZZ_LONGER] = {
        "{\"", "\":", "\"}", "true", "null", "  ", "ab", "\",\"", "\xe2\x82", "123", "\\u", "},"};
    static struct trie_item items[FUZZ_TOKENS];
    if (fuzz_vocabulary != NULL)
        return;
    for (int b = 0; b < 256; b++) {
        fuzz_bytes[b] = (char)b;
        items[b] = (struct trie_item){&fuzz_bytes[b], b == 255 ? 0 : 1, b};
    }
    for (int i = 0; i < FUZZ_LONGER; i++)
        items[256 + i] = (struct trie_item){longer[i], (uint32_t)strlen(longer[i]), 256 + i};
    items[FUZZ_END] = (struct trie_item){"", 0, -1 - FUZZ_END};
    FUZZ_CHECK(vocabulary_from_items(&fuzz_vocabulary, items, FUZZ_TOKENS, FUZZ_TOKENS, NULL) ==
               OK);
}

/* Compiles; a refusal has a status of the client's fault and a text. */
static inline struct grammar *fuzz_compile(enum grammar_kind kind, const char *text, size_t n)
{
    struct grammar_source source = {.kind = kind, .text = text, .n_bytes = n};
    struct grammar *grammar = NULL;
    struct error err = {0};
    enum status status = grammar_compile(&grammar, fuzz_vocabulary, &source, &err);
    FUZZ_CHECK(status == err.status && (status == OK) == (grammar != NULL));
    if (status == OK) {
        FUZZ_CHECK(grammar_bytes(grammar) <= GRAMMAR_COMPILE_BYTES_MAX + (1 << 20));
        return grammar;
    }
    FUZZ_CHECK(status == ERR_INVALID || status == ERR_UNSUPPORTED || status == ERR_LIMIT);
    FUZZ_CHECK(err.text[0] != '\0');
    return NULL;
}

/* Draws a text within the shortest + extra tokens into `text`. False when the grammar ran into its
 * limits on the way, which only may happen with a text that says so. */
static inline bool fuzz_draw(struct grammar *grammar, size_t extra, uint32_t *random,
                             struct buf *text)
{
    struct matcher *matcher;
    size_t budget = grammar_tokens_min(grammar) + extra, n = 0;
    bool ok = true;
    FUZZ_CHECK(matcher_create(&matcher, grammar, budget, NULL) == OK);
    while (ok && n < budget && !matcher_is_complete(matcher)) {
        const uint64_t *bits;
        struct error err = {0};
        int32_t allowed[FUZZ_TOKENS];
        uint32_t n_allowed = 0;
        ok = matcher_mask(matcher, &bits, &err) == OK;
        FUZZ_CHECK(ok || err.status == ERR_LIMIT);
        for (int32_t t = 0; ok && t < FUZZ_TOKENS; t++)
            if (bits[t / 64] >> (t & 63) & 1)
                allowed[n_allowed++] = t;
        FUZZ_CHECK(!ok || n_allowed > 0);
        if (!ok)
            break;
        int32_t token = allowed[fuzz_random(random, n_allowed)];
        ok = matcher_accept(matcher, token, &err) == OK;
        FUZZ_CHECK(ok || err.status == ERR_LIMIT);
        uint8_t bytes[TRIE_DEPTH_MAX + 1];
        if (token != FUZZ_END)
            buf_append(text, bytes, vocabulary_token(fuzz_vocabulary, token, bytes));
        n++;
    }
    FUZZ_CHECK(!ok || matcher_is_accepting(matcher) || budget == 0);
    matcher_free(matcher);
    return ok;
}

/* The text is read byte by byte. */
static inline bool fuzz_accepts(struct grammar *grammar, const char *text, size_t n)
{
    struct matcher *matcher;
    FUZZ_CHECK(matcher_create(&matcher, grammar, 1 << 20, NULL) == OK);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = matcher_accept(matcher, (uint8_t)text[i], NULL) == OK;
    ok = ok && (n > 0 ? matcher_is_accepting(matcher) : grammar_tokens_min(grammar) == 0);
    matcher_free(matcher);
    return ok;
}

#endif
