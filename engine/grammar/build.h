/* What the compilers of the kinds of grammar share: where they build, and a few JSON pieces. */
#ifndef WICARA_GRAMMAR_BUILD_H
#define WICARA_GRAMMAR_BUILD_H

#include "engine/grammar/chars.h"
#include "engine/grammar/nodes.h"

struct grammar_build {
    struct budget *budget;
    struct terms *terms;
    struct nodes *nodes;
    struct automaton *automaton;  // to find out what a term accepts; cleared afterwards
    term json_free, json_any;     // a character of a JSON string: in any spelling, in one
    term blank;                   // optional white space between JSON tokens, bounded
};

struct vocabulary;
struct grammar_calls;
/* Text up to and with the first marker in it, and up to two line feeds. */
term build_free_text(struct grammar_build *build, const struct vocabulary *vocabulary,
                     const char *marker);
/* A reply around any number of `call`s; see grammar.h. */
node build_calls(struct grammar_build *build, const struct vocabulary *vocabulary,
                 const struct grammar_calls *calls, node call);

/* All: the root on success. A failure of the budget is left to the caller. */
enum status build_json_object(struct grammar_build *build, node *root,
                              struct error *err) MUST_CHECK;
enum status build_json_schema(struct grammar_build *build, const char *text, size_t n_bytes,
                              bool is_strict, node *root, struct error *err) MUST_CHECK;
enum status build_choice(struct grammar_build *build, const char *text, size_t n_bytes, node *root,
                         struct error *err) MUST_CHECK;
enum status build_gbnf(struct grammar_build *build, const char *text, size_t n_bytes, node *root,
                       struct error *err) MUST_CHECK;

#endif
