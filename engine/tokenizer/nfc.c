/* Normalisation form C; see nfc.h.
 *
 * A text is cut into segments, at each character that neither moves nor joins with the one in front
 * of it; each segment is decomposed, its marks are put in the order of their classes, and what can
 * join is joined. Nearly all segments are one character that stays as it is. Marks are sorted by
 * counting, so that a segment of a million marks takes linear time.
 *
 * Source: Unicode Standard Annex 15 and chapter 3.12 (Hangul); tables: nfc_tables.c. */
#include "engine/tokenizer/nfc.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/nfc_tables.h"

enum {
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11a7,
    S_BASE = 0xac00,
    L_COUNT = 19,
    V_COUNT = 21,
    T_COUNT = 28,
    S_COUNT = L_COUNT * V_COUNT * T_COUNT,
    NORMAL_BYTES_MAX = 1 << 30,
    FIRST_MARK = 0x300,  // below it nothing moves or joins with what is in front of it
};

/* The characters of one segment. */
struct segment {
    uint32_t *codes;
    uint8_t *classes;
    size_t n, capacity;
    uint32_t *sorted;  // [capacity]
};

bool nfc_is_plain(const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        if ((unsigned char)bytes[i] >= 0xcc)  // first byte of U+0300
            return false;
    }
    return true;
}

/* ---- tables ---- */

