/* Reads the header of a GGUF file, version 2 or 3, little-endian.
 *
 * A model file comes from a stranger, so nothing in it is believed: every count is capped and held
 * against the bytes that are left before memory is asked for, every product and sum is checked,
 * and every name in a message is escaped. All bytes come through one bounded cursor, which keeps
 * the first failure and gives zeros afterwards; each record is checked once at its end.
 *
 * Refused on purpose: arrays of arrays (no known model has one), big-endian files, duplicate keys
 * or tensor names, tensors that overlap, truth values other than 0 and 1.
 *
 * Source: the GGUF specification; the rules V1-V4 for what earlier readers got wrong. */
#include "engine/formats/gguf.h"

#include <assert.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

enum {
    MAGIC_BYTES = 4,
    ENTRY_BYTES_MIN = 8 + 1 + 4 + 1,           // key length, key, kind, value
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8,  // name length, name, n_dims, dim, type, offset
    SUBJECT_BYTES = GGUF_QUOTE_BYTES + 24,
};

struct parse {
    struct gguf *out;
    struct reader *reader;
    struct error *err;
    char subject[SUBJECT_BYTES];  // what is being read, for messages: "key general.name"
};

static unsigned long long ull(uint64_t value)
{
    return value;
}

static void set_subject(struct parse *parse, const char *what, const char *name)
{
    char quoted[GGUF_QUOTE_BYTES];
    snprintf(parse->subject, sizeof parse->subject, "%s %s", what,
             gguf_quote(quoted, name, strlen(name)));
}

static enum status no_memory(struct parse *parse, size_t n_bytes)
{
    return error_set(parse->err, ERR_MEMORY, "no memory for %zu bytes of %s", n_bytes,
                     parse->subject);
}

/* Status of the cursor: OK while nothing failed. */
static enum status reader_status(const struct parse *parse)
{
    return parse->reader->failed ? parse->err->status : OK;
}

/* Bytes that a value may still take: what is left of the input and of the header's limit. A sparse
 * file has any size for free, so the size of the file alone is no bound for memory. */
static uint64_t header_left(const struct parse *parse)
{
    uint64_t left = reader_left(parse->reader), used = parse->reader->offset;
    uint64_t room = used < GGUF_HEADER_BYTES_MAX ? GGUF_HEADER_BYTES_MAX - used : 0;
    return left < room ? left : room;
}

/* Reads a length and checks it against the limit and the bytes left. */
static enum status read_length(struct parse *parse, uint64_t bytes_max, size_t *out)
{
    uint64_t n_bytes = reader_u64(parse->reader, parse->subject);
    if (reader_status(parse))
        return reader_status(parse);
    if (n_bytes > bytes_max)
        return error_set(parse->err, ERR_LIMIT, "%s: a length of %llu bytes, the limit is %llu",
                         parse->subject, ull(n_bytes), ull(bytes_max));
    if (n_bytes > header_left(parse))
        return error_set(parse->err, ERR_FORMAT, "%s: a length of %llu bytes, %llu are left",
                         parse->subject, ull(n_bytes), ull(header_left(parse)));
    *out = (size_t)n_bytes;
    return OK;
}

/* Reads a key or a tensor's name: not empty, UTF-8, no NUL inside. */
static enum status read_name(struct parse *parse, size_t bytes_max, char **out)
{
    size_t n_bytes = 0, bad_byte = 0;
    enum status status = read_length(parse, bytes_max, &n_bytes);
    if (status)
        return status;
    if (n_bytes == 0)
        return error_set(parse->err, ERR_FORMAT, "%s has an empty name", parse->subject);
    char *name = mem_alloc(n_bytes + 1);
    if (!name)
        return no_memory(parse, n_bytes + 1);
    reader_bytes(parse->reader, name, n_bytes, parse->subject);
    name[n_bytes] = '\0';
    status = reader_status(parse);
    if (!status && memchr(name, 0, n_bytes))
        status = error_set(parse->err, ERR_FORMAT, "%s has a NUL in its name", parse->subject);
    if (!status && !utf8_is_valid(name, n_bytes, &bad_byte))
        status = error_set(parse->err, ERR_FORMAT, "%s has a name that is not UTF-8 at byte %zu",
                           parse->subject, bad_byte);
    if (status) {
        mem_free(name);
        return status;
    }
    *out = name;
    return OK;
}

