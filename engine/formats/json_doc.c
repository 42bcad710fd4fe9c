/* The tape of a JSON text; see json_doc.h.
 *
 * json_scan has accepted the text before, so that the walk here looks for structure only: it needs
 * no recursion, and its stack is as deep as json_scan allows. Names of an object are looked up by
 * walking over it; the objects that are searched (configurations) are small. */
#include "engine/formats/json_doc.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/json_scan.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"

/* ---- building ---- */

struct tape {
    struct json_doc *doc;
    size_t n_bytes;
    size_t at;
    size_t capacity;
    uint32_t open[JSON_DOC_DEPTH_MAX];  // nodes of the brackets around `at`
    size_t depth;
};

static struct json_node *push(struct tape *tape, enum json_kind kind, size_t first, size_t last)
{
    struct json_doc *doc = tape->doc;
    if (doc->n_nodes == tape->capacity) {
        size_t wanted = tape->capacity ? 2 * tape->capacity : 64;
        struct json_node *nodes = mem_realloc_array(doc->nodes, wanted, sizeof *nodes);
        if (!nodes)
            return NULL;
        doc->nodes = nodes;
        tape->capacity = wanted;
    }
    struct json_node *node = &doc->nodes[doc->n_nodes++];
    *node = (struct json_node){
        .first = (uint32_t)first, .last = (uint32_t)last, .n_nodes = 1, .kind = (uint8_t)kind};
    return node;
}

static bool push_string(struct tape *tape)
{
    const char *text = tape->doc->text;
    size_t first = ++tape->at;
    bool escaped = false;
    while (tape->at < tape->n_bytes && text[tape->at] != '"') {
        bool backslash = text[tape->at] == '\\';
        escaped |= backslash;
        tape->at += backslash ? 2 : 1;
    }
    assert(tape->at < tape->n_bytes);  // json_scan has seen the closing quote
    struct json_node *node = push(tape, JSON_STRING, first, tape->at);
    tape->at++;
    if (node)
        node->escaped = escaped;
    return node != NULL;
}

/* A number or a word: up to the next byte that can stand behind one. */
static bool push_word(struct tape *tape)
{
    const char *text = tape->doc->text;
    size_t first = tape->at;
    while (tape->at < tape->n_bytes && !strchr(" \t\r\n,:]}", text[tape->at]))
        tape->at++;
    enum json_kind kind = text[first] == 't'   ? JSON_TRUE
                          : text[first] == 'f' ? JSON_FALSE
                          : text[first] == 'n' ? JSON_NULL
                                               : JSON_NUMBER;
    return push(tape, kind, first, tape->at) != NULL;
}

static void close_bracket(struct tape *tape)
{
    assert(tape->depth > 0);
    struct json_node *node = &tape->doc->nodes[tape->open[--tape->depth]];
    node->last = (uint32_t)++tape->at;
    node->n_nodes = (uint32_t)(tape->doc->n_nodes - (size_t)(node - tape->doc->nodes));
}

static bool build(struct tape *tape)
{
    const char *text = tape->doc->text;
    while (tape->at < tape->n_bytes) {
        switch (text[tape->at]) {
        case ' ':
        case '\t':
        case '\r':
        case '\n':
        case ',':
        case ':':
            tape->at++;
            break;
        case '"':
            if (!push_string(tape))
                return false;
            break;
        case '[':
        case '{':
            assert(tape->depth < JSON_DOC_DEPTH_MAX);
            tape->open[tape->depth++] = (uint32_t)tape->doc->n_nodes;
            if (!push(tape, text[tape->at] == '[' ? JSON_ARRAY : JSON_OBJECT, tape->at, tape->at))
                return false;
            tape->at++;
            break;
        case ']':
        case '}':
            close_bracket(tape);
            break;
        default:
            if (!push_word(tape))
                return false;
        }
    }
    return true;
}

enum status json_doc_parse(struct json_doc *doc, const char *text, size_t n_bytes, size_t nodes_max,
                           struct error *err)
{
    *doc = (struct json_doc){.text = text};
    struct json_limits limits = {.depth_max = JSON_DOC_DEPTH_MAX, .nodes_max = nodes_max};
    struct error scan_err = {0};
    if (n_bytes > JSON_DOC_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "%zu bytes of JSON, the limit is %llu", n_bytes,
                         (unsigned long long)JSON_DOC_BYTES_MAX);
    enum status status = json_scan(text, n_bytes, &limits, &scan_err);
    if (status)
        return error_set(err, status == ERR_INVALID ? ERR_FORMAT : status, "%s", scan_err.text);
    struct tape tape = {.doc = doc, .n_bytes = n_bytes};
    if (!build(&tape)) {
        json_doc_release(doc);
        return error_set(err, ERR_MEMORY, "no memory for %zu bytes of JSON", n_bytes);
    }
    return OK;
}

