/* Strings with provenance: making, slicing, joining and building them; see jinja_text.h. Searching
 * and splitting is in jinja_text_search.c.
 *
 * A text is a view: slices, strip and split share the bytes. Provenance is a three-way flag, and a
 * list of untrusted spans only for strings that mix both, so the usual strings cost nothing. Spans
 * of a view may reach past its end (they are shared as well) and are clipped when they are read.
 *
 * A concatenation leaves room behind its result, and the next one appends there in place when its
 * left side ends where that memory is used up to. Strings that grow in a loop therefore cost their
 * length, not its square; the older, shorter views stay valid because bytes are only added. */
#include "engine/template/jinja_text.h"

#include "engine/base/utf8.h"
#include "engine/template/jinja_unicode.h"

struct text_tail {
    char *bytes;
    size_t used, capacity;
    struct text_span *spans;  // all untrusted spans of bytes[0, used)
    size_t n_spans, span_capacity;
};

const struct text text_empty = {.bytes = ""};

/* ---- making texts ---- */

static struct text *text_create(struct jinja *j, const char *bytes, size_t n_bytes, bool untrusted)
{
    if (n_bytes >= UINT32_MAX)
        jinja_fail(j, ERR_LIMIT, "a string is longer than %u bytes", UINT32_MAX - 1);
    struct text *text = jinja_alloc(j, sizeof *text);
    text->bytes = bytes;
    text->n_bytes = (uint32_t)n_bytes;
    text->n_chars = n_bytes ? TEXT_CHARS_UNKNOWN : 0;
    text->taint = untrusted && n_bytes ? TAINT_ALL : TAINT_NONE;
    return text;
}

const struct text *text_borrow(struct jinja *j, const char *bytes, size_t n_bytes, bool untrusted)
{
    return text_create(j, bytes, n_bytes, untrusted);
}

const struct text *text_copy(struct jinja *j, const char *bytes, size_t n_bytes, bool untrusted)
{
    char *copy = jinja_alloc(j, n_bytes + 1);
    if (n_bytes)
        memcpy(copy, bytes, n_bytes);
    return text_create(j, copy, n_bytes, untrusted);
}

const struct text *text_literal(struct jinja *j, const char *literal)
{
    return text_create(j, literal, strlen(literal), false);
}

const struct text *text_with_markup(struct jinja *j, const struct text *text, bool markup)
{
    if (text->markup == markup)
        return text;
    struct text *copy = jinja_alloc(j, sizeof *copy);
    *copy = *text;
    copy->markup = markup;
    return copy;
}

/* Counts once; constants of a template are counted when they are made, so that a render never
 * writes to them. */
size_t text_chars(const struct text *text)
{
    if (text->n_chars == TEXT_CHARS_UNKNOWN) {
        uint32_t n = 0, c;
        for (size_t i = 0; i < text->n_bytes; n++)
            i += char_next(text->bytes + i, text->n_bytes - i, &c);
        ((struct text *)text)->n_chars = n;
    }
    return text->n_chars;
}

bool text_is_ascii(const struct text *text)
{
    return text_chars(text) == text->n_bytes;
}

bool text_equals(const struct text *text, const char *literal)
{
    size_t n = strlen(literal);
    return text->n_bytes == n && (n == 0 || memcmp(text->bytes, literal, n) == 0);
}

bool text_same(const struct text *a, const struct text *b)
{
    return a->n_bytes == b->n_bytes &&
           (a->n_bytes == 0 || a->bytes == b->bytes || memcmp(a->bytes, b->bytes, a->n_bytes) == 0);
}

/* ---- provenance ---- */

bool text_next_run(const struct text *text, struct text_run *run)
{
    size_t from = run->last;
    if (from >= text->n_bytes)
        return false;
    run->first = from;
    run->last = text->n_bytes;
    run->untrusted = text->taint == TAINT_ALL;
    if (text->taint != TAINT_SOME)
        return true;
    while (run->span < text->n_spans && text->spans[run->span].last <= from)
        run->span++;
    if (run->span == text->n_spans || text->spans[run->span].first >= text->n_bytes)
        return true;
    const struct text_span *span = &text->spans[run->span];
    run->untrusted = span->first <= from;
    size_t end = run->untrusted ? span->last : span->first;
    if (end < run->last)
        run->last = end;
    return true;
}