/* ---- metadata ---- */

static size_t kind_bytes_min(uint32_t kind)
{
    switch (kind) {
#define X(name, id, bytes, text)                                                                   \
    case id:                                                                                       \
        return bytes;
        GGUF_KIND_LIST(X)
#undef X
    }
    return 0;
}

static enum status check_truth_values(struct parse *parse, const uint8_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (values[i] > 1)
            return error_set(parse->err, ERR_FORMAT, "%s: truth value %u at item %zu, not 0 or 1",
                             parse->subject, values[i], i);
    }
    return OK;
}

static enum status read_string(struct parse *parse, struct gguf_entry *entry)
{
    enum status status = read_length(parse, GGUF_STRING_BYTES_MAX, &entry->n_bytes);
    if (status)
        return status;
    entry->items = mem_alloc(entry->n_bytes + 1);
    if (!entry->items)
        return no_memory(parse, entry->n_bytes + 1);
    reader_bytes(parse->reader, entry->items, entry->n_bytes, parse->subject);
    entry->items[entry->n_bytes] = '\0';
    return reader_status(parse);
}

static enum status read_number_array(struct parse *parse, struct gguf_entry *entry)
{
    /* n_items was held against the bytes left, so the product is at most those. */
    entry->n_bytes = entry->n_items * kind_bytes_min(entry->item_kind);
    entry->items = mem_alloc(entry->n_bytes + 1);
    if (!entry->items)
        return no_memory(parse, entry->n_bytes + 1);
    reader_bytes(parse->reader, entry->items, entry->n_bytes, parse->subject);
    entry->items[entry->n_bytes] = '\0';
    if (reader_status(parse))
        return reader_status(parse);
    if (entry->item_kind == GGUF_BOOL)
        return check_truth_values(parse, entry->items, entry->n_items);
    return OK;
}

/* Makes room for n_more bytes and a NUL behind n_bytes. Doubles, but never past what the rest of
 * the input could fill. */
static bool grow_items(struct parse *parse, struct gguf_entry *entry, size_t *capacity,
                       size_t n_more)
{
    size_t wanted = entry->n_bytes + n_more + 1;
    if (wanted <= *capacity)
        return true;
    size_t most = entry->n_bytes + (size_t)header_left(parse) + 1;
    size_t next = *capacity > most / 2 ? most : *capacity * 2;
    if (next < wanted)
        next = wanted;
    uint8_t *items = mem_realloc_array(entry->items, next, 1);
    if (!items)
        return false;
    entry->items = items;
    *capacity = next;
    return true;
}

/* One blob and an array of offsets: a vocabulary of 150,000 strings is two allocations. */
static enum status read_string_array(struct parse *parse, struct gguf_entry *entry)
{
    size_t capacity = 0;
    entry->starts = mem_alloc_array(entry->n_items + 1, sizeof *entry->starts);
    if (!entry->starts)
        return no_memory(parse, (entry->n_items + 1) * sizeof *entry->starts);
    if (!grow_items(parse, entry, &capacity, 0))
        return no_memory(parse, 1);
    for (size_t i = 0; i < entry->n_items; i++) {
        size_t n_bytes = 0;
        enum status status = read_length(parse, GGUF_STRING_BYTES_MAX, &n_bytes);
        if (status) {
            error_prefix(parse->err, "item %zu", i);
            return status;
        }
        if (!grow_items(parse, entry, &capacity, n_bytes))
            return no_memory(parse, n_bytes);
        if (!reader_bytes(parse->reader, entry->items + entry->n_bytes, n_bytes, parse->subject))
            return reader_status(parse);
        entry->starts[i] = entry->n_bytes;
        entry->n_bytes += n_bytes;
    }
    entry->starts[entry->n_items] = entry->n_bytes;
    entry->items[entry->n_bytes] = '\0';
    uint8_t *exact = mem_realloc_array(entry->items, entry->n_bytes + 1, 1);
    if (exact)
        entry->items = exact;
    return OK;
}

