/* Stop strings: the output and the match are those of a plain search, for every split of the
 * text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/rng.h"
#include "engine/scheduler/stop_matcher.h"

enum { STOPS = 4, TEXT = 40 };

/* The stop string that ends first, the longest of those that end there; by looking everywhere. */
static size_t search(const char *text, size_t n, const char *const *stops, size_t n_stops,
                     const char **match)
{
    for (size_t end = 1; end <= n; end++) {
        const char *best = NULL;
        for (size_t i = 0; i < n_stops; i++) {
            size_t length = strlen(stops[i]);
            if (length <= end && memcmp(text + end - length, stops[i], length) == 0 &&
                (best == NULL || length > strlen(best)))
                best = stops[i];
        }
        if (best != NULL) {
            *match = best;
            return end - strlen(best);
        }
    }
    *match = NULL;
    return n;
}

static void any_split_gives_the_same(void **state)
{
    (void)state;
    uint32_t draw = 0;
    size_t matches = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        char text[TEXT + 1] = {0}, words[STOPS][8] = {{0}};
        const char *stops[STOPS];
        size_t stop_bytes[STOPS], n_stops = rng_bits(1, 0, 0, draw++) % (STOPS + 1);
        size_t n = rng_bits(1, 0, 0, draw++) % (TEXT + 1);
        for (size_t i = 0; i < n; i++)
            text[i] = (char)('a' + rng_bits(1, 0, 0, draw++) % 2);
        for (size_t s = 0; s < n_stops; s++) {
            stop_bytes[s] = 1 + rng_bits(1, 0, 0, draw++) % 7;
            for (size_t i = 0; i < stop_bytes[s]; i++)
                words[s][i] = (char)('a' + rng_bits(1, 0, 0, draw++) % 2);
            stops[s] = words[s];
        }
        const char *want_match;
        size_t want = search(text, n, stops, n_stops, &want_match);
        struct stop_matcher matcher;
        struct buf out;
        stop_matcher_init(&matcher, stops, stop_bytes, n_stops);
        buf_init(&out, 1000);
        for (size_t at = 0; at < n;) {
            size_t part = 1 + rng_bits(1, 0, 0, draw++) % 5;
            part = part < n - at ? part : n - at;
            assert_true(stop_matcher_push(&matcher, text + at, part, &out));
            at += part;
            // Never shown: a byte that belongs to the match, and no more held than can be one.
            assert_true(out.n_bytes <= want);
            assert_true(matcher.held.n_bytes < 8);
        }
        if (matcher.match == NULL)
            assert_true(stop_matcher_flush(&matcher, &out));
        assert_int_equal(out.n_bytes, want);
        assert_memory_equal(out.bytes != NULL ? out.bytes : "", text, want);
        assert_int_equal(matcher.match == NULL, want_match == NULL);
        if (want_match != NULL)
            assert_string_equal(matcher.match, want_match);
        matches += want_match != NULL;
        buf_release(&out);
        stop_matcher_release(&matcher);
    }
    assert_true(matches > 5000);
}

static void what_cannot_match_is_shown_at_once(void **state)
{
    (void)state;
    static const char *const stops[] = {"\n\nUser:", "END"};
    static const size_t bytes[] = {7, 3};
    static const struct {
        const char *push, *shown;
    } steps[] = {{"Hello", "Hello"}, {"\n", ""},   {"\n", ""},     {"You", "\n\nYou"}, {" E", " "},
                 {"N", ""},          {"T", "ENT"}, {"\n\nUs", ""}, {"er", ""},         {":x", ""}};
    struct stop_matcher matcher;
    stop_matcher_init(&matcher, stops, bytes, 2);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct buf out;
        buf_init(&out, 1000);
        assert_true(stop_matcher_push(&matcher, steps[i].push, strlen(steps[i].push), &out));
        assert_string_equal(out.bytes != NULL ? out.bytes : "", steps[i].shown);
        buf_release(&out);
    }
    assert_string_equal(matcher.match, "\n\nUser:");
    stop_matcher_release(&matcher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_gives_the_same),
        cmocka_unit_test(what_cannot_match_is_shown_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
