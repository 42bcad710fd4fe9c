/* Byte-level BPE end to end on small vocabularies: order of merges against a naive merger, whole
 * pieces, special tokens and provenance, BOS and EOS, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "tests/engine/tokenizer/vocab_build.h"

static struct byte_vocab vocab;  // large, one test at a time

static struct tokenizer *must_open(const struct test_vocab *test_vocab)
{
    struct tokenizer *tokenizer;
    struct error err = {0};
    if (open_vocab(&tokenizer, test_vocab, NULL, &err))
        fail_msg("%s", err.text);
    return tokenizer;
}

/* Encodes; bytes [first, last) are untrusted when first < last. */
static struct token_list encode_span(const struct tokenizer *tokenizer, const char *text,
                                     size_t n_bytes, size_t first, size_t last, bool add_special)
{
    struct text_span span = {first, last};
    struct prompt_text prompt = {text, n_bytes, &span, first < last};
    struct token_list ids = {0};
    struct error err = {0};
    if (tokenizer_encode(tokenizer, &prompt, add_special, 0, &ids, &err))
        fail_msg("%s", err.text);
    return ids;
}

/* Ids as text: a byte token as its character, the others as <id>. */
static void check_span(const struct tokenizer *tokenizer, const char *text, size_t first,
                       size_t last, const char *wanted)
{
    char got[256] = "";
    size_t n = 0;
    struct token_list ids = encode_span(tokenizer, text, strlen(text), first, last, false);
    for (size_t i = 0; i < ids.n_ids; i++) {
        bool plain = ids.ids[i] < BYTE_TOKENS;
        n += (size_t)snprintf(got + n, sizeof got - n, plain ? "%c" : "<%d>", (int)ids.ids[i]);
    }
    token_list_release(&ids);
    if (strcmp(got, wanted) != 0)
        fail_msg("\"%s\" gave %s, wanted %s", text, got, wanted);
}

static void check(const struct tokenizer *tokenizer, const char *text, const char *wanted)
{
    check_span(tokenizer, text, 0, 0, wanted);
}

/* ---- merges ---- */

static const struct test_token abc_tokens[] = {
    {"ab", 1, 0}, {"bc", 1, 0}, {"abc", 1, 0}, {"aa", 1, 0}, {"aaa", 1, 0}, {"aaaa", 1, 0},
};
static const char *const abc_merges[] = {"b c", "a b", "a bc", "a a", "aa aa", "aa a"};

static void test_merge_order(void **state)
{
    (void)state;
    byte_vocab_init(&vocab, "gpt-2", abc_tokens, 6, abc_merges, 6);
    struct tokenizer *tokenizer = must_open(&vocab.vocab);
    check(tokenizer, "abc", "<258>");  // b c first, then a bc
    check(tokenizer, "ab", "<256>");
    check(tokenizer, "aaa", "<260>");     // leftmost pair, then aa a
    check(tokenizer, "aaaaa", "<261>a");  // aa aa before aa a
    check(tokenizer, "aaaaaa", "<261><259>");
    check(tokenizer, "dab", "d<256>");
    check(tokenizer, "", "");
    tokenizer_close(tokenizer);
}

/* ignore_merges: the token wins although no merge makes it. */
static void test_ignore_merges(void **state)
{
    static const struct test_token tokens[] = {{"ab", 1, 0}, {"abd", 1, 0}, {"xy", 3, 0}};
    static const char *const merges[] = {"a b"};
    (void)state;
    byte_vocab_init(&vocab, "gpt-2", tokens, 3, merges, 1);
    struct tokenizer *tokenizer = must_open(&vocab.vocab);
    for (int i = 0; i < 2; i++)  // the second time it is remembered
        check(tokenizer, "abd", "<256>d");
    tokenizer_close(tokenizer);
    vocab.vocab.pre = "llama-bpe";
    tokenizer = must_open(&vocab.vocab);
    check(tokenizer, "abd", "<257>");
    check_span(tokenizer, "xy", 0, 2, "xy");  // a control token is never a whole piece
    tokenizer_close(tokenizer);
}

/* Merges that would spell a control token are not made. */
static void test_merge_to_control(void **state)
{
    static const struct test_token tokens[] = {{"ab", 3, 0}, {"abc", 1, 0}};
    static const char *const merges[] = {"a b", "ab c"};
    (void)state;
    byte_vocab_init(&vocab, "gpt-2", tokens, 2, merges, 2);
    struct tokenizer *tokenizer = must_open(&vocab.vocab);
    check_span(tokenizer, "abc", 0, 3, "abc");
    check(tokenizer, "abc", "<256>c");
    tokenizer_close(tokenizer);
}