static enum status read_array(struct parse *parse, struct gguf_entry *entry)
{
    entry->item_kind = reader_u32(parse->reader, parse->subject);
    uint64_t n_items = reader_u64(parse->reader, parse->subject);
    if (reader_status(parse))
        return reader_status(parse);
    if (entry->item_kind == GGUF_ARRAY)
        return error_set(parse->err, ERR_UNSUPPORTED, "%s is an array of arrays", parse->subject);
    size_t item_bytes = kind_bytes_min(entry->item_kind);
    if (item_bytes == 0)
        return error_set(parse->err, ERR_FORMAT, "%s is an array of unknown kind %u",
                         parse->subject, entry->item_kind);
    if (n_items > header_left(parse) / item_bytes)
        return error_set(parse->err, ERR_FORMAT,
                         "%s: an array of %llu items of at least %zu bytes, %llu bytes are left",
                         parse->subject, ull(n_items), item_bytes, ull(header_left(parse)));
    entry->n_items = (size_t)n_items;
    if (entry->item_kind == GGUF_STRING)
        return read_string_array(parse, entry);
    return read_number_array(parse, entry);
}

static enum status read_value(struct parse *parse, struct gguf_entry *entry)
{
    entry->kind = entry->item_kind = reader_u32(parse->reader, parse->subject);
    entry->n_items = 1;
    if (reader_status(parse))
        return reader_status(parse);
    size_t n_bytes = kind_bytes_min(entry->kind);
    if (n_bytes == 0)
        return error_set(parse->err, ERR_FORMAT, "%s is of unknown kind %u", parse->subject,
                         entry->kind);
    if (entry->kind == GGUF_STRING)
        return read_string(parse, entry);
    if (entry->kind == GGUF_ARRAY)
        return read_array(parse, entry);
    reader_bytes(parse->reader, entry->number, n_bytes, parse->subject);
    if (reader_status(parse))
        return reader_status(parse);
    if (entry->kind == GGUF_BOOL)
        return check_truth_values(parse, entry->number, 1);
    return OK;
}

static enum status read_entries(struct parse *parse, size_t n_entries)
{
    struct gguf *gguf = parse->out;
    snprintf(parse->subject, sizeof parse->subject, "the metadata");
    if (n_entries == 0)
        return OK;
    gguf->entries = mem_calloc(n_entries, sizeof *gguf->entries);
    if (!gguf->entries)
        return no_memory(parse, n_entries * sizeof *gguf->entries);
    for (size_t i = 0; i < n_entries; i++) {
        struct gguf_entry *entry = &gguf->entries[i];
        char *key = NULL;
        snprintf(parse->subject, sizeof parse->subject, "key %zu of %zu", i, n_entries);
        enum status status = read_name(parse, GGUF_KEY_BYTES_MAX, &key);
        if (status)
            return status;
        entry->key = key;
        gguf->n_entries = i + 1;
        set_subject(parse, "key", key);
        status = read_value(parse, entry);
        if (status)
            return status;
    }
    return OK;
}

static enum status index_keys(struct parse *parse)
{
    struct gguf *gguf = parse->out;
    snprintf(parse->subject, sizeof parse->subject, "the index of keys");
    if (!name_index_init(&gguf->keys, gguf->entries, sizeof *gguf->entries, gguf->n_entries))
        return no_memory(parse, gguf->n_entries * sizeof *gguf->keys.order);
    ptrdiff_t twice = name_index_duplicate(&gguf->keys);
    if (twice == NAME_INDEX_NONE)
        return OK;
    set_subject(parse, "key", gguf->entries[twice].key);
    return error_set(parse->err, ERR_FORMAT, "%s is there twice", parse->subject);
}