void json_doc_release(struct json_doc *doc)
{
    mem_free(doc->nodes);
    *doc = (struct json_doc){0};
}

/* ---- walking ---- */

const struct json_node *json_first(const struct json_node *parent)
{
    bool holds = parent->kind == JSON_ARRAY || parent->kind == JSON_OBJECT;
    return holds && parent->n_nodes > 1 ? parent + 1 : NULL;
}

const struct json_node *json_next(const struct json_node *parent, const struct json_node *child)
{
    const struct json_node *next = child + child->n_nodes;
    return next < parent + parent->n_nodes ? next : NULL;
}

size_t json_count(const struct json_node *parent)
{
    size_t n = 0;
    for (const struct json_node *child = json_first(parent); child;
         child = json_next(parent, child))
        n++;
    return n;
}

const struct json_node *json_find(const struct json_doc *doc, const struct json_node *object,
                                  const char *name)
{
    if (!json_is(object, JSON_OBJECT))
        return NULL;
    for (const struct json_node *child = json_first(object); child;
         child = json_next(object, child + 1)) {
        if (json_equals(doc, child, name))
            return child + 1;
    }
    return NULL;
}

/* ---- values ---- */

static uint32_t hex4(const char *digits)
{
    uint32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = digits[i];
        uint32_t digit = (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
        value = value << 4 | digit;
    }
    return value;
}

/* Resolves the escape whose backslash is at text[at]; returns the bytes read. */
static size_t unescape(const char *text, char *out, size_t *n_out)
{
    static const char letters[] = "bfnrt", values[] = "\b\f\n\r\t";
    if (text[1] != 'u') {
        const char *letter = strchr(letters, text[1]);
        out[(*n_out)++] = letter ? values[letter - letters] : text[1];
        return 2;
    }
    uint32_t code = hex4(text + 2);
    size_t n_read = 6;
    if (code >= 0xd800 && code < 0xdc00) {  // json_scan lets pairs through only
        code = 0x10000 + ((code - 0xd800) << 10) + (hex4(text + 8) - 0xdc00);
        n_read = 12;
    }
    *n_out += utf8_encode(code, out + *n_out);
    return n_read;
}

size_t json_string(const struct json_doc *doc, const struct json_node *string, char *out)
{
    assert(string->kind == JSON_STRING);
    const char *text = doc->text + string->first;
    size_t n_bytes = string->last - string->first, n = 0;
    if (!string->escaped) {
        if (n_bytes)
            memcpy(out, text, n_bytes);
        return n_bytes;
    }
    for (size_t i = 0; i < n_bytes;) {
        if (text[i] == '\\')
            i += unescape(text + i, out, &n);
        else
            out[n++] = text[i++];
    }
    return n;
}

bool json_equals(const struct json_doc *doc, const struct json_node *string, const char *text)
{
    enum { ESCAPED_MAX = 512 };
    char unescaped[ESCAPED_MAX];
    if (!json_is(string, JSON_STRING))
        return false;
    size_t n = string->last - string->first;
    const char *bytes = doc->text + string->first;
    if (string->escaped && n > ESCAPED_MAX)
        return false;
    if (string->escaped) {
        n = json_string(doc, string, unescaped);
        bytes = unescaped;
    }
    return n == strlen(text) && !memcmp(bytes, text, n);
}

/* Copies a number's text, which strtod needs to end in a NUL. */
static bool number_text(const struct json_doc *doc, const struct json_node *node, char *out,
                        size_t bytes_max)
{
    if (!json_is(node, JSON_NUMBER) || node->last - node->first >= bytes_max)
        return false;
    memcpy(out, doc->text + node->first, node->last - node->first);
    out[node->last - node->first] = '\0';
    return true;
}

bool json_u64(const struct json_doc *doc, const struct json_node *node, uint64_t *out)
{
    char text[32];
    if (!number_text(doc, node, text, sizeof text) || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    *out = strtoull(text, NULL, 10);
    return errno == 0;
}

bool json_f64(const struct json_doc *doc, const struct json_node *node, double *out)
{
    char text[128];
    if (!number_text(doc, node, text, sizeof text))
        return false;
    *out = strtod(text, NULL);
    return true;
}
