/* Searching, replacing, stripping and splitting strings; see jinja_text.h.
 *
 * Pieces are views of the whole, with its provenance. Every loop counts its work, so that a long
 * content cannot be searched a million times for free. */
#include "engine/template/jinja_text.h"
#include "engine/template/jinja_unicode.h"

/* ---- search ---- */

size_t text_find(const struct text *text, const struct text *needle, size_t from)
{
    if (from > text->n_bytes || needle->n_bytes > text->n_bytes - from)
        return SIZE_MAX;
    if (needle->n_bytes == 0)
        return from;
    const char *hit =
        memmem(text->bytes + from, text->n_bytes - from, needle->bytes, needle->n_bytes);
    return hit ? (size_t)(hit - text->bytes) : SIZE_MAX;
}

size_t text_rfind(const struct text *text, const struct text *needle, size_t to)
{
    if (to > text->n_bytes)
        to = text->n_bytes;
    if (needle->n_bytes > to)
        return SIZE_MAX;
    if (needle->n_bytes == 0)
        return to;
    for (size_t at = to - needle->n_bytes + 1; at-- > 0;) {
        if (text->bytes[at] == needle->bytes[0] &&
            memcmp(text->bytes + at, needle->bytes, needle->n_bytes) == 0)
            return at;
    }
    return SIZE_MAX;
}

void text_count_hit(struct jinja *j, size_t *hits)
{
    if (++*hits % 16 == 0)
        jinja_step(j, 0);
}

const struct text *text_replace(struct jinja *j, const struct text *text, const struct text *from,
                                const struct text *to, int64_t count_max)
{
    jinja_step(j, text->n_bytes);
    uint64_t left = count_max < 0 ? UINT64_MAX : (uint64_t)count_max;
    size_t at = 0, hit, hits = 0;
    if (left == 0 || (hit = text_find(text, from, 0)) == SIZE_MAX)
        return text;
    struct text_builder b;
    builder_init(&b, j);
    if (from->n_bytes == 0) {  // between all characters and at both ends
        uint32_t c;
        builder_text(&b, to);
        for (left--; left && at < text->n_bytes; left--) {
            size_t n = char_next(text->bytes + at, text->n_bytes - at, &c);
            builder_slice(&b, text, at, at + n);
            builder_text(&b, to);
            at += n;
        }
    } else {
        for (; left && hit != SIZE_MAX; left--) {
            text_count_hit(j, &hits);
            builder_slice(&b, text, at, hit);
            builder_text(&b, to);
            at = hit + from->n_bytes;
            hit = text_find(text, from, at);
        }
    }
    builder_slice(&b, text, at, text->n_bytes);
    return text_with_markup(j, builder_finish(&b), text->markup);
}

static bool strips(const struct text *chars, const char *bytes, size_t n)
{
    if (chars) {
        const struct text one = {.bytes = bytes, .n_bytes = (uint32_t)n};
        return text_find(chars, &one, 0) != SIZE_MAX;
    }
    uint32_t c;
    char_next(bytes, n, &c);
    return char_is_space(c);
}

const struct text *text_strip(struct jinja *j, const struct text *text, const struct text *chars,
                              enum text_side side)
{
    size_t first = 0, last = text->n_bytes;
    uint32_t c;
    while ((side & TEXT_LEFT) && first < last) {
        size_t n = char_next(text->bytes + first, last - first, &c);
        if (!strips(chars, text->bytes + first, n))
            break;
        first += n;
    }
    while ((side & TEXT_RIGHT) && last > first) {
        size_t start = last - 1;
        while (start > first && ((unsigned char)text->bytes[start] & 0xc0) == 0x80)
            start--;
        if (!strips(chars, text->bytes + start, last - start))
            break;
        last = start;
    }
    jinja_step(j, (first + text->n_bytes - last) * JINJA_WALK_COST *
                      (chars ? 1 + chars->n_bytes / 16 : 1));
    return text_slice(j, text, first, last);
}

/* ---- split ---- */

static void add_piece(struct jinja *j, struct list *list, const struct text *text, size_t first,
                      size_t last)
{
    jinja_step(j, 0);
    list_append(j, list, value_text(text_slice(j, text, first, last)));
}