static enum status find_alignment(struct parse *parse)
{
    const struct gguf_entry *entry = gguf_find(parse->out, "general.alignment");
    uint64_t alignment = GGUF_ALIGNMENT_DEFAULT;
    if (entry && entry->kind != GGUF_U32)
        return error_set(parse->err, ERR_FORMAT, "key general.alignment is %s, not %s",
                         gguf_kind_text(entry->kind), gguf_kind_text(GGUF_U32));
    if (entry)
        gguf_item_u64(entry, 0, &alignment);
    if (alignment < GGUF_ALIGNMENT_MIN || alignment > GGUF_ALIGNMENT_MAX ||
        (alignment & (alignment - 1)) != 0)
        return error_set(parse->err, ERR_FORMAT,
                         "key general.alignment is %llu, not a power of two in %d..%d",
                         ull(alignment), GGUF_ALIGNMENT_MIN, GGUF_ALIGNMENT_MAX);
    parse->out->alignment = (uint32_t)alignment;
    return OK;
}

/* ---- tensors ---- */

/* Sets tensor->bytes from its dimensions and type. */
static enum status size_tensor(struct parse *parse, struct tensor_info *tensor, uint32_t type)
{
    const struct dtype_info *info = dtype_info(type);
    uint64_t n_blocks;
    if (!info)
        return error_set(parse->err, ERR_UNSUPPORTED, "%s has the unknown type %u", parse->subject,
                         type);
    tensor->dtype = (enum dtype)type;
    if (tensor->dims[0] % info->block_elements != 0)
        return error_set(parse->err, ERR_FORMAT,
                         "%s: first dimension %llu is no multiple of %zu, the block of %s",
                         parse->subject, ull(tensor->dims[0]), info->block_elements, info->name);
    n_blocks = tensor->dims[0] / info->block_elements;
    for (size_t i = 1; i < TENSOR_DIMS_MAX; i++) {
        if (__builtin_mul_overflow(n_blocks, tensor->dims[i], &n_blocks))
            return error_set(parse->err, ERR_LIMIT, "%s: the product of its dimensions overflows",
                             parse->subject);
    }
    if (__builtin_mul_overflow(n_blocks, (uint64_t)info->block_bytes, &tensor->bytes))
        return error_set(parse->err, ERR_LIMIT, "%s: its size in bytes overflows", parse->subject);
    return OK;
}

static enum status read_tensor(struct parse *parse, struct tensor_info *tensor)
{
    struct reader *reader = parse->reader;
    tensor->n_dims = reader_u32(reader, parse->subject);
    if (reader_status(parse))
        return reader_status(parse);
    if (tensor->n_dims < 1 || tensor->n_dims > TENSOR_DIMS_MAX)
        return error_set(parse->err, ERR_FORMAT, "%s has %u dimensions, the limits are 1..%d",
                         parse->subject, tensor->n_dims, TENSOR_DIMS_MAX);
    for (size_t i = 0; i < TENSOR_DIMS_MAX; i++) {
        tensor->dims[i] = i < tensor->n_dims ? reader_u64(reader, parse->subject) : 1;
        if (reader_status(parse))
            return reader_status(parse);
        if (tensor->dims[i] < 1 || tensor->dims[i] > GGUF_DIM_MAX)
            return error_set(parse->err, ERR_FORMAT,
                             "%s: dimension %zu is %llu, the limits are 1..%llu", parse->subject, i,
                             ull(tensor->dims[i]), ull(GGUF_DIM_MAX));
    }
    uint32_t type = reader_u32(reader, parse->subject);
    tensor->offset = reader_u64(reader, parse->subject);
    if (reader_status(parse))
        return reader_status(parse);
    if (tensor->offset % parse->out->alignment != 0)
        return error_set(parse->err, ERR_FORMAT, "%s: offset %llu is no multiple of %u",
                         parse->subject, ull(tensor->offset), parse->out->alignment);
    return size_tensor(parse, tensor, type);
}