/* The naive merger: look at all pairs, take the lowest rank, the leftmost; start over. */
enum { WORD_MAX = 160, RANDOM_TOKENS = 50 };
struct naive {
    char texts[RANDOM_TOKENS][24];
    char merges[RANDOM_TOKENS][24];
    size_t n;
};

static size_t naive_encode(const struct naive *naive, const char *text, char parts[][24])
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        snprintf(parts[i], 24, "%c", text[i]);
    for (;;) {
        size_t best = naive->n, at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            char pair[64];
            snprintf(pair, sizeof pair, "%.23s %.23s", parts[i], parts[i + 1]);
            for (size_t rank = 0; rank < best; rank++) {
                if (!strcmp(pair, naive->merges[rank])) {
                    best = rank;
                    at = i;
                }
            }
        }
        if (best == naive->n)
            return n;
        memcpy(parts[at], naive->texts[best], 24);
        memmove(parts[at + 1], parts[at + 2], (n - at - 2) * 24);
        n--;
    }
}

/* Random merges over three letters, each joining two tokens that exist. */
static void make_random_merges(struct naive *naive, uint32_t round)
{
    naive->n = 0;
    for (uint32_t try = 0; naive->n < RANDOM_TOKENS && try < 4000; try++) {
        char sides[2][24], joined[64];
        for (uint32_t side = 0; side < 2; side++) {
            uint64_t bits = rng_bits(3, side, round, try);
            size_t pick = bits % (naive->n + 3);
            if (pick < 3)
                snprintf(sides[side], 24, "%c", (char)('a' + pick));
            else
                memcpy(sides[side], naive->texts[pick - 3], 24);
        }
        snprintf(joined, sizeof joined, "%s%s", sides[0], sides[1]);
        bool known = strlen(joined) > 12;
        for (size_t i = 0; i < naive->n && !known; i++)
            known = !strcmp(joined, naive->texts[i]);
        if (known)
            continue;
        memcpy(naive->texts[naive->n], joined, 24);
        snprintf(naive->merges[naive->n++], 24, "%.11s %.11s", sides[0], sides[1]);
    }
}

static void check_random(const struct tokenizer *tokenizer, const struct naive *naive,
                         uint32_t round, uint32_t word)
{
    static char parts[WORD_MAX][24];
    char text[WORD_MAX];
    size_t n = 1 + rng_bits(4, 0, round, word) % (word % 2 ? 20 : WORD_MAX - 2);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + rng_bits(5, word, round, (uint32_t)i) % 3);
    text[n] = '\0';
    size_t n_parts = naive_encode(naive, text, parts);
    struct token_list ids = encode_span(tokenizer, text, n, 0, 0, false);
    bool equal = ids.n_ids == n_parts;
    for (size_t i = 0; i < n_parts && equal; i++) {
        size_t bytes;
        const char *piece = tokenizer_piece(tokenizer, ids.ids[i], &bytes);
        equal = bytes == strlen(parts[i]) && !memcmp(piece, parts[i], bytes);
    }
    token_list_release(&ids);
    if (!equal)
        fail_msg("round %u: \"%s\" is merged differently", round, text);
}

static void test_random_merges(void **state)
{
    static struct naive naive;
    (void)state;
    for (uint32_t round = 0; round < 40; round++) {
        struct test_token tokens[RANDOM_TOKENS];
        const char *merges[RANDOM_TOKENS];
        make_random_merges(&naive, round);
        for (size_t i = 0; i < naive.n; i++) {
            tokens[i] = (struct test_token){naive.texts[i], 1, 0};
            merges[i] = naive.merges[i];
        }
        byte_vocab_init(&vocab, "gpt-2", tokens, naive.n, merges, naive.n);
        struct tokenizer *tokenizer = must_open(&vocab.vocab);
        for (uint32_t word = 0; word < 60; word++)
            check_random(tokenizer, &naive, round, word);
        tokenizer_close(tokenizer);
    }
}

/* A megabyte of one letter: quadratic merging would take hours. */
static void test_long_word(void **state)
{
    enum { BYTES = 1 << 20 };
    char *text = mem_alloc(BYTES);
    (void)state;
    assert_non_null(text);
    memset(text, 'a', BYTES);
    byte_vocab_init(&vocab, "gpt-2", abc_tokens, 6, abc_merges, 6);
    struct tokenizer *tokenizer = must_open(&vocab.vocab);
    int64_t start = clock_ns();
    struct token_list ids = encode_span(tokenizer, text, BYTES, 0, 0, false);
    assert_true(clock_ns() - start < 60 * INT64_C(1000000000));
    assert_int_equal(ids.n_ids, BYTES / 4);
    token_list_release(&ids);
    tokenizer_close(tokenizer);
    mem_free(text);
}

