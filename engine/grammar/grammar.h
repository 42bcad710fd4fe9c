/* Constrained output: a JSON Schema, a regular expression, a list of choices or a GBNF grammar
 * compiled against a vocabulary, and the matcher that tells which tokens may come next.
 *
 * Only tokens whose bytes keep the text on the way to an accepted one are allowed, ends of
 * generation only where the text is accepted, control tokens never (but those that a marker names).
 * With a budget of tokens the text always comes to its end within it.
 *
 * The mask is a function of the grammar, the budget and the tokens so far; what a grammar remembers
 * between calls changes the time only. Grammars are shared by jobs and threads (a lock inside);
 * a matcher belongs to one thread at a time. */
#ifndef WICARA_GRAMMAR_GRAMMAR_H
#define WICARA_GRAMMAR_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct vocabulary;
struct grammar;
struct matcher;

enum {
    GRAMMAR_SOURCE_BYTES_MAX = 1 << 20,
    GRAMMAR_COMPILE_BYTES_MAX = 32 << 20,  // memory of compiling
    GRAMMAR_RUN_BYTES_MAX = 48 << 20,      // memory of a grammar at work; then it starts over
    GRAMMAR_COMPILE_WORK_MAX = 20000000,   // steps; about a second
    GRAMMAR_RUN_WORK_MAX = 20000000,       // steps of one call
    GRAMMAR_CHOICES_MAX = 10000,
    GRAMMAR_MARKER_BYTES_MAX = 256,
    GRAMMAR_CALLS_MAX = 128,  // in one list
};

enum grammar_kind {
    GRAMMAR_JSON_OBJECT,  // any JSON object; no text
    GRAMMAR_JSON_SCHEMA,
    GRAMMAR_REGEX,   // the whole text matches
    GRAMMAR_CHOICE,  // a JSON array of strings, one of which is the text
    GRAMMAR_GBNF,
};

/* The text is a reply that is free but for its calls, each of them what the source says, or a list
 * of such in brackets. */
struct grammar_calls {
    const char *open, *close;                  // markers around a call or list; close may be NULL
    const char *thought_open, *thought_close;  // of a thought that may come first, or NULL
    bool is_thinking;                          // the text begins inside of that thought
    bool is_bare;                              // a call may also stand without markers
};

struct grammar_source {
    enum grammar_kind kind;
    const char *text;
    size_t n_bytes;
    // JSON_SCHEMA: an absent additionalProperties means false, as strict schemas of OpenAI's API
    bool is_strict;
    // The text is free up to and with this marker (the end of the model's thinking), then come at
    // most two line feeds; NULL = constrained from its start. A marker that is the text of a
    // control token means that token.
    const char *free_until;
    const struct grammar_calls *calls;  // NULL = the text is what the source says
};

/* Errors: ERR_INVALID (bad syntax, nothing can match), ERR_UNSUPPORTED (names the JSON pointer, or
 * the place), ERR_LIMIT (names the limit), ERR_MEMORY. */
enum status grammar_compile(struct grammar **out, const struct vocabulary *vocabulary,
                            const struct grammar_source *source, struct error *err) MUST_CHECK;
struct grammar *grammar_ref(struct grammar *grammar);
void grammar_unref(struct grammar *grammar);
/* Tokens of the shortest text (found as the fewest that spell the cheapest text, so a bound that
 * can be reached). */
size_t grammar_tokens_min(const struct grammar *grammar);
size_t grammar_bytes(struct grammar *grammar);  // memory in use now

/* tokens_max: budget of the whole text, at least grammar_tokens_min(). Holds a reference. */
enum status matcher_create(struct matcher **out, struct grammar *grammar, size_t tokens_max,
                           struct error *err) MUST_CHECK;
void matcher_free(struct matcher *matcher);
/* Bits [n_words of the vocabulary] of the tokens that may come next, valid until the next call.
 * ERR_LIMIT when the grammar takes too much work here, ERR_MEMORY. */
enum status matcher_mask(struct matcher *matcher, const uint64_t **out,
                         struct error *err) MUST_CHECK;
/* The next token. ERR_INTERNAL when it is not allowed, else as matcher_mask(). */
enum status matcher_accept(struct matcher *matcher, int32_t token, struct error *err) MUST_CHECK;
bool matcher_is_accepting(const struct matcher *matcher);  // the text may end here
bool matcher_is_complete(const struct matcher *matcher);   // and nothing may follow

#endif
