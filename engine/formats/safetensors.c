/* Reads the header of a safetensors file.
 *
 * Nothing in it is believed: the JSON passes base/json_scan, every number must be a plain integer
 * within its limit, a tensor's size must be the product of its shape and type, and the sizes must
 * fill the rest of the file end to end. The table is made from the tape of the JSON in one pass;
 * names lie in one block that is no longer than the header. */
#include "engine/formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/formats/gguf.h"
#include "engine/formats/json_doc.h"

enum { LENGTH_BYTES = 8, NODES_PER_TENSOR = 12 + SAFETENSORS_DIMS_MAX };

struct parse {
    struct safetensors *out;
    struct json_doc doc;
    struct error *err;
    uint64_t data_offset;  // of the tensors' bytes in the file
    uint64_t data_bytes;
    size_t n_name_bytes;
    char quoted[GGUF_QUOTE_BYTES];  // name of the tensor that is read, for messages
};

static unsigned long long ull(uint64_t value)
{
    return value;
}

static const struct {
    const char *name;
    size_t bytes;
} types[] = {
#define X(name, bytes) {#name, bytes},
    SAFETENSORS_TYPE_LIST(X)
#undef X
};

const char *safetensors_type_name(enum safetensors_type type)
{
    return types[type].name;
}

size_t safetensors_type_bytes(enum safetensors_type type)
{
    return types[type].bytes;
}

static enum status bad_field(struct parse *parse, const char *field, const char *what)
{
    return error_set(parse->err, ERR_FORMAT, "tensor %s: %s %s", parse->quoted, field, what);
}

static enum status read_type(struct parse *parse, const struct json_node *node,
                             struct safetensors_entry *entry)
{
    char quoted[GGUF_QUOTE_BYTES];
    if (!json_is(node, JSON_STRING))
        return bad_field(parse, "dtype", "is no string");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (json_equals(&parse->doc, node, types[i].name)) {
            entry->type = (enum safetensors_type)i;
            return OK;
        }
    }
    gguf_quote(quoted, parse->doc.text + node->first, node->last - node->first);
    return error_set(parse->err, ERR_UNSUPPORTED, "tensor %s has the unknown dtype '%s'",
                     parse->quoted, quoted);
}

/* Sets dims and, from them and the type, bytes. */
static enum status read_shape(struct parse *parse, const struct json_node *node,
                              struct safetensors_entry *entry)
{
    if (!json_is(node, JSON_ARRAY))
        return bad_field(parse, "shape", "is no array");
    entry->bytes = safetensors_type_bytes(entry->type);
    for (size_t i = 0; i < SAFETENSORS_DIMS_MAX; i++)
        entry->dims[i] = 1;
    for (const struct json_node *dim = json_first(node); dim; dim = json_next(node, dim)) {
        uint64_t value;
        if (entry->n_dims == SAFETENSORS_DIMS_MAX)
            return error_set(parse->err, ERR_LIMIT, "tensor %s has more than %d dimensions",
                             parse->quoted, SAFETENSORS_DIMS_MAX);
        if (!json_u64(&parse->doc, dim, &value))
            return bad_field(parse, "shape", "holds something else than whole numbers");
        if (value > SAFETENSORS_DIM_MAX)
            return error_set(parse->err, ERR_LIMIT, "tensor %s: a dimension of %llu, allowed %llu",
                             parse->quoted, ull(value), ull(SAFETENSORS_DIM_MAX));
        entry->dims[entry->n_dims++] = value;
        if (__builtin_mul_overflow(entry->bytes, value, &entry->bytes))
            return error_set(parse->err, ERR_LIMIT, "tensor %s: its size in bytes overflows",
                             parse->quoted);
    }
    return OK;
}

static enum status read_place(struct parse *parse, const struct json_node *node,
                              struct safetensors_entry *entry)
{
    uint64_t first, last;
    const struct json_node *begin = json_is(node, JSON_ARRAY) ? json_first(node) : NULL;
    const struct json_node *end = begin ? json_next(node, begin) : NULL;
    if (!end || json_next(node, end) || !json_u64(&parse->doc, begin, &first) ||
        !json_u64(&parse->doc, end, &last))
        return bad_field(parse, "data_offsets", "are no two whole numbers");
    if (first > last || last > parse->data_bytes)
        return error_set(parse->err, ERR_FORMAT,
                         "tensor %s: data_offsets %llu to %llu in a file with %llu bytes of data",
                         parse->quoted, ull(first), ull(last), ull(parse->data_bytes));
    if (last - first != entry->bytes)
        return error_set(parse->err, ERR_FORMAT,
                         "tensor %s: data_offsets hold %llu bytes, shape and dtype make %llu",
                         parse->quoted, ull(last - first), ull(entry->bytes));
    entry->offset = parse->data_offset + first;
    return OK;
}

static enum status read_name(struct parse *parse, const struct json_node *name,
                             struct safetensors_entry *entry)
{
    char *to = parse->out->names + parse->n_name_bytes;
    size_t n = json_string(&parse->doc, name, to);
    gguf_quote(parse->quoted, to, n);
    if (n == 0 || n > SAFETENSORS_NAME_BYTES_MAX)
        return error_set(parse->err, n ? ERR_LIMIT : ERR_FORMAT,
                         "tensor %s: a name of %zu bytes, allowed 1..%d", parse->quoted, n,
                         SAFETENSORS_NAME_BYTES_MAX);
    to[n] = '\0';  // json_scan refuses \u0000, so the name ends there for everybody
    entry->name = to;
    parse->n_name_bytes += n + 1;
    return OK;
}

