/* The strict JSON check; see json_scan.h.
 *
 * One pass with an explicit stack of open brackets. The names of all objects are kept as a hash and
 * a span in one table, and compared on a hash hit only. The hash is a polynomial over the
 * characters at a point that is drawn for each scan, so nobody can prepare names that collide and
 * the pass is linear in expectation for every input. Escaped spellings of one name are equal names:
 * names are hashed and compared after unescaping. Sources: RFC 8259; Carter and Wegman 1979 for the
 * hash. */
#include "engine/base/json_scan.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/hex.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/base/utf8.h"

#define HASH_PRIME ((UINT64_C(1) << 61) - 1)

struct name {
    uint64_t hash;       // below HASH_PRIME
    size_t first, last;  // span of the raw text between the quotes
    uint32_t object;     // serial number of its object
};

struct scan {
    const char *text;
    size_t n_bytes;
    size_t at;
    size_t n_nodes;
    struct json_limits limits;
    struct name *names;  // open-addressing table, object 0 = free slot
    size_t n_slots;      // power of two
    size_t n_names;
    uint64_t hash_point;  // below HASH_PRIME; 0 = not drawn yet
    struct error *err;
};

static enum status scan_fail(struct scan *scan, size_t at, const char *what)
{
    return error_set(scan->err, ERR_INVALID, "invalid JSON at byte %zu: %s", at, what);
}

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->n_bytes) {
        char c = scan->text[scan->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return;
        scan->at++;
    }
}