/* Every byte string comes back: a vocabulary with all bytes loses nothing. */
static void test_any_bytes(void **state)
{
    (void)state;
    byte_vocab_init(&vocab, "llama-bpe", abc_tokens, 6, abc_merges, 6);
    struct tokenizer *tokenizer = must_open(&vocab.vocab);
    for (uint32_t round = 0; round < 3000; round++) {
        char text[64], back[64];
        size_t n = rng_bits(6, 0, round, 0) % sizeof text, n_back = 0;
        for (size_t i = 0; i < n; i++)
            text[i] = (char)rng_bits(7, 0, round, (uint32_t)i);
        struct token_list ids = encode_span(tokenizer, text, n, 0, 0, false);
        for (size_t i = 0; i < ids.n_ids; i++) {
            size_t bytes;
            const char *piece = tokenizer_piece(tokenizer, ids.ids[i], &bytes);
            assert_true(n_back + bytes <= n);
            memcpy(back + n_back, piece, bytes);
            n_back += bytes;
        }
        assert_int_equal(n_back, n);
        assert_memory_equal(back, text, n);
        token_list_release(&ids);
    }
    tokenizer_close(tokenizer);
}

/* gemma4: characters instead of bytes, U+2581 for a space, <0xXX> for what is no token. */
static void test_raw(void **state)
{
    static char byte_texts[256][8];
    static struct test_token tokens[256 + 8];
    static const struct test_token more[] = {{"a", 1, 0},
                                             {"\xe2\x96\x81", 1, 0},
                                             {"\xe2\x96\x81"
                                              "a",
                                              1, 0},
                                             {"\xc3\xa9", 1, 0},
                                             {"a\xc3\xa9", 1, 0},
                                             {"\n", 1, 0},
                                             {"\n\n", 1, 0},
                                             {"<tool>", 4, 0}};
    static const char *const merges[] = {"\xe2\x96\x81 a", "a \xc3\xa9", "\n \n"};
    const struct test_vocab raw = {.model = "gemma4",
                                   .pre = "no such name",
                                   .tokens = tokens,
                                   .n_tokens = 264,
                                   .merges = merges,
                                   .n_merges = 3,
                                   .no_scores = true,
                                   .bos = -1,
                                   .eos = -1,
                                   .unknown = -1,
                                   .add_bos = -1,
                                   .add_eos = -1,
                                   .add_space_prefix = -1};
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        snprintf(byte_texts[byte], sizeof byte_texts[byte], "<0x%02X>", byte);
        tokens[byte] = (struct test_token){byte_texts[byte], TOKEN_KIND_BYTE, 0};
    }
    memcpy(tokens + 256, more, sizeof more);
    struct tokenizer *tokenizer = must_open(&raw);
    check(tokenizer, "a", "<256>");
    check(tokenizer, " a a", "<258><258>");
    check(tokenizer, "a\xc3\xa9", "<260>");
    check(tokenizer, " a\xc3\xa9", "<258><259>");
    check(tokenizer, "b\n\n\n", "b<262><261>");
    check(tokenizer, "\xe4\xbd\xa0", "\xe4\xbd\xa0");  // ids 0xe4, 0xbd, 0xa0
    check(tokenizer, "\xff\xc3", "\xff\xc3");
    check(tokenizer, "a<tool> ", "<256><263><257>");
    static const int32_t ids[] = {258, 0xe4, 260};
    static const char *const pieces[] = {" a", "\xe4", "a\xc3\xa9"};
    for (size_t i = 0; i < 3; i++) {
        size_t n;
        const char *piece = tokenizer_piece(tokenizer, ids[i], &n);
        assert_int_equal(n, strlen(pieces[i]));
        assert_memory_equal(piece, pieces[i], n);
    }
    tokenizer_close(tokenizer);
}

/* Threads share a tokenizer: the words that it learns about are the same for all. */
enum { THREADS = 3 };
struct thread_work {
    const struct tokenizer *tokenizer;
    uint64_t sum;
};