static enum status read_entry(struct parse *parse, const struct json_node *name,
                              struct safetensors_entry *entry)
{
    const struct json_node *value = name + 1;
    enum status status = read_name(parse, name, entry);
    if (status)
        return status;
    if (value->kind != JSON_OBJECT)
        return bad_field(parse, "entry", "is no object");
    status = read_type(parse, json_find(&parse->doc, value, "dtype"), entry);
    if (!status)
        status = read_shape(parse, json_find(&parse->doc, value, "shape"), entry);
    if (!status)
        status = read_place(parse, json_find(&parse->doc, value, "data_offsets"), entry);
    if (!status && value->n_nodes > 1 && json_count(value) != 6)
        return bad_field(parse, "entry", "has other fields than dtype, shape and data_offsets");
    return status;
}

static int by_place(const void *a, const void *b)
{
    const struct safetensors_entry *left = a, *right = b;
    if (left->offset != right->offset)
        return left->offset < right->offset ? -1 : 1;
    return (left->bytes > right->bytes) - (left->bytes < right->bytes);
}

/* The tensors fill the file end to end: no gap, no overlap, nothing behind the last. */
static enum status check_places(struct parse *parse)
{
    struct safetensors *out = parse->out;
    uint64_t at = parse->data_offset;
    qsort(out->entries, out->n_entries, sizeof *out->entries, by_place);
    for (size_t i = 0; i < out->n_entries; i++) {
        const struct safetensors_entry *entry = &out->entries[i];
        gguf_quote(parse->quoted, entry->name, strlen(entry->name));
        if (entry->offset < at)
            return bad_field(parse, "data_offsets", "overlap with another tensor");
        if (entry->offset > at)
            return bad_field(parse, "data_offsets", "leave a gap in front of it");
        at += entry->bytes;
    }
    if (at != parse->data_offset + parse->data_bytes)
        return error_set(parse->err, ERR_FORMAT, "%llu bytes behind the last tensor",
                         ull(parse->data_offset + parse->data_bytes - at));
    return OK;
}

static enum status read_entries(struct parse *parse, size_t header_bytes)
{
    const struct json_node *root = parse->doc.nodes;
    if (root->kind != JSON_OBJECT)
        return error_set(parse->err, ERR_FORMAT, "the header is no JSON object");
    size_t n = json_count(root) / 2;
    if (n > SAFETENSORS_TENSORS_MAX)
        return error_set(parse->err, ERR_LIMIT, "%zu tensors, the limit is %d", n,
                         SAFETENSORS_TENSORS_MAX);
    parse->out->entries = mem_calloc(n ? n : 1, sizeof *parse->out->entries);
    parse->out->names = mem_alloc(header_bytes + 1);  // each name loses two quotes, gains a NUL
    if (!parse->out->entries || !parse->out->names)
        return error_set(parse->err, ERR_MEMORY, "no memory for %zu tensors", n);
    for (const struct json_node *name = json_first(root); name; name = json_next(root, name + 1)) {
        if (json_equals(&parse->doc, name, "__metadata__"))
            continue;
        enum status status = read_entry(parse, name, &parse->out->entries[parse->out->n_entries]);
        if (status)
            return status;
        parse->out->n_entries++;
    }
    return check_places(parse);
}

/* What the reader has recorded; it may have had no place to. */
static enum status reader_status(const struct parse *parse)
{
    return parse->err->status ? parse->err->status : ERR_FORMAT;
}

static enum status read_header(struct parse *parse, struct reader *reader, char **header)
{
    uint64_t n_bytes = reader_u64(reader, "the header's length");
    if (reader->failed)
        return reader_status(parse);
    if (n_bytes > SAFETENSORS_HEADER_BYTES_MAX)
        return error_set(parse->err, ERR_LIMIT, "a header of %llu bytes, the limit is %llu",
                         ull(n_bytes), ull(SAFETENSORS_HEADER_BYTES_MAX));
    if (n_bytes > reader_left(reader))
        return error_set(parse->err, ERR_FORMAT, "a header of %llu bytes, %llu are left",
                         ull(n_bytes), ull(reader_left(reader)));
    *header = mem_alloc((size_t)n_bytes + 1);
    if (!*header)
        return error_set(parse->err, ERR_MEMORY, "no memory for a header of %llu bytes",
                         ull(n_bytes));
    if (!reader_bytes(reader, *header, (size_t)n_bytes, "the header"))
        return reader_status(parse);
    parse->data_offset = LENGTH_BYTES + n_bytes;
    parse->data_bytes = reader_left(reader);
    enum status status =
        json_doc_parse(&parse->doc, *header, (size_t)n_bytes,
                       (size_t)NODES_PER_TENSOR * (SAFETENSORS_TENSORS_MAX + 1), parse->err);
    return status ? status : read_entries(parse, (size_t)n_bytes);
}

enum status safetensors_read(struct safetensors *out, struct reader *reader, struct error *err)
{
    struct error own = {0};
    char *header = NULL;
    struct parse parse = {.out = out, .err = err ? err : &own};
    *out = (struct safetensors){0};
    enum status status = read_header(&parse, reader, &header);
    json_doc_release(&parse.doc);
    mem_free(header);
    if (status)
        safetensors_release(out);
    return status;
}

void safetensors_release(struct safetensors *file)
{
    mem_free(file->entries);
    mem_free(file->names);
    *file = (struct safetensors){0};
}