/* Four hex digits at `at`, -1 when they are not. */
static int32_t hex4(const struct scan *scan, size_t at)
{
    if (scan->n_bytes - at < 4)
        return -1;
    int32_t value = 0;
    for (size_t i = at; i < at + 4; i++) {
        int digit = hex_digit(scan->text[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* One unit of a string at *at: its code point in *out, or an error text. Moves *at behind it. */
static const char *string_unit(const struct scan *scan, size_t *at, uint32_t *out)
{
    unsigned char c = (unsigned char)scan->text[*at];
    if (c < 0x20)
        return "control character in a string";
    if (c != '\\') {
        size_t n = utf8_decode(scan->text + *at, scan->n_bytes - *at, out);
        if (n == 0)
            return "not valid UTF-8";
        *at += n;
        return NULL;
    }
    if (scan->n_bytes - *at < 2)
        return "string is not closed";
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char escape = scan->text[*at + 1];
    const char *found = escape ? strchr(letters, escape) : NULL;
    if (found) {
        *out = (unsigned char)values[found - letters];
        *at += 2;
        return NULL;
    }
    if (escape != 'u')
        return "unknown escape in a string";
    int32_t unit = hex4(scan, *at + 2);
    if (unit < 0)
        return "\\u needs four hexadecimal digits";
    if (unit == 0)
        return "\\u0000 is not accepted";
    *at += 6;
    *out = (uint32_t)unit;
    if (unit < 0xd800 || unit > 0xdfff)
        return NULL;
    if (unit > 0xdbff || scan->n_bytes - *at < 6 || scan->text[*at] != '\\' ||
        scan->text[*at + 1] != 'u')
        return "lone surrogate";
    int32_t low = hex4(scan, *at + 2);
    if (low < 0xdc00 || low > 0xdfff)
        return "lone surrogate";
    *at += 6;
    *out = 0x10000 + (((uint32_t)unit - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    return NULL;
}

/* hash * point + unit modulo the prime. */
static uint64_t hash_step(uint64_t hash, uint64_t point, uint32_t unit)
{
    unsigned __int128 product = (unsigned __int128)hash * point + unit;
    uint64_t sum = (uint64_t)(product & HASH_PRIME) + (uint64_t)(product >> 61);
    return sum >= HASH_PRIME ? sum - HASH_PRIME : sum;
}

/* The string whose opening quote is at `at`; its span and the hash of its unescaped text. */
static enum status scan_string(struct scan *scan, struct name *out)
{
    out->first = ++scan->at;
    uint64_t hash = 1;  // so that the length counts too
    while (scan->at < scan->n_bytes && scan->text[scan->at] != '"') {
        size_t at = scan->at;
        uint32_t unit;
        const char *wrong = string_unit(scan, &scan->at, &unit);
        if (wrong)
            return scan_fail(scan, at, wrong);
        hash = hash_step(hash, scan->hash_point, unit);
    }
    if (scan->at >= scan->n_bytes)
        return scan_fail(scan, scan->at, "string is not closed");
    out->last = scan->at++;
    out->hash = hash_step(hash, scan->hash_point, 0);  // the last unit is multiplied as well
    return OK;
}

static bool names_equal(const struct scan *scan, const struct name *a, const struct name *b)
{
    size_t i = a->first, j = b->first;
    while (i < a->last && j < b->last) {
        uint32_t x = 0, y = 0;
        string_unit(scan, &i, &x);
        string_unit(scan, &j, &y);
        if (x != y)
            return false;
    }
    return i == a->last && j == b->last;
}

static size_t name_slot(const struct scan *scan, const struct name *name)
{
    uint64_t mixed = (name->hash + name->object * 0xbf58476d1ce4e5b9ull) * 0x9e3779b97f4a7c15ull;
    return (size_t)(mixed >> 32) & (scan->n_slots - 1);
}

static bool names_grow(struct scan *scan)
{
    struct name *old = scan->names;
    size_t n_old = scan->n_slots;
    size_t n_slots = n_old ? n_old * 2 : 64;
    struct name *slots = mem_calloc(n_slots, sizeof *slots);
    if (!slots)
        return false;
    scan->names = slots;
    scan->n_slots = n_slots;
    for (size_t i = 0; i < n_old; i++) {
        if (!old[i].object)
            continue;
        size_t slot = name_slot(scan, &old[i]);
        while (slots[slot].object)
            slot = (slot + 1) & (n_slots - 1);
        slots[slot] = old[i];
    }
    mem_free(old);
    return true;
}

static enum status name_add(struct scan *scan, const struct name *name)
{
    if (scan->n_names * 2 >= scan->n_slots && !names_grow(scan))
        return error_set(scan->err, ERR_MEMORY, "no memory to check the JSON text");
    size_t slot = name_slot(scan, name);
    while (scan->names[slot].object) {
        const struct name *other = &scan->names[slot];
        if (other->object == name->object && other->hash == name->hash &&
            names_equal(scan, other, name))
            return scan_fail(scan, name->first, "duplicate name in an object");
        slot = (slot + 1) & (scan->n_slots - 1);
    }
    scan->names[slot] = *name;
    scan->n_names++;
    return OK;
}

static size_t skip_digits(struct scan *scan)
{
    size_t first = scan->at;
    while (scan->at < scan->n_bytes && isdigit((unsigned char)scan->text[scan->at]))
        scan->at++;
    return scan->at - first;
}

static enum status scan_number(struct scan *scan)
{
    size_t first = scan->at;
    if (scan->text[scan->at] == '-')
        scan->at++;
    bool zero = scan->at < scan->n_bytes && scan->text[scan->at] == '0';
    size_t digits = skip_digits(scan);
    if (digits == 0 || (zero && digits > 1))
        return scan_fail(scan, first, digits ? "number with a leading zero" : "not a value");
    if (scan->at < scan->n_bytes && scan->text[scan->at] == '.') {
        scan->at++;
        if (skip_digits(scan) == 0)
            return scan_fail(scan, first, "number without digits behind the point");
    }
    if (scan->at < scan->n_bytes && (scan->text[scan->at] | 32) == 'e') {
        scan->at++;
        if (scan->at < scan->n_bytes &&
            (scan->text[scan->at] == '+' || scan->text[scan->at] == '-'))
            scan->at++;
        if (skip_digits(scan) == 0)
            return scan_fail(scan, first, "number without digits in the exponent");
    }
    char number[JSON_SCAN_NUMBER_BYTES_MAX + 1];
    size_t n = scan->at - first;
    static_assert(JSON_SCAN_NUMBER_BYTES_MAX == 63, "as in the message");
    if (n > JSON_SCAN_NUMBER_BYTES_MAX)
        return scan_fail(scan, first, "number of more than 63 characters");
    memcpy(number, scan->text + first, n);
    number[n] = '\0';
    if (!isfinite(strtod(number, NULL)))
        return scan_fail(scan, first, "number is not finite");
    return OK;
}

static enum status scan_word(struct scan *scan)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (scan->n_bytes - scan->at >= n && memcmp(scan->text + scan->at, words[i], n) == 0) {
            scan->at += n;
            return OK;
        }
    }
    return scan_fail(scan, scan->at, "not a value");
}

/* Name and colon of an object's next member. */
static enum status scan_name(struct scan *scan, uint32_t object)
{
    skip_space(scan);
    struct name name = {.object = object};
    if (scan->at >= scan->n_bytes || scan->text[scan->at] != '"')
        return scan_fail(scan, scan->at, "a name in quotes is expected");
    while (scan->hash_point == 0)
        scan->hash_point = rng_seed_from_system() % HASH_PRIME;
    enum status status = scan_string(scan, &name);
    if (status == OK)
        status = name_add(scan, &name);
    if (status != OK)
        return status;
    skip_space(scan);
    if (scan->at >= scan->n_bytes || scan->text[scan->at] != ':')
        return scan_fail(scan, scan->at, "a colon is expected");
    scan->at++;
    return OK;
}

/* One scalar, or the opening of an array or object (*open = its bracket). */
static enum status scan_value(struct scan *scan, char *open)
{
    skip_space(scan);
    *open = 0;
    if (scan->at >= scan->n_bytes)
        return scan_fail(scan, scan->at, "a value is expected");
    if (++scan->n_nodes > scan->limits.nodes_max)
        return error_set(scan->err, ERR_INVALID, "JSON has more than %zu values",
                         scan->limits.nodes_max);
    struct name ignored;
    switch (scan->text[scan->at]) {
    case '{':
    case '[':
        *open = scan->text[scan->at++];
        return OK;
    case '"':
        return scan_string(scan, &ignored);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return scan_number(scan);
    default:
        return scan_word(scan);
    }
}

struct level {
    char bracket;
    bool empty;  // nothing behind the opening bracket yet
    uint32_t object;
};

/* Behind a value or an opening bracket: closes levels until a further value must follow.
 * *depth 0 = the whole text is done. */
static enum status scan_close(struct scan *scan, struct level *levels, size_t *depth)
{
    while (*depth > 0) {
        struct level *level = &levels[*depth - 1];
        skip_space(scan);
        if (scan->at >= scan->n_bytes)
            return scan_fail(scan, scan->at, "the text ends inside an array or object");
        char c = scan->text[scan->at];
        bool was_empty = level->empty;
        level->empty = false;
        if (c == (level->bracket == '{' ? '}' : ']')) {
            scan->at++;
            (*depth)--;
            continue;
        }
        if (!was_empty) {
            if (c != ',')
                return scan_fail(scan, scan->at, "a comma or a closing bracket is expected");
            scan->at++;
        }
        return level->bracket == '{' ? scan_name(scan, level->object) : OK;
    }
    return OK;
}

static enum status scan_all(struct scan *scan)
{
    struct level levels[JSON_SCAN_DEPTH_MAX];
    size_t depth_max =
        scan->limits.depth_max < JSON_SCAN_DEPTH_MAX ? scan->limits.depth_max : JSON_SCAN_DEPTH_MAX;
    size_t depth = 0;
    uint32_t n_objects = 0;
    do {
        char open;
        enum status status = scan_value(scan, &open);
        if (status != OK)
            return status;
        if (open) {
            if (depth == depth_max)
                return error_set(scan->err, ERR_INVALID, "JSON is nested deeper than %zu levels",
                                 depth_max);
            levels[depth++] = (struct level){open, true, ++n_objects};
        }
        status = scan_close(scan, levels, &depth);
        if (status != OK)
            return status;
    } while (depth > 0);
    skip_space(scan);
    if (scan->at != scan->n_bytes)
        return scan_fail(scan, scan->at, "bytes behind the value");
    return OK;
}

enum status json_scan(const char *text, size_t n_bytes, const struct json_limits *limits,
                      struct error *err)
{
    struct scan scan = {.text = text, .n_bytes = n_bytes, .limits = *limits, .err = err};
    if (n_bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return scan_fail(&scan, 0, "byte order mark");
    enum status status = scan_all(&scan);
    mem_free(scan.names);
    return status;
}