static enum status read_tensors(struct parse *parse, size_t n_tensors)
{
    struct gguf *gguf = parse->out;
    snprintf(parse->subject, sizeof parse->subject, "the tensor table");
    if (n_tensors == 0)
        return OK;
    gguf->tensors = mem_calloc(n_tensors, sizeof *gguf->tensors);
    if (!gguf->tensors)
        return no_memory(parse, n_tensors * sizeof *gguf->tensors);
    for (size_t i = 0; i < n_tensors; i++) {
        char *name = NULL;
        snprintf(parse->subject, sizeof parse->subject, "tensor %zu of %zu", i, n_tensors);
        enum status status = read_name(parse, GGUF_TENSOR_NAME_BYTES_MAX, &name);
        if (status)
            return status;
        gguf->tensors[i].name = name;
        gguf->n_tensors = i + 1;
        set_subject(parse, "tensor", name);
        status = read_tensor(parse, &gguf->tensors[i]);
        if (status)
            return status;
    }
    return OK;
}

/* Makes the offsets absolute and holds each tensor against the end of the file. */
static enum status place_tensors(struct parse *parse)
{
    struct gguf *gguf = parse->out;
    uint64_t file_bytes = parse->reader->bytes;
    uint64_t pad = -parse->reader->offset & (gguf->alignment - 1);
    gguf->data_offset = parse->reader->offset + pad;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        struct tensor_info *tensor = &gguf->tensors[i];
        uint64_t end;
        if (__builtin_add_overflow(gguf->data_offset, tensor->offset, &tensor->offset) ||
            __builtin_add_overflow(tensor->offset, tensor->bytes, &end) || end > file_bytes) {
            set_subject(parse, "tensor", tensor->name);
            return error_set(parse->err, ERR_FORMAT,
                             "%s: %llu bytes at offset %llu, but the file has %llu bytes",
                             parse->subject, ull(tensor->bytes), ull(tensor->offset),
                             ull(file_bytes));
        }
    }
    return OK;
}

static int compare_offsets(const void *a, const void *b, void *context)
{
    const struct tensor_info *tensors = context;
    uint64_t left = tensors[*(const uint32_t *)a].offset;
    uint64_t right = tensors[*(const uint32_t *)b].offset;
    return (left > right) - (left < right);
}

/* Two tensors over the same bytes mean a forged table. */
static enum status check_overlap(struct parse *parse)
{
    struct gguf *gguf = parse->out;
    snprintf(parse->subject, sizeof parse->subject, "the tensor table");
    if (gguf->n_tensors == 0)
        return OK;
    uint32_t *order = mem_alloc_array(gguf->n_tensors, sizeof *order);
    if (!order)
        return no_memory(parse, gguf->n_tensors * sizeof *order);
    for (size_t i = 0; i < gguf->n_tensors; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, gguf->n_tensors, sizeof *order, compare_offsets, gguf->tensors);
    enum status status = OK;
    for (size_t i = 1; i < gguf->n_tensors && !status; i++) {
        const struct tensor_info *before = &gguf->tensors[order[i - 1]];
        const struct tensor_info *after = &gguf->tensors[order[i]];
        char quoted[GGUF_QUOTE_BYTES];
        if (before->offset + before->bytes <= after->offset)
            continue;
        set_subject(parse, "tensor", before->name);
        status = error_set(parse->err, ERR_FORMAT, "%s overlaps tensor %s", parse->subject,
                           gguf_quote(quoted, after->name, strlen(after->name)));
    }
    mem_free(order);
    return status;
}

static enum status check_tensor_names(struct parse *parse)
{
    struct gguf *gguf = parse->out;
    struct name_index names;
    snprintf(parse->subject, sizeof parse->subject, "the index of tensors");
    if (!name_index_init(&names, gguf->tensors, sizeof *gguf->tensors, gguf->n_tensors))
        return no_memory(parse, gguf->n_tensors * sizeof *names.order);
    ptrdiff_t twice = name_index_duplicate(&names);
    name_index_release(&names);
    if (twice == NAME_INDEX_NONE)
        return OK;
    set_subject(parse, "tensor", gguf->tensors[twice].name);
    return error_set(parse->err, ERR_FORMAT, "%s is there twice", parse->subject);
}

/* ---- the file ---- */