/* First span that ends after `offset`. */
static uint32_t span_at(const struct text *text, size_t offset)
{
    uint32_t low = 0, high = text->n_spans;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (text->spans[mid].last <= offset)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool text_range_untrusted(const struct text *text, size_t first, size_t last)
{
    if (text->taint != TAINT_SOME || first >= last)
        return text->taint == TAINT_ALL && first < last;
    uint32_t span = span_at(text, first);
    return span < text->n_spans && text->spans[span].first < last;
}

const struct text *text_slice(struct jinja *j, const struct text *text, size_t first, size_t last)
{
    if (first == 0 && last == text->n_bytes)
        return text;
    if (first >= last)
        return text->markup ? text_with_markup(j, &text_empty, true) : &text_empty;
    struct text *out = text_create(j, text->bytes + first, last - first, false);
    out->markup = text->markup;
    out->taint = text->taint;
    if (text->n_chars == text->n_bytes)
        out->n_chars = out->n_bytes;
    else  // somebody may count its characters
        jinja_step(j, (last - first) * JINJA_WALK_COST);
    if (text->taint != TAINT_SOME)
        return out;
    uint32_t from = span_at(text, first), to = from;
    while (to < text->n_spans && text->spans[to].first < last)
        to++;
    out->taint = TAINT_NONE;
    if (from == to)
        return out;
    if (to == from + 1 && text->spans[from].first <= first && text->spans[from].last >= last) {
        out->taint = TAINT_ALL;
        return out;
    }
    jinja_step(j, (to - from) * sizeof(struct text_span));
    struct text_span *spans = jinja_alloc_array(j, to - from, sizeof *spans);
    for (uint32_t i = from; i < to; i++) {
        size_t start = text->spans[i].first > first ? text->spans[i].first - first : 0;
        size_t end = text->spans[i].last < last ? text->spans[i].last - first : last - first;
        spans[i - from] = (struct text_span){start, end};
    }
    out->taint = TAINT_SOME;
    out->spans = spans;
    out->n_spans = to - from;
    return out;
}

size_t text_byte_of_char(const struct text *text, size_t char_index)
{
    if (text_is_ascii(text))
        return char_index;
    size_t at = 0;
    uint32_t c;
    while (char_index-- && at < text->n_bytes)
        at += char_next(text->bytes + at, text->n_bytes - at, &c);
    return at;
}

const struct text *text_slice_chars(struct jinja *j, const struct text *text, size_t first,
                                    size_t last)
{
    if (!text_is_ascii(text))
        jinja_step(j, (size_t)text->n_bytes * JINJA_WALK_COST);
    return text_slice(j, text, text_byte_of_char(text, first), text_byte_of_char(text, last));
}

/* ---- concatenation ---- */

static void tail_add_spans(struct jinja *j, struct text_tail *tail, const struct text *text)
{
    struct text_run run = TEXT_RUN_START;
    size_t base = tail->used;
    while (text_next_run(text, &run)) {
        if (!run.untrusted)
            continue;
        struct text_span *end = tail->n_spans ? &tail->spans[tail->n_spans - 1] : NULL;
        if (end && end->last == base + run.first) {
            end->last = base + run.last;
            continue;
        }
        if (tail->n_spans == tail->span_capacity) {
            size_t capacity = tail->span_capacity ? tail->span_capacity * 2 : 4;
            struct text_span *spans = jinja_alloc_array(j, capacity, sizeof *spans);
            if (tail->n_spans)
                memcpy(spans, tail->spans, tail->n_spans * sizeof *spans);
            tail->spans = spans;
            tail->span_capacity = capacity;
        }
        tail->spans[tail->n_spans++] = (struct text_span){base + run.first, base + run.last};
    }
}

static void tail_add(struct jinja *j, struct text_tail *tail, const struct text *text)
{
    tail_add_spans(j, tail, text);
    if (text->n_bytes)
        memcpy(tail->bytes + tail->used, text->bytes, text->n_bytes);
    tail->used += text->n_bytes;
}

/* All bytes of `tail` as a text. */
static const struct text *tail_text(struct jinja *j, struct text_tail *tail)
{
    struct text *out = text_create(j, tail->bytes, tail->used, false);
    out->tail = tail;
    if (tail->n_spans == 1 && tail->spans[0].first == 0 && tail->spans[0].last == tail->used) {
        out->taint = TAINT_ALL;
    } else if (tail->n_spans) {
        out->taint = TAINT_SOME;
        out->spans = tail->spans;
        out->n_spans = (uint32_t)tail->n_spans;
    }
    return out;
}

const struct text *text_concat(struct jinja *j, const struct text *a, const struct text *b)
{
    if (b->n_bytes == 0 || a->n_bytes == 0)
        return b->n_bytes == 0 ? a : b;
    jinja_step(j, b->n_bytes);
    /* Counted here, once, so that a text that grows need not be counted again as a whole. */
    if (a->n_chars == TEXT_CHARS_UNKNOWN)
        jinja_step(j, (size_t)a->n_bytes * JINJA_WALK_COST);
    if (b->n_chars == TEXT_CHARS_UNKNOWN)
        jinja_step(j, (size_t)b->n_bytes * JINJA_WALK_COST);
    uint32_t chars = (uint32_t)(text_chars(a) + text_chars(b));
    struct text_tail *tail = a->tail;
    bool whole = tail && a->bytes == tail->bytes && a->n_bytes == tail->used;
    size_t total = (size_t)a->n_bytes + b->n_bytes;
    if (!whole || tail->capacity < total) {
        /* Geometric from the second time on; the first result is often the last. */
        size_t room = whole ? total / 2 : 0;
        struct text_tail *fresh = jinja_alloc(j, sizeof *fresh);
        fresh->capacity = total + room + 64;
        fresh->bytes = jinja_alloc(j, fresh->capacity);
        jinja_step(j, a->n_bytes);
        tail_add(j, fresh, a);
        tail = fresh;
    }
    tail_add(j, tail, b);
    struct text *out = (struct text *)tail_text(j, tail);
    out->n_chars = chars;
    return out;
}

const struct text *text_repeat(struct jinja *j, const struct text *text, int64_t count)
{
    if (count <= 0 || text->n_bytes == 0)
        return text_with_markup(j, &text_empty, text->markup);
    if (count == 1)
        return text;
    if ((uint64_t)count > j->arena.bytes_max / text->n_bytes)
        jinja_fail(j, ERR_LIMIT, "a string repeated %lld times is larger than %zu bytes",
                   (long long)count, j->arena.bytes_max);
    struct text_builder b;
    builder_init(&b, j);
    builder_fill(&b, text, (size_t)count);
    return text_with_markup(j, builder_finish(&b), text->markup);
}

const struct text *text_escape(struct jinja *j, const struct text *text)
{
    if (text->markup)
        return text;
    struct text_builder b;
    builder_init(&b, j);
    size_t plain = 0;
    for (size_t i = 0; i < text->n_bytes; i++) {
        const char *to = NULL;
        switch (text->bytes[i]) {
        case '&':
            to = "&amp;";
            break;
        case '<':
            to = "&lt;";
            break;
        case '>':
            to = "&gt;";
            break;
        case '"':
            to = "&#34;";
            break;
        case '\'':
            to = "&#39;";
            break;
        }
        if (!to)
            continue;
        builder_slice(&b, text, plain, i);
        builder_bytes(&b, to, strlen(to), text_range_untrusted(text, i, i + 1));
        plain = i + 1;
    }
    builder_slice(&b, text, plain, text->n_bytes);
    return text_with_markup(j, builder_finish(&b), true);
}

/* ---- builder ---- */

void builder_init(struct text_builder *b, struct jinja *j)
{
    *b = (struct text_builder){.j = j};
}

static void builder_grow(struct text_builder *b, size_t n_bytes)
{
    if (n_bytes <= b->capacity - b->n_bytes)
        return;
    size_t capacity = b->capacity ? b->capacity * 2 : 64;
    if (capacity - b->n_bytes < n_bytes)
        capacity = b->n_bytes + n_bytes;
    char *bytes = jinja_alloc(b->j, capacity);
    if (b->n_bytes)
        memcpy(bytes, b->bytes, b->n_bytes);
    b->bytes = bytes;
    b->capacity = capacity;
}

static void builder_add_span(struct text_builder *b, size_t first, size_t last)
{
    if (b->n_spans && b->spans[b->n_spans - 1].last == first) {
        b->spans[b->n_spans - 1].last = last;
        return;
    }
    if (b->n_spans == b->span_capacity) {
        size_t capacity = b->span_capacity ? b->span_capacity * 2 : 4;
        struct text_span *spans = jinja_alloc_array(b->j, capacity, sizeof *spans);
        if (b->n_spans)
            memcpy(spans, b->spans, b->n_spans * sizeof *spans);
        b->spans = spans;
        b->span_capacity = capacity;
    }
    b->spans[b->n_spans++] = (struct text_span){first, last};
}

void builder_bytes(struct text_builder *b, const char *bytes, size_t n_bytes, bool untrusted)
{
    if (n_bytes == 0)
        return;
    b->owed += n_bytes;
    if (b->owed >= 256) {
        jinja_step(b->j, b->owed);
        b->owed = 0;
    }
    builder_grow(b, n_bytes);
    memcpy(b->bytes + b->n_bytes, bytes, n_bytes);
    if (untrusted)
        builder_add_span(b, b->n_bytes, b->n_bytes + n_bytes);
    b->n_bytes += n_bytes;
}

void builder_literal(struct text_builder *b, const char *literal)
{
    builder_bytes(b, literal, strlen(literal), false);
}

void builder_char(struct text_builder *b, uint32_t code_point, bool untrusted)
{
    char bytes[4];
    builder_bytes(b, bytes, utf8_encode(code_point, bytes), untrusted);
}

void builder_slice(struct text_builder *b, const struct text *text, size_t first, size_t last)
{
    if (first >= last)
        return;
    if (text->taint != TAINT_SOME) {
        builder_bytes(b, text->bytes + first, last - first, text->taint == TAINT_ALL);
        return;
    }
    for (uint32_t span = span_at(text, first); first < last;) {
        bool within = span < text->n_spans && text->spans[span].first <= first;
        size_t end = last;
        if (span < text->n_spans) {
            size_t edge = within ? text->spans[span].last : text->spans[span].first;
            if (edge < end)
                end = edge;
        }
        builder_bytes(b, text->bytes + first, end - first, within);
        if (within)
            span++;
        first = end;
    }
}

void builder_text(struct text_builder *b, const struct text *text)
{
    builder_slice(b, text, 0, text->n_bytes);
}

void builder_fill(struct text_builder *b, const struct text *fill, size_t count)
{
    size_t total;
    if (!size_mul(count, fill->n_bytes, &total) || total > b->j->arena.bytes_max)
        jinja_fail(b->j, ERR_LIMIT, "a string is larger than %zu bytes", b->j->arena.bytes_max);
    if (total == 0)
        return;
    builder_grow(b, total);
    jinja_step(b->j, total);
    if (fill->taint == TAINT_SOME) {
        while (count--)
            builder_text(b, fill);
        return;
    }
    if (fill->taint == TAINT_ALL)
        builder_add_span(b, b->n_bytes, b->n_bytes + total);
    if (fill->n_bytes == 1)
        memset(b->bytes + b->n_bytes, fill->bytes[0], total);
    for (size_t at = 0; fill->n_bytes > 1 && at < total; at += fill->n_bytes)
        memcpy(b->bytes + b->n_bytes + at, fill->bytes, fill->n_bytes);
    b->n_bytes += total;
}

const struct text *builder_finish(struct text_builder *b)
{
    if (b->n_bytes == 0)
        return &text_empty;
    struct text *out = text_create(b->j, b->bytes, b->n_bytes, false);
    if (b->n_spans == 1 && b->spans[0].first == 0 && b->spans[0].last == b->n_bytes) {
        out->taint = TAINT_ALL;
    } else if (b->n_spans) {
        out->taint = TAINT_SOME;
        out->spans = b->spans;
        out->n_spans = (uint32_t)b->n_spans;
    }
    return out;
}

bool builder_untrusted(const struct text_builder *b)
{
    return b->n_spans > 0;
}
