/* Text that a grammar leaves free: a thought up to its end, and a reply around its calls.
 *
 * A marker that is the text of a control token means that token, in the tree the byte 0xFF and its
 * text; any other is found in the text wherever tokens part. A reply is
 *
 *   free | free OPEN call CLOSE reply          and where a call may come without its marker
 *        | call reply
 *
 * with free text in which no OPEN stands. A reply that begins like a bare call is one: a reader of
 * replies would take it for one whatever it holds, so here nothing else may begin so. The same
 * holds behind a call. */
#include "engine/grammar/build.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/vocabulary.h"

static bool is_control_text(const struct trie *trie, const char *text)
{
    size_t i = 0;
    while (i < trie->n_nodes && trie->nodes[i].byte != VOCABULARY_CONTROL_BYTE)
        i = trie->nodes[i].end;
    if (i == trie->n_nodes)
        return false;
    for (size_t child = i + 1, end = trie->nodes[i].end; child < end;) {
        if (trie->nodes[child].byte != (uint8_t)*text) {
            child = trie->nodes[child].end;
            continue;
        }
        if (*++text == '\0')
            return trie->nodes[child + 1].first_token > trie->nodes[child].first_token;
        end = trie->nodes[child++].end;
    }
    return false;
}

static term marker_term(struct terms *terms, const struct vocabulary *vocabulary,
                        const char *marker)
{
    term text = term_literal(terms, marker, strlen(marker));
    unsigned byte = VOCABULARY_CONTROL_BYTE;
    return is_control_text(&vocabulary->all, marker)
               ? term_cat(terms, term_range(terms, byte, byte), text)
               : text;
}

static term any_text(struct terms *terms)
{
    return term_repeat(terms, term_range(terms, 0, 255), 0, TERM_ENDLESS);
}

/* The texts that end with the first marker in them. */
static term up_to(struct terms *terms, term before, term marker)
{
    term ends = term_cat(terms, before, marker);
    term more = term_repeat(terms, term_range(terms, 0, 255), 1, TERM_ENDLESS);
    return term_and(terms, ends, term_not(terms, term_cat(terms, ends, more)));
}

term build_free_text(struct grammar_build *build, const struct vocabulary *vocabulary,
                     const char *marker)
{
    struct terms *terms = build->terms;
    struct byte_set text_bytes = {{0}};
    byte_set_add(&text_bytes, 0, VOCABULARY_CONTROL_BYTE - 1);
    term any = term_repeat(terms, term_class(terms, &text_bytes), 0, TERM_ENDLESS);
    term end = marker_term(terms, vocabulary, marker);
    // No control token stands in the text, so one that is the marker is the first by itself.
    term t = is_control_text(&vocabulary->all, marker) ? term_cat(terms, any, end)
                                                       : up_to(terms, any, end);
    return term_cat(terms, t, term_repeat(terms, term_range(terms, '\n', '\n'), 0, 2));
}

/* [call, ...] */
static node call_list(struct grammar_build *build, node call)
{
    struct nodes *nodes = build->nodes;
    struct terms *terms = build->terms;
    node blank = nodes_lexeme(nodes, build->blank);
    node comma = nodes_lexeme(
        nodes, term_cat(terms, build->blank, term_cat(terms, term_text(terms, ","), build->blank)));
    node more = nodes_repeat(nodes, nodes_sequence(nodes, comma, call), 0, GRAMMAR_CALLS_MAX - 1);
    node open = nodes_lexeme(nodes, term_cat(terms, term_text(terms, "["), build->blank));
    node close = nodes_sequence(nodes, blank, nodes_lexeme(nodes, term_text(terms, "]")));
    return nodes_sequence(nodes, open,
                          nodes_sequence(nodes, call, nodes_sequence(nodes, more, close)));
}

/* Texts that a reader takes for the beginning of something else than content. */
static term not_content(struct grammar_build *build, const struct vocabulary *vocabulary,
                        const struct grammar_calls *calls)
{
    struct terms *terms = build->terms;
    struct byte_set lead = {{0}};
    for (const char *c = calls->is_bare ? " \t\r\n;" : " \t\r\n"; *c != '\0'; c++)
        byte_set_add(&lead, (uint8_t)*c, (uint8_t)*c);
    term blanks = term_repeat(terms, term_class(terms, &lead), 0, TERM_ENDLESS), begins = TERM_NONE;
    if (calls->is_bare)
        begins = term_text(terms, "{");
    if (calls->thought_open != NULL && !calls->is_thinking)
        begins = term_alt(terms, begins, marker_term(terms, vocabulary, calls->thought_open));
    return term_cat(terms, blanks, term_cat(terms, begins, any_text(terms)));
}

/* A thought, which may also be cut off, and what follows it. */
static node add_thought(struct grammar_build *build, const struct vocabulary *vocabulary,
                        const struct grammar_calls *calls, node reply)
{
    struct terms *terms = build->terms;
    struct nodes *nodes = build->nodes;
    term any = any_text(terms), close = marker_term(terms, vocabulary, calls->thought_close);
    term feeds = term_repeat(terms, term_range(terms, '\n', '\n'), 0, 2);
    term whole = term_cat(terms, up_to(terms, any, close), feeds);
    term cut = term_not(terms, term_cat(terms, any, term_cat(terms, close, any)));
    node ways[3] = {
        nodes_sequence(nodes, nodes_lexeme(nodes, whole), reply),
        nodes_lexeme(nodes, cut),
    };
    node thought = nodes_alternative(nodes, ways, 2);
    if (calls->is_thinking)
        return thought;
    term open = term_cat(terms, feeds, marker_term(terms, vocabulary, calls->thought_open));
    node start[2] = {reply, nodes_sequence(nodes, nodes_lexeme(nodes, open), thought)};
    return nodes_alternative(nodes, start, 2);
}

node build_calls(struct grammar_build *build, const struct vocabulary *vocabulary,
                 const struct grammar_calls *calls, node call)
{
    struct terms *terms = build->terms;
    struct nodes *nodes = build->nodes;
    term open = marker_term(terms, vocabulary, calls->open), any = any_text(terms);
    term content = term_not(terms, not_content(build, vocabulary, calls));
    term without = term_not(terms, term_cat(terms, any, term_cat(terms, open, any)));
    term free = term_and(terms, without, content);
    term opened = term_and(terms, up_to(terms, any, open), content);
    node reply = nodes_reference(nodes), blank = nodes_lexeme(nodes, build->blank);
    node list = call_list(build, call), framed, ways[4];
    size_t n = 0;
    // Without an end marker, what follows an object might be taken for one more.
    node inside[2] = {list, call};
    framed = nodes_alternative(nodes, inside, calls->close != NULL || calls->is_bare ? 2 : 1);
    node rest = reply;
    if (calls->close != NULL) {
        term close = marker_term(terms, vocabulary, calls->close);
        rest =
            nodes_sequence(nodes, blank, nodes_sequence(nodes, nodes_lexeme(nodes, close), reply));
    }
    ways[n++] = nodes_lexeme(nodes, free);
    ways[n++] = nodes_sequence(nodes, nodes_lexeme(nodes, opened),
                               nodes_sequence(nodes, blank, nodes_sequence(nodes, framed, rest)));
    if (calls->is_bare)
        ways[n++] = nodes_sequence(nodes, blank, nodes_sequence(nodes, call, reply));
    nodes_set_reference(nodes, reply, nodes_alternative(nodes, ways, n));
    return calls->thought_close == NULL ? reply : add_thought(build, vocabulary, calls, reply);
}