static enum status check_magic(struct parse *parse)
{
    char magic[MAGIC_BYTES], quoted[GGUF_QUOTE_BYTES];
    snprintf(parse->subject, sizeof parse->subject, "the GGUF header");
    reader_bytes(parse->reader, magic, MAGIC_BYTES, parse->subject);
    uint32_t version = reader_u32(parse->reader, parse->subject);
    if (reader_status(parse))
        return reader_status(parse);
    if (memcmp(magic, "GGUF", MAGIC_BYTES))
        return error_set(parse->err, ERR_FORMAT, "not a GGUF file, it begins with \"%s\"%s",
                         gguf_quote(quoted, magic, MAGIC_BYTES),
                         memcmp(magic, "vers", MAGIC_BYTES) ? "" : " (a Git LFS pointer?)");
    if (version != 0 && (version & 0xffff) == 0)
        return error_set(parse->err, ERR_UNSUPPORTED, "big-endian GGUF files are not supported");
    if (version != 2 && version != 3)
        return error_set(parse->err, ERR_UNSUPPORTED,
                         "GGUF version %u is not supported, 2 and 3 are", version);
    parse->out->version = version;
    return OK;
}

/* Reads a count, caps it, and holds it against the bytes left. */
static enum status check_count(struct parse *parse, const char *what, uint64_t n, uint64_t n_max,
                               uint64_t record_bytes)
{
    uint64_t left = header_left(parse);
    if (n > n_max)
        return error_set(parse->err, ERR_LIMIT, "%llu %s, the limit is %llu", ull(n), what,
                         ull(n_max));
    if (n > left / record_bytes)
        return error_set(parse->err, ERR_FORMAT, "%llu %s do not fit in the %llu bytes left",
                         ull(n), what, ull(left));
    return OK;
}

static enum status read_all(struct parse *parse)
{
    enum status status = check_magic(parse);
    if (status)
        return status;
    uint64_t n_tensors = reader_u64(parse->reader, parse->subject);
    uint64_t n_entries = reader_u64(parse->reader, parse->subject);
    status = reader_status(parse);
    if (!status)
        status = check_count(parse, "tensors", n_tensors, GGUF_TENSORS_MAX, TENSOR_BYTES_MIN);
    if (!status)
        status = check_count(parse, "keys", n_entries, GGUF_KEYS_MAX, ENTRY_BYTES_MIN);
    if (!status)
        status = read_entries(parse, (size_t)n_entries);
    if (!status)
        status = index_keys(parse);
    if (!status)
        status = find_alignment(parse);
    if (!status)
        status = read_tensors(parse, (size_t)n_tensors);
    if (!status)
        status = check_tensor_names(parse);
    if (!status)
        status = place_tensors(parse);
    if (!status)
        status = check_overlap(parse);
    return status;
}

enum status gguf_read(struct gguf *out, struct reader *reader, struct error *err)
{
    struct error own = {0};
    struct parse parse = {.out = out, .reader = reader, .err = &own};
    struct error *reader_err = reader->err;
    *out = (struct gguf){0};
    reader->err = &own;  // so that the cursor's status is known even when err is NULL
    enum status status = read_all(&parse);
    reader->err = reader_err;
    if (!status)
        return OK;
    gguf_release(out);
    return error_set(err, status, "%s", own.text);
}

void gguf_release(struct gguf *gguf)
{
    for (size_t i = 0; i < gguf->n_entries; i++) {
        mem_free((char *)gguf->entries[i].key);
        mem_free(gguf->entries[i].items);
        mem_free(gguf->entries[i].starts);
    }
    for (size_t i = 0; i < gguf->n_tensors; i++)
        mem_free((char *)gguf->tensors[i].name);
    mem_free(gguf->entries);
    mem_free(gguf->tensors);
    name_index_release(&gguf->keys);
    *gguf = (struct gguf){0};
}

const struct gguf_entry *gguf_find(const struct gguf *gguf, const char *key)
{
    ptrdiff_t i = name_index_find(&gguf->keys, key);
    return i == NAME_INDEX_NONE ? NULL : &gguf->entries[i];
}