static uint8_t class_of(uint32_t code)
{
    size_t low = 0, high = code < FIRST_MARK ? 0 : nfc_classes_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (code > nfc_classes[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = code >= FIRST_MARK && low < nfc_classes_count && code >= nfc_classes[low].first;
    return found ? nfc_classes[low].class : 0;
}

static const struct nfc_part *part_of(uint32_t code)
{
    size_t low = 0, high = nfc_parts_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (code > nfc_parts[middle].code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < nfc_parts_count && nfc_parts[low].code == code ? &nfc_parts[low] : NULL;
}

/* The two characters in one, 0 when they do not join. */
static uint32_t join(uint32_t first, uint32_t second)
{
    if (first - L_BASE < L_COUNT && second - V_BASE < V_COUNT)
        return S_BASE + ((first - L_BASE) * V_COUNT + (second - V_BASE)) * T_COUNT;
    if (first - S_BASE < S_COUNT && (first - S_BASE) % T_COUNT == 0 && second > T_BASE &&
        second < T_BASE + T_COUNT)
        return first + (second - T_BASE);
    size_t low = 0, high = nfc_pairs_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct nfc_pair *pair = &nfc_pairs[middle];
        if (first > pair->first || (first == pair->first && second > pair->second))
            low = middle + 1;
        else
            high = middle;
    }
    bool found =
        low < nfc_pairs_count && nfc_pairs[low].first == first && nfc_pairs[low].second == second;
    return found ? nfc_pairs[low].composed : 0;
}

/* Characters of class 0 that join with one in front of them. */
static bool joins_backwards(uint32_t code)
{
    if (code < FIRST_MARK)
        return false;
    if (code - V_BASE < V_COUNT || (code > T_BASE && code < T_BASE + T_COUNT))
        return true;
    for (size_t i = 0; i < nfc_joining_count; i++) {
        if (nfc_joining[i] == code)
            return true;
    }
    return false;
}

/* ---- one segment ---- */

static bool push(struct segment *segment, uint32_t code)
{
    if (segment->n == segment->capacity) {
        size_t wanted = segment->capacity ? 2 * segment->capacity : 64;
        uint32_t *codes = mem_realloc_array(segment->codes, wanted, sizeof *codes);
        if (codes)
            segment->codes = codes;
        uint8_t *classes = codes ? mem_realloc_array(segment->classes, wanted, 1) : NULL;
        if (classes)
            segment->classes = classes;
        uint32_t *sorted =
            classes ? mem_realloc_array(segment->sorted, wanted, sizeof *sorted) : NULL;
        if (!sorted)
            return false;
        segment->sorted = sorted;
        segment->capacity = wanted;
    }
    segment->codes[segment->n] = code;
    segment->classes[segment->n++] = class_of(code);
    return true;
}

static bool push_decomposed(struct segment *segment, uint32_t code)
{
    uint32_t syllable = code - S_BASE;
    if (syllable < S_COUNT) {
        uint32_t tail = syllable % T_COUNT;
        return push(segment, L_BASE + syllable / (V_COUNT * T_COUNT)) &&
               push(segment, V_BASE + syllable % (V_COUNT * T_COUNT) / T_COUNT) &&
               (tail == 0 || push(segment, T_BASE + tail));
    }
    const struct nfc_part *part = part_of(code);
    bool pushed = part || push(segment, code);
    for (size_t i = 0; part && i < part->n && (i == 0 || pushed); i++)
        pushed = push(segment, nfc_pool[part->at + i]);
    return pushed;
}

/* Sorts each run of marks by class, keeping the order within a class. */
static void sort_marks(struct segment *segment)
{
    for (size_t first = 0, last; first < segment->n; first = last) {
        size_t counts[257] = {0};
        for (last = first; last < segment->n && segment->classes[last]; last++)
            counts[segment->classes[last] + 1]++;
        if (last - first < 2) {
            last += last == first;
            continue;
        }
        for (size_t c = 1; c < 257; c++)
            counts[c] += counts[c - 1];
        for (size_t i = first; i < last; i++)
            segment->sorted[first + counts[segment->classes[i]]++] = segment->codes[i];
        for (size_t i = first; i < last; i++) {
            segment->codes[i] = segment->sorted[i];
            segment->classes[i] = class_of(segment->codes[i]);
        }
    }
}

/* Joins characters with the last starter in front of them, where nothing of the same or a higher
 * class stands between. */
static void compose(struct segment *segment)
{
    size_t n = 0, starter = SIZE_MAX;
    int last_class = -1;  // of what stands behind the starter
    for (size_t i = 0; i < segment->n; i++) {
        uint32_t code = segment->codes[i];
        int class = segment->classes[i];
        uint32_t joined =
            starter != SIZE_MAX && last_class < class ? join(segment->codes[starter], code) : 0;
        if (joined) {
            segment->codes[starter] = joined;
            continue;
        }
        if (class == 0) {
            starter = n;
            last_class = -1;
        } else {
            last_class = class;
        }
        segment->codes[n] = code;
        segment->classes[n++] = (uint8_t) class;
    }
    segment->n = n;
}

/* ---- the text ---- */

/* Ends the segment that starts at `at`; *alone when it is one character that stays as it is. */
static size_t find_end(const struct prompt_text *in, size_t at, size_t last, bool *alone)
{
    uint32_t code;
    size_t n = utf8_decode(in->bytes + at, last - at, &code);
    size_t end = at + (n ? n : 1), next;
    *alone = true;
    if (n == 0)  // a byte that is not UTF-8 carries no marks
        return end;
    *alone = (!part_of(code) && class_of(code) == 0);
    for (; end < last; end += next) {
        next = utf8_decode(in->bytes + end, last - end, &code);
        if (next == 0 || (class_of(code) == 0 && !joins_backwards(code)))
            break;
        *alone = false;
    }
    return end;
}

static bool add_span(struct nfc_text *out, size_t first, size_t last)
{
    if (out->n_spans > 0 && out->spans[out->n_spans - 1].last == first) {
        out->spans[out->n_spans - 1].last = last;
        return true;
    }
    if (out->n_spans == out->spans_max) {
        size_t wanted = out->spans_max ? 2 * out->spans_max : 16;
        struct text_span *spans = mem_realloc_array(out->spans, wanted, sizeof *spans);
        if (!spans)
            return false;
        out->spans = spans;
        out->spans_max = wanted;
    }
    out->spans[out->n_spans++] = (struct text_span){first, last};
    return true;
}

static bool normalize_segment(struct segment *segment, const char *bytes, size_t n_bytes,
                              struct buf *out)
{
    segment->n = 0;
    for (size_t i = 0; i < n_bytes;) {
        uint32_t code;
        i += utf8_decode(bytes + i, n_bytes - i, &code);
        if (!push_decomposed(segment, code))
            return false;
    }
    sort_marks(segment);
    compose(segment);
    for (size_t i = 0; i < segment->n; i++) {
        char encoded[4];
        buf_append(out, encoded, utf8_encode(segment->codes[i], encoded));
    }
    return true;
}

enum status nfc_normalize(struct nfc_text *out, const struct prompt_text *in, size_t first,
                          size_t last, struct error *err)
{
    struct segment segment = {0};
    size_t span = 0;
    bool fits = true;
    *out = (struct nfc_text){0};
    buf_init(&out->bytes, NORMAL_BYTES_MAX);
    for (size_t at = first, end; at < last && fits && !out->bytes.failed; at = end) {
        bool alone;
        size_t start = out->bytes.n_bytes;
        end = find_end(in, at, last, &alone);
        if (alone)
            buf_append(&out->bytes, in->bytes + at, end - at);
        else
            fits = normalize_segment(&segment, in->bytes + at, end - at, &out->bytes);
        while (span < in->n_untrusted && in->untrusted[span].last <= at)
            span++;
        bool untrusted = span < in->n_untrusted && in->untrusted[span].first < end;
        if (untrusted && fits && out->bytes.n_bytes > start)
            fits = add_span(out, start, out->bytes.n_bytes);
    }
    mem_free(segment.codes);
    mem_free(segment.classes);
    mem_free(segment.sorted);
    if (!fits)
        return error_set(err, ERR_MEMORY, "no memory to normalise a text");
    out->text = (struct prompt_text){.bytes = out->bytes.bytes,
                                     .n_bytes = out->bytes.n_bytes,
                                     .untrusted = out->spans,
                                     .n_untrusted = out->n_spans};
    return buf_status(&out->bytes, "the normalised text", err);
}

void nfc_release(struct nfc_text *text)
{
    buf_release(&text->bytes);
    mem_free(text->spans);
    *text = (struct nfc_text){0};
}
