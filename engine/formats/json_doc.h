/* A JSON text as a tape of nodes, for the files of a checkpoint directory (configurations, tensor
 * tables, vocabularies of some hundred thousand entries).
 *
 * Nodes stand in the order of the text; one takes 16 bytes and strings stay where they are, so a
 * vocabulary of 20 MB costs what it holds. Numbers keep their spelling. The text is borrowed. */
#ifndef WICARA_FORMATS_JSON_DOC_H
#define WICARA_FORMATS_JSON_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_node {
    uint32_t first;  // bytes [first, last) of the text; of a string without its quotes
    uint32_t last;
    uint32_t n_nodes;  // itself and all below it
    uint8_t kind;      // enum json_kind
    bool escaped;      // a string with a backslash in it
};

struct json_doc {
    const char *text;
    struct json_node *nodes;  // nodes[0] is the value of the whole text
    size_t n_nodes;
};

enum { JSON_DOC_DEPTH_MAX = 64 };
#define JSON_DOC_BYTES_MAX (UINT64_C(1) << 30)

/* Checks the text with json_scan and builds the tape. Errors: ERR_FORMAT with what is wrong and
 * where, ERR_LIMIT, ERR_MEMORY. *doc is empty on failure. */
enum status json_doc_parse(struct json_doc *doc, const char *text, size_t n_bytes, size_t nodes_max,
                           struct error *err) MUST_CHECK;
void json_doc_release(struct json_doc *doc);

/* Children of an array or object, NULL at the end (and for any other kind). In an object a name and
 * its value are two children: value = name + 1. */
const struct json_node *json_first(const struct json_node *parent);
const struct json_node *json_next(const struct json_node *parent, const struct json_node *child);
size_t json_count(const struct json_node *parent);  // children; names and values both count

/* The value under a name, NULL when it is absent or `object` is NULL or no object. */
const struct json_node *json_find(const struct json_doc *doc, const struct json_node *object,
                                  const char *name);

/* A string's bytes with escapes resolved: writes at most last - first bytes and returns how
 * many. */
size_t json_string(const struct json_doc *doc, const struct json_node *string, char *out);
bool json_equals(const struct json_doc *doc, const struct json_node *string, const char *text);

/* False when the node is NULL or something else; a float with a zero fraction is no integer. */
bool json_u64(const struct json_doc *doc, const struct json_node *node, uint64_t *out);
bool json_f64(const struct json_doc *doc, const struct json_node *node, double *out);
static inline bool json_is(const struct json_node *node, enum json_kind kind)
{
    return node && node->kind == kind;
}

#endif
