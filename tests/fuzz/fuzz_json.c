/* Fuzz target: the strict JSON check that runs before cJSON.
 *
 * The oracle is a second checker, written in another way: recursive, names gathered unescaped in
 * lists and compared pair by pair, numbers judged in long double. Both must agree on every input,
 * with wide and with narrow limits; what is accepted, cJSON must accept as well, up to its last
 * byte (numbers of more than 63 characters aside, which cJSON's buffer does not hold).
 *
 * fuzz-sources: engine/base
 * fuzz-libraries: -lcjson -lnettle -lm -lpthread */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/json_scan.h"
#include "tests/fuzz/fuzz.h"

enum { NAMES_MAX = 3000 };

struct oracle {
    const unsigned char *text;
    size_t size, at;
    size_t depth, depth_seen, nodes;
    bool gave_up;  // too many names for the pairwise compare
};

struct unescaped {
    uint32_t *units;
    size_t n;
};

static int peek(const struct oracle *o)
{
    return o->at < o->size ? o->text[o->at] : -1;
}

static bool eat(struct oracle *o, int c)
{
    bool there = peek(o) == c;
    o->at += there;
    return there;
}

static void spaces(struct oracle *o)
{
    while (eat(o, ' ') || eat(o, '\t') || eat(o, '\n') || eat(o, '\r')) {
    }
}

/* Four hex digits, or -1. */
static int32_t hex(struct oracle *o)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        int c = peek(o);
        const char *digit = c > 0 ? memchr(digits, c, 32) : NULL;
        if (!digit)
            return -1;
        value = value << 4 | (int32_t)((digit - digits) % 16);
        o->at++;
    }
    return value;
}

/* One character that is not escaped, by value ranges. */
static bool plain(struct oracle *o, uint32_t *out)
{
    static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
    int lead = peek(o);
    int more = lead < 0x80 ? 0 : (lead & 0xe0) == 0xc0 ? 1 : (lead & 0xf0) == 0xe0 ? 2 : 3;
    if (lead < 0x20 || (more == 3 && (lead & 0xf8) != 0xf0))
        return false;
    uint32_t value = (uint32_t)lead & (more == 0 ? 0x7fu : 0x3fu >> more);
    o->at++;
    for (int i = 0; i < more; i++) {
        int c = peek(o);
        if (c < 0 || (c & 0xc0) != 0x80)
            return false;
        value = value << 6 | (uint32_t)(c & 0x3f);
        o->at++;
    }
    *out = value;
    return value >= smallest[more] && value <= 0x10ffff && value - 0xd800 > 0x7ff;
}

static bool escaped(struct oracle *o, uint32_t *out)
{
    int c = peek(o);
    o->at++;
    switch (c) {
    case '"':
    case '\\':
    case '/':
        *out = (uint32_t)c;
        return true;
    case 'b':
        *out = 8;
        return true;
    case 'f':
        *out = 12;
        return true;
    case 'n':
        *out = 10;
        return true;
    case 'r':
        *out = 13;
        return true;
    case 't':
        *out = 9;
        return true;
    case 'u':
        break;
    default:
        return false;
    }
    int32_t high = hex(o);
    if (high <= 0 || (high >= 0xdc00 && high <= 0xdfff))
        return false;
    *out = (uint32_t)high;
    if (high < 0xd800 || high > 0xdbff)
        return true;
    if (!eat(o, '\\') || !eat(o, 'u'))
        return false;
    int32_t low = hex(o);
    *out = 0x10000u + (uint32_t)(high - 0xd800) * 1024 + (uint32_t)(low - 0xdc00);
    return low >= 0xdc00 && low <= 0xdfff;
}

/* A string, its characters into out (room for the whole input). */
static bool string(struct oracle *o, struct unescaped *out)
{
    if (!eat(o, '"'))
        return false;
    while (!eat(o, '"')) {
        uint32_t unit;
        if (eat(o, '\\') ? !escaped(o, &unit) : !plain(o, &unit))
            return false;
        out->units[out->n++] = unit;
    }
    return true;
}

static size_t digits(struct oracle *o)
{
    size_t first = o->at;
    while (peek(o) >= '0' && peek(o) <= '9')
        o->at++;
    return o->at - first;
}