static void *encode_much(void *arg)
{
    struct thread_work *work = arg;
    for (uint32_t round = 0; round < 3000; round++) {
        char text[24];
        for (uint32_t i = 0; i < sizeof text; i++)
            text[i] = "abc "[rng_bits(8, 0, round, i) % 4];
        struct prompt_text prompt = {text, sizeof text, NULL, 0};
        struct token_list ids = {0};
        if (tokenizer_encode(work->tokenizer, &prompt, false, 0, &ids, NULL))
            return NULL;
        for (size_t i = 0; i < ids.n_ids; i++)
            work->sum = work->sum * 31 + (uint64_t)ids.ids[i];
        token_list_release(&ids);
    }
    return work;
}

static void test_threads(void **state)
{
    struct thread_work work[THREADS];
    pthread_t threads[THREADS];
    (void)state;
    byte_vocab_init(&vocab, "gpt-2", abc_tokens, 6, abc_merges, 6);
    struct tokenizer *tokenizer = must_open(&vocab.vocab);
    for (size_t i = 0; i < THREADS; i++) {
        work[i] = (struct thread_work){tokenizer, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_much, &work[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, &work[i]);
        assert_true(work[i].sum != 0 && work[i].sum == work[0].sum);
    }
    tokenizer_close(tokenizer);
}

/* A byte without a token is left out and its neighbours may merge, as in the reference. */
static void test_missing_byte(void **state)
{
    (void)state;
    byte_vocab_init(&vocab, "gpt-2", abc_tokens, 6, abc_merges, 6);
    vocab.tokens['x'].text = "xx";
    struct tokenizer *tokenizer = must_open(&vocab.vocab);
    check(tokenizer, "axb", "<256>");
    check(tokenizer, "x", "");
    tokenizer_close(tokenizer);
}

/* ---- special tokens ---- */

static const struct test_token special_tokens[] = {
    {"<s>", 3, 0},     {"<|im_end|>", 3, 0}, {"<tool>", 4, 0},
    {"<tool>x", 3, 0}, {"ab", 1, 0},         {"<unk>", 2, 0},
};
static const char *const special_merges[] = {"a b"};

static struct tokenizer *open_special(void)
{
    byte_vocab_init(&vocab, "gpt-2", special_tokens, 6, special_merges, 1);
    vocab.vocab.bos = 256;
    vocab.vocab.eos = 257;
    return must_open(&vocab.vocab);
}

static void test_provenance(void **state)
{
    struct tokenizer *tokenizer = open_special();
    (void)state;
    check(tokenizer, "a<s>b", "a<256>b");
    check(tokenizer, "<unk>", "<261>");
    check_span(tokenizer, "a<s>b", 0, 5, "a<s>b");
    check_span(tokenizer, "a<s>b", 4, 5, "a<256>b");  // only the b is a user's
    check_span(tokenizer, "a<s>b", 0, 1, "a<256>b");
    for (size_t i = 1; i < 4; i++)  // one user byte inside bars it
        check_span(tokenizer, "a<s>b", i, i + 1, "a<s>b");
    check_span(tokenizer, "<tool>", 0, 6, "<258>");    // user-defined: always
    check(tokenizer, "<tool>x", "<259>");              // the longest
    check_span(tokenizer, "<tool>x", 6, 7, "<258>x");  // the longest that is allowed
    check(tokenizer, "<s<s>", "<s<256>");
    check(tokenizer, "<s><s>", "<256><256>");
    check(tokenizer, "<s", "<s");
    tokenizer_close(tokenizer);
}

/* Where user text starts does not cut a word in two. */
static void test_spans_do_not_cut(void **state)
{
    struct tokenizer *tokenizer = open_special();
    (void)state;
    check_span(tokenizer, "ab", 1, 2, "<260>");
    check_span(tokenizer, "ab", 0, 1, "<260>");
    tokenizer_close(tokenizer);
}

/* Several spans, each looked up as the search moves on. */
static void test_many_spans(void **state)
{
    static const char text[] = "<s>-<s>-<s>-<s>";
    static const struct text_span spans[] = {{4, 7}, {12, 15}};
    struct prompt_text prompt = {text, sizeof text - 1, spans, 2};
    struct tokenizer *tokenizer = open_special();
    struct token_list ids = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(tokenizer_encode(tokenizer, &prompt, false, 0, &ids, &err), OK);
    static const int32_t wanted[] = {256, '-', '<', 's', '>', '-', 256, '-', '<', 's', '>'};
    size_t n = 0;
    for (size_t i = 0; i < ids.n_ids; i++)
        assert_true(n < 11 && ids.ids[i] == wanted[n++]);
    assert_int_equal(n, 11);
    token_list_release(&ids);
    tokenizer_close(tokenizer);
}

static void test_end_markers(void **state)
{
    struct tokenizer *tokenizer = open_special();
    (void)state;
    assert_true(tokenizer_is_eog(tokenizer, 257));
    assert_false(tokenizer_is_eog(tokenizer, 256));
    assert_true(tokenizer_is_control(tokenizer, 256));
    assert_true(tokenizer_is_control(tokenizer, 261));
    assert_false(tokenizer_is_control(tokenizer, 258));
    tokenizer_close(tokenizer);
    /* A marker that the file takes for text ends a turn and cannot be written by a user. gpt-oss'
     * <|end|> does not end one, and </s> is an HTML tag unless the file says otherwise. */
    static const struct test_token tokens[] = {{"<|eot_id|>", 1, 0},
                                               {"<|end|>", 3, 0},
                                               {"<|call|>", 3, 0},
                                               {"<|return|>", 4, 0},
                                               {"</s>", 1, 0}};
    byte_vocab_init(&vocab, "gpt-2", tokens, 5, special_merges, 0);
    tokenizer = must_open(&vocab.vocab);
    static const bool ends[] = {true, false, true, true, false};
    for (int32_t i = 0; i < 5; i++)
        assert_int_equal(tokenizer_is_eog(tokenizer, BYTE_TOKENS + i), ends[i]);
    check_span(tokenizer, "<|eot_id|>", 0, 10, "<|eot_id|>");
    check_span(tokenizer, "<|return|>", 0, 10, "<|return|>");
    check(tokenizer, "<|eot_id|>", "<256>");
    check(tokenizer, "</s>", "</s>");
    tokenizer_close(tokenizer);
}

/* ---- BOS, EOS, limits ---- */

static void check_special(int add_bos, int add_eos, const char *pre, const char *text,
                          const int32_t *wanted, size_t n_wanted)
{
    byte_vocab_init(&vocab, pre, special_tokens, 6, special_merges, 1);
    vocab.vocab.bos = 256;
    vocab.vocab.eos = 257;
    vocab.vocab.add_bos = add_bos;
    vocab.vocab.add_eos = add_eos;
    struct tokenizer *tokenizer = must_open(&vocab.vocab);
    struct token_list ids = encode_span(tokenizer, text, strlen(text), 0, 0, true);
    assert_int_equal(ids.n_ids, n_wanted);
    assert_memory_equal(ids.ids, wanted, n_wanted * sizeof *wanted);
    token_list_release(&ids);
    tokenizer_close(tokenizer);
}

static void test_bos_and_eos(void **state)
{
    (void)state;
    check_special(-1, -1, "gpt-2", "a", (int32_t[]){'a'}, 1);
    check_special(-1, -1, "llama-bpe", "a", (int32_t[]){256, 'a'}, 2);
    check_special(0, -1, "llama-bpe", "a", (int32_t[]){'a'}, 1);
    check_special(1, 1, "gpt-2", "a", (int32_t[]){256, 'a', 257}, 3);
    check_special(1, 1, "gpt-2", "", (int32_t[]){256, 257}, 2);
    check_special(1, 0, "gpt-2", "<s>a", (int32_t[]){256, 'a'}, 2);  // not doubled
    check_special(1, 0, "gpt-2", "a<s>", (int32_t[]){256, 'a', 256}, 3);
}

static void test_limit(void **state)
{
    struct tokenizer *tokenizer = open_special();
    struct prompt_text prompt = {"abcd<s>", 7, NULL, 0};
    struct token_list ids = {0};
    (void)state;
    for (size_t most = 1; most < 8; most++) {
        struct error err = {0};
        ids.n_ids = 0;
        assert_int_equal(tokenizer_encode(tokenizer, &prompt, false, 0, &ids, &err), OK);
        assert_int_equal(ids.n_ids, 4);  // ab c d <s>
        enum status status = tokenizer_encode(tokenizer, &prompt, false, most, &ids, &err);
        assert_int_equal(status, most < 4 ? ERR_LIMIT : OK);
        assert_int_equal(ids.n_ids, most < 4 ? 4 : 8);
    }
    token_list_release(&ids);
    tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_order),
        cmocka_unit_test(test_ignore_merges),
        cmocka_unit_test(test_merge_to_control),
        cmocka_unit_test(test_random_merges),
        cmocka_unit_test(test_long_word),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_missing_byte),
        cmocka_unit_test(test_provenance),
        cmocka_unit_test(test_spans_do_not_cut),
        cmocka_unit_test(test_many_spans),
        cmocka_unit_test(test_end_markers),
        cmocka_unit_test(test_bos_and_eos),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("bpe", tests, NULL, NULL);
}
