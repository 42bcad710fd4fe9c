/* Case conversions and character tests of strings; see jinja_casing.h.
 *
 * Provenance goes by character: what a character becomes is as trusted as the character was. */
#include "engine/template/jinja_casing.h"

/* Calls `convert` for each character with whether the one before was cased. */
struct walk {
    struct text_builder b;
    const struct text *text;
    size_t at, bytes;  // the character at hand
    uint32_t c;
    struct text_run run;
};

static bool walk_next(struct walk *w)
{
    w->at += w->bytes;
    if (w->at >= w->text->n_bytes)
        return false;
    w->bytes = char_next(w->text->bytes + w->at, w->text->n_bytes - w->at, &w->c);
    while (w->run.last <= w->at)
        text_next_run(w->text, &w->run);
    return true;
}

static struct walk walk_start(struct jinja *j, const struct text *text)
{
    struct walk w = {.text = text, .run = TEXT_RUN_START};
    jinja_step(j, (size_t)text->n_bytes * JINJA_WALK_COST);
    builder_init(&w.b, j);
    return w;
}

static const struct text *walk_finish(struct walk *w)
{
    return text_with_markup(w->b.j, builder_finish(&w->b), w->text->markup);
}

/* A capital sigma at the end of a word becomes the final one: a cased letter before it, none
 * behind, not counting what is ignored for case. */
static bool is_final_sigma(const struct text *text, size_t at, size_t behind)
{
    uint32_t c = 0;
    size_t before = at;
    bool cased_before = false;
    while (before > 0) {
        size_t start = before - 1;
        while (start > 0 && ((unsigned char)text->bytes[start] & 0xc0) == 0x80)
            start--;
        char_next(text->bytes + start, before - start, &c);
        before = start;
        if (char_is(CHAR_IGNORABLE, c))
            continue;
        cased_before = char_is_cased(c);
        break;
    }
    while (cased_before && behind < text->n_bytes) {
        behind += char_next(text->bytes + behind, text->n_bytes - behind, &c);
        if (!char_is(CHAR_IGNORABLE, c))
            return !char_is_cased(c);
    }
    return cased_before;
}

static void put_case(struct walk *w, enum char_case to)
{
    uint32_t out[3];
    size_t n = 1;
    if (to == CASE_LOWER && w->c == 0x3a3) {
        out[0] = is_final_sigma(w->text, w->at, w->at + w->bytes) ? 0x3c2 : 0x3c3;
    } else {
        n = char_convert(to, w->c, out);
    }
    for (size_t i = 0; i < n; i++)
        builder_char(&w->b, out[i], w->run.untrusted);
}

static const struct text *convert_all(struct jinja *j, const struct text *text, enum char_case to)
{
    if (text_is_ascii(text)) {
        char *bytes = jinja_alloc(j, (size_t)text->n_bytes + 1);
        bool up = to == CASE_UPPER;
        for (size_t i = 0; i < text->n_bytes; i++) {
            char c = text->bytes[i];
            bool turn = up ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z';
            bytes[i] = turn ? (char)(c ^ 32) : c;
        }
        jinja_step(j, text->n_bytes);
        struct text *out = jinja_alloc(j, sizeof *out);
        *out = *text;  // the same spans
        out->bytes = bytes;
        out->tail = NULL;
        return out;
    }
    struct walk w = walk_start(j, text);
    while (walk_next(&w))
        put_case(&w, to);
    return walk_finish(&w);
}

const struct text *text_upper(struct jinja *j, const struct text *text)
{
    return convert_all(j, text, CASE_UPPER);
}

const struct text *text_lower(struct jinja *j, const struct text *text)
{
    return convert_all(j, text, CASE_LOWER);
}

const struct text *text_casefold(struct jinja *j, const struct text *text)
{
    return convert_all(j, text, CASE_FOLD);
}