static size_t skip_space(const struct text *text, size_t at, bool space)
{
    while (at < text->n_bytes) {
        uint32_t c;
        size_t n = char_next(text->bytes + at, text->n_bytes - at, &c);
        if (char_is_space(c) != space)
            break;
        at += n;
    }
    return at;
}

static struct list *split_space(struct jinja *j, const struct text *text, uint64_t left)
{
    jinja_step(j, (size_t)text->n_bytes * JINJA_WALK_COST);
    struct list *list = list_create(j, 4);
    size_t at = skip_space(text, 0, true);
    for (; at < text->n_bytes && left; left--) {
        size_t end = skip_space(text, at, false);
        add_piece(j, list, text, at, end);
        at = skip_space(text, end, true);
    }
    if (at < text->n_bytes)  // keeps the white space at its end
        add_piece(j, list, text, at, text->n_bytes);
    return list;
}

struct list *text_split(struct jinja *j, const struct text *text, const struct text *separator,
                        int64_t splits_max)
{
    jinja_step(j, text->n_bytes);
    uint64_t left = splits_max < 0 ? UINT64_MAX : (uint64_t)splits_max;
    if (!separator)
        return split_space(j, text, left);
    if (separator->n_bytes == 0)
        jinja_fail(j, ERR_INVALID, "empty separator");
    struct list *list = list_create(j, 4);
    size_t at = 0;
    for (; left; left--) {
        size_t hit = text_find(text, separator, at);
        if (hit == SIZE_MAX)
            break;
        add_piece(j, list, text, at, hit);
        at = hit + separator->n_bytes;
    }
    add_piece(j, list, text, at, text->n_bytes);
    return list;
}

static void list_reverse(struct list *list)
{
    for (size_t a = 0, b = list->n_items; a + 1 < b; a++, b--) {
        struct value swap = list->items[a];
        list->items[a] = list->items[b - 1];
        list->items[b - 1] = swap;
    }
}

/* Start of the last run of characters that are (not) space, in bytes [0, end). */
static size_t back_space(const struct text *text, size_t end, bool space)
{
    while (end > 0) {
        size_t start = end - 1;
        while (start > 0 && ((unsigned char)text->bytes[start] & 0xc0) == 0x80)
            start--;
        uint32_t c;
        char_next(text->bytes + start, end - start, &c);
        if (char_is_space(c) != space)
            break;
        end = start;
    }
    return end;
}

struct list *text_rsplit(struct jinja *j, const struct text *text, const struct text *separator,
                         int64_t splits_max)
{
    jinja_step(j, text->n_bytes * (1 + (separator ? separator->n_bytes / 16 : 0)));
    uint64_t left = splits_max < 0 ? UINT64_MAX : (uint64_t)splits_max;
    struct list *list = list_create(j, 4);
    size_t end = text->n_bytes;
    if (!separator) {
        end = back_space(text, end, true);
        for (; end > 0 && left; left--) {
            size_t start = back_space(text, end, false);
            add_piece(j, list, text, start, end);
            end = back_space(text, start, true);
        }
        if (end > 0)
            add_piece(j, list, text, 0, end);
    } else {
        if (separator->n_bytes == 0)
            jinja_fail(j, ERR_INVALID, "empty separator");
        for (; left; left--) {
            size_t hit = text_rfind(text, separator, end);
            if (hit == SIZE_MAX)
                break;
            add_piece(j, list, text, hit + separator->n_bytes, end);
            end = hit;
        }
        add_piece(j, list, text, 0, end);
    }
    list_reverse(list);
    return list;
}

static bool is_line_end(uint32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

struct list *text_splitlines(struct jinja *j, const struct text *text, bool keep_ends)
{
    jinja_step(j, (size_t)text->n_bytes * JINJA_WALK_COST);
    struct list *list = list_create(j, 4);
    size_t start = 0, at = 0;
    while (at < text->n_bytes) {
        uint32_t c;
        size_t n = char_next(text->bytes + at, text->n_bytes - at, &c);
        if (is_line_end(c)) {
            if (c == '\r' && at + 1 < text->n_bytes && text->bytes[at + 1] == '\n')
                n = 2;
            add_piece(j, list, text, start, keep_ends ? at + n : at);
            start = at + n;
        }
        at += n;
    }
    if (start < text->n_bytes)
        add_piece(j, list, text, start, text->n_bytes);
    return list;
}