static bool number(struct oracle *o)
{
    char copy[JSON_SCAN_NUMBER_BYTES_MAX + 1];
    size_t first = o->at;
    eat(o, '-');
    if (!eat(o, '0') && !digits(o))
        return false;
    if (eat(o, '.') && !digits(o))
        return false;
    if (eat(o, 'e') || eat(o, 'E')) {
        if (!eat(o, '+'))
            eat(o, '-');
        if (!digits(o))
            return false;
    }
    size_t n = o->at - first;
    if (n > JSON_SCAN_NUMBER_BYTES_MAX)
        return false;
    memcpy(copy, o->text + first, n);
    copy[n] = '\0';
    /* From half a step past the largest double on, the nearest double is infinity. */
    return fabsl(strtold(copy, NULL)) < 0x1.fffffffffffff8p1023L;
}

static bool value(struct oracle *o);

static bool object(struct oracle *o)
{
    struct unescaped *names = calloc(NAMES_MAX, sizeof *names);
    size_t n_names = 0;
    bool ok = false;
    spaces(o);
    if (eat(o, '}')) {
        ok = true;
        goto out;
    }
    do {
        if (n_names == NAMES_MAX) {
            o->gave_up = true;
            goto out;
        }
        struct unescaped *name = &names[n_names++];
        name->units = malloc((o->size - o->at + 1) * sizeof *name->units);
        spaces(o);
        if (!string(o, name))
            goto out;
        for (size_t i = 0; i + 1 < n_names; i++) {
            if (names[i].n == name->n &&
                !memcmp(names[i].units, name->units, name->n * sizeof *name->units))
                goto out;
        }
        spaces(o);
        if (!eat(o, ':') || !value(o))
            goto out;
        spaces(o);
    } while (eat(o, ','));
    ok = eat(o, '}');
out:
    for (size_t i = 0; i < n_names; i++)
        free(names[i].units);
    free(names);
    return ok;
}

static bool array(struct oracle *o)
{
    spaces(o);
    if (eat(o, ']'))
        return true;
    do {
        if (!value(o))
            return false;
        spaces(o);
    } while (eat(o, ','));
    return eat(o, ']');
}

static bool word(struct oracle *o, const char *text)
{
    for (; *text; text++) {
        if (!eat(o, *text))
            return false;
    }
    return true;
}

static bool value(struct oracle *o)
{
    spaces(o);
    o->nodes++;
    int c = peek(o);
    if (c == 't' || c == 'f' || c == 'n')
        return word(o, c == 't' ? "true" : c == 'f' ? "false" : "null");
    if (c == '"') {
        struct unescaped text = {malloc((o->size - o->at + 1) * sizeof(uint32_t)), 0};
        bool ok = string(o, &text);
        free(text.units);
        return ok;
    }
    if (c != '[' && c != '{')
        return number(o);
    o->at++;
    if (++o->depth > o->depth_seen)
        o->depth_seen = o->depth;
    bool ok = o->depth <= JSON_SCAN_DEPTH_MAX && (c == '{' ? object(o) : array(o));
    o->depth--;
    return ok;
}

static void check_cjson(const char *text, size_t size)
{
    const char *end = NULL;
    cJSON *json = cJSON_ParseWithLengthOpts(text, size, &end, 0);
    FUZZ_CHECK(json);
    while (end < text + size && (*end == ' ' || *end == '\t' || *end == '\n' || *end == '\r'))
        end++;
    FUZZ_CHECK(end == text + size);
    cJSON_Delete(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct json_limits limits[] = {{JSON_SCAN_DEPTH_MAX, 1000000}, {3, 12}};
    struct oracle oracle = {.text = data, .size = size};
    bool right = value(&oracle);
    spaces(&oracle);
    right = right && oracle.at == size;
    for (size_t i = 0; i < 2 && !oracle.gave_up; i++) {
        struct error err = {0};
        enum status status = json_scan((const char *)data, size, &limits[i], &err);
        bool within =
            oracle.depth_seen <= limits[i].depth_max && oracle.nodes <= limits[i].nodes_max;
        FUZZ_CHECK(status == OK || (status == ERR_INVALID && err.text[0]));
        FUZZ_CHECK((status == OK) == (right && within));
        if (status == OK)
            check_cjson((const char *)data, size);
    }
    return 0;
}