const struct text *text_capitalize(struct jinja *j, const struct text *text)
{
    struct walk w = walk_start(j, text);
    while (walk_next(&w))
        put_case(&w, w.at == 0 ? CASE_TITLE : CASE_LOWER);
    return walk_finish(&w);
}

const struct text *text_swapcase(struct jinja *j, const struct text *text)
{
    struct walk w = walk_start(j, text);
    while (walk_next(&w)) {
        if (char_is(CHAR_UPPER, w.c))
            put_case(&w, CASE_LOWER);
        else if (char_is(CHAR_LOWER, w.c))
            put_case(&w, CASE_UPPER);
        else
            builder_slice(&w.b, text, w.at, w.at + w.bytes);
    }
    return walk_finish(&w);
}

const struct text *text_title(struct jinja *j, const struct text *text)
{
    struct walk w = walk_start(j, text);
    bool in_word = false;
    while (walk_next(&w)) {
        put_case(&w, in_word ? CASE_LOWER : CASE_TITLE);
        in_word = char_is_cased(w.c);
    }
    return walk_finish(&w);
}

static bool ends_word(uint32_t c)
{
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || char_is_space(c);
}

const struct text *text_title_words(struct jinja *j, const struct text *text)
{
    struct text_builder b;
    builder_init(&b, j);
    size_t start = 0, at = 0;
    while (at < text->n_bytes) {
        /* A run of separators or of other characters: its first character up, the rest down. */
        uint32_t c, first;
        size_t head = char_next(text->bytes + at, text->n_bytes - at, &first);
        start = at;
        at += head;
        while (at < text->n_bytes) {
            size_t n = char_next(text->bytes + at, text->n_bytes - at, &c);
            if (ends_word(c) != ends_word(first))
                break;
            at += n;
        }
        builder_text(&b, text_upper(j, text_slice(j, text, start, start + head)));
        builder_text(&b, text_lower(j, text_slice(j, text, start + head, at)));
    }
    return builder_finish(&b);
}

/* ---- tests ---- */

static bool all_of_case(const struct text *text, enum char_class wanted)
{
    enum char_class other = wanted == CHAR_UPPER ? CHAR_LOWER : CHAR_UPPER;
    bool any = false;
    uint32_t c;
    for (size_t at = 0; at < text->n_bytes;) {
        at += char_next(text->bytes + at, text->n_bytes - at, &c);
        if (char_is(other, c) || char_is(CHAR_TITLE, c))
            return false;
        any = any || char_is(wanted, c);
    }
    return any;
}

bool text_is_upper(const struct text *text)
{
    return all_of_case(text, CHAR_UPPER);
}

bool text_is_lower(const struct text *text)
{
    return all_of_case(text, CHAR_LOWER);
}

bool text_is_title(const struct text *text)
{
    bool any = false, in_word = false;
    uint32_t c;
    for (size_t at = 0; at < text->n_bytes;) {
        at += char_next(text->bytes + at, text->n_bytes - at, &c);
        bool up = char_is(CHAR_UPPER, c) || char_is(CHAR_TITLE, c);
        bool low = !up && char_is(CHAR_LOWER, c);
        if ((up && in_word) || (low && !in_word))
            return false;
        in_word = up || low;
        any = any || in_word;
    }
    return any;
}

bool text_is_space(const struct text *text)
{
    uint32_t c;
    for (size_t at = 0; at < text->n_bytes;) {
        at += char_next(text->bytes + at, text->n_bytes - at, &c);
        if (!char_is_space(c))
            return false;
    }
    return text->n_bytes > 0;
}

bool text_is_of(const struct text *text, unsigned classes)
{
    uint32_t c;
    for (size_t at = 0; at < text->n_bytes;) {
        at += char_next(text->bytes + at, text->n_bytes - at, &c);
        bool hit = false;
        for (unsigned class = 0; class <= CHAR_IGNORABLE && !hit; class ++)
            hit = (classes >> class & 1) && char_is((enum char_class) class, c);
        if (!hit)
            return false;
    }
    return text->n_bytes > 0;
}
