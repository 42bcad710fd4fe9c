/* Fuzz target: the GGUF header reader and the model view over it.
 *
 * Beyond "no crash" it asks of every input:
 *   - what the reader keeps at its peak is at most ALLOCATION_FACTOR times the input;
 *   - a refused file has a status and a text of printable characters;
 *   - an accepted one, written out again from what was read, gives the input's own bytes: nothing
 *     was skipped, cut or misread;
 *   - each tensor's size, computed here in 128 bits, is the reader's, and its bytes lie in the file
 *     behind the header and in no other tensor;
 *   - the same bytes through a file give the same answer as through memory.
 * The mutator knows the format: it walks the input as far as it can, picks one length, count, kind,
 * dimension or offset and sets it to a value that readers get wrong.
 *
 * fuzz-sources: engine/base engine/formats/gguf.c engine/formats/gguf_value.c
 *               engine/formats/gguf_set.c engine/formats/hf_config.c engine/formats/hf_rope.c
 *               engine/formats/hf_directory.c engine/formats/hf_tensors.c
 *               engine/formats/hf_tokenizer.c engine/formats/hf_sentencepiece.c
 *               engine/formats/sentencepiece.c engine/formats/json_doc.c
 *               engine/formats/metadata.c engine/formats/model_file.c engine/formats/name_index.c
 *               engine/formats/quantize.c engine/formats/safetensors.c
 *               engine/formats/tensor_source.c
 * fuzz-libraries: -lnettle -lm -lpthread */
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/formats/gguf.h"
#include "engine/formats/model_file.h"
#include "tests/engine/formats/gguf_build.h"
#include "tests/fuzz/fuzz.h"

enum {
    ALLOCATION_FACTOR = 8,    // worst measured: 4.3, for short keys
    ALLOCATION_BYTES = 1024,  // for the empty file
    FIELDS_MAX = 4096,
};

/* ---- what an accepted file must be ---- */

static void write_entry(struct gguf_build *build, const struct gguf_entry *entry)
{
    build_key(build, entry->key, entry->kind);
    if (entry->kind == GGUF_ARRAY) {
        build_u32(build, entry->item_kind);
        build_u64(build, entry->n_items);
    }
    if (entry->item_kind == GGUF_STRING) {
        for (size_t i = 0; i < entry->n_items; i++) {
            struct text_view text;
            FUZZ_CHECK(gguf_item_text(entry, i, &text));
            build_text_n(build, text.bytes, text.n_bytes);
        }
        return;
    }
    static const size_t number_bytes[] = {
#define X(name, id, bytes, text) [id] = bytes,
        GGUF_KIND_LIST(X)
#undef X
    };
    size_t item_bytes = number_bytes[entry->item_kind];
    build_bytes(build, entry->items ? entry->items : entry->number, entry->n_items * item_bytes);
}

static void check_same_bytes(const struct gguf *gguf, const uint8_t *data, size_t size)
{
    struct gguf_build build = {0};
    build_header(&build, gguf->version, gguf->n_tensors, gguf->n_entries);
    for (size_t i = 0; i < gguf->n_entries; i++)
        write_entry(&build, &gguf->entries[i]);
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const struct tensor_info *tensor = &gguf->tensors[i];
        build_tensor(&build, tensor->name, tensor->n_dims, tensor->dims, tensor->dtype,
                     tensor->offset - gguf->data_offset);
    }
    FUZZ_CHECK(build.n_bytes <= size);
    FUZZ_CHECK(memcmp(build.bytes, data, build.n_bytes) == 0);
    FUZZ_CHECK(gguf->data_offset >= build.n_bytes);
    FUZZ_CHECK(gguf->data_offset - build.n_bytes < gguf->alignment);
    FUZZ_CHECK(gguf->data_offset % gguf->alignment == 0);
    build_release(&build);
}

static void check_tensors(const struct gguf *gguf, size_t size)
{
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const struct tensor_info *tensor = &gguf->tensors[i];
        const struct dtype_info *info = dtype_info(tensor->dtype);
        unsigned __int128 bytes = 1;
        FUZZ_CHECK(info && tensor->n_dims >= 1 && tensor->n_dims <= TENSOR_DIMS_MAX);
        for (size_t j = 0; j < TENSOR_DIMS_MAX; j++) {
            FUZZ_CHECK(tensor->dims[j] >= 1 && (j < tensor->n_dims || tensor->dims[j] == 1));
            if (bytes <= size * 256)
                bytes *= tensor->dims[j];
        }
        bytes = bytes / info->block_elements * info->block_bytes;
        FUZZ_CHECK(bytes == tensor->bytes && tensor->dims[0] % info->block_elements == 0);
        FUZZ_CHECK(tensor->offset >= gguf->data_offset && tensor->offset <= size);
        FUZZ_CHECK(tensor->bytes <= size - tensor->offset);
        for (size_t j = 0; j < i && i < 200; j++) {
            const struct tensor_info *other = &gguf->tensors[j];
            FUZZ_CHECK(strcmp(tensor->name, other->name) != 0);
            FUZZ_CHECK(tensor->offset + tensor->bytes <= other->offset ||
                       other->offset + other->bytes <= tensor->offset);
        }
    }
}

static void check_entries(const struct gguf *gguf)
{
    for (size_t i = 0; i < gguf->n_entries; i++) {
        const struct gguf_entry *entry = &gguf->entries[i];
        FUZZ_CHECK(gguf_find(gguf, entry->key) == entry);
        for (size_t j = 0; j < entry->n_items; j++) {
            uint64_t u = 0;
            int64_t s = 0;
            double f = 0;
            bool is_u = gguf_item_u64(entry, j, &u), is_s = gguf_item_i64(entry, j, &s);
            FUZZ_CHECK(!is_u || !is_s || (s >= 0 && u == (uint64_t)s));
            if (gguf_item_f64(entry, j, &f) && (is_u || is_s))
                FUZZ_CHECK(is_u ? f == (double)u : f == (double)s);
        }
    }
}

/* ---- the two ways in ---- */

static enum status read_memory(const uint8_t *data, size_t size)
{
    struct reader reader;
    struct gguf gguf;
    struct error err = {0};
    reader_init_memory(&reader, data, size, &err);
    fuzz_allocation_start();
    enum status status = gguf_read(&gguf, &reader, &err);
    FUZZ_CHECK(fuzz_allocation_peak() <= ALLOCATION_FACTOR * size + ALLOCATION_BYTES);
    FUZZ_CHECK(status == err.status);
    if (status) {
        FUZZ_CHECK(err.text[0] != '\0');
        for (const char *c = err.text; *c; c++)
            FUZZ_CHECK(*c >= 0x20 && *c < 0x7f);
    } else {
        check_same_bytes(&gguf, data, size);
        check_tensors(&gguf, size);
        check_entries(&gguf);
    }
    gguf_release(&gguf);
    return status;
}

/* Opens the same bytes as a file; `wanted` is what the header alone gave. */
static void open_as_file(const uint8_t *data, size_t size, enum status wanted)
{
    char path[64];
    struct model_file *file;
    struct error err = {0};
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size)) {
        close(fd);
        return;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum status status = model_file_open(&file, path, &err);
    bool is_split = strstr(err.text, "split.") || strstr(err.text, "shard");
    FUZZ_CHECK(status == wanted || (wanted == OK && is_split));
    for (size_t i = 0; status == OK && i < model_file_tensors(file); i++) {
        const struct tensor_info *tensor = model_file_tensor_at(file, i);
        uint8_t last;
        FUZZ_CHECK(model_file_tensor(file, tensor->name) == tensor);
        FUZZ_CHECK(model_file_read(file, tensor, tensor->bytes - 1, 1, &last, NULL) == OK);
        FUZZ_CHECK(last == data[tensor->offset + tensor->bytes - 1]);
        FUZZ_CHECK(model_file_read(file, tensor, tensor->bytes, 1, &last, NULL) != OK);
    }
    model_file_close(file);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum status status = read_memory(data, size);
    /* A file costs fifty times a parse, so one refused input in sixteen takes that way. */
    if (status == OK || size % 16 == 0)
        open_as_file(data, size, status);
    return 0;
}

/* ---- the mutator ---- */

struct field {
    size_t offset;
    size_t n_bytes;
    bool is_place;  // offset of a tensor's data
};

struct walk {
    const uint8_t *data;
    size_t size, at;
    struct field fields[FIELDS_MAX];
    size_t n_fields;
};

/* Notes a number and returns it; past the end 0, and the walk is over. */
static uint64_t walk_number(struct walk *walk, size_t n_bytes)
{
    uint64_t value = 0;
    if (n_bytes > walk->size - walk->at) {
        walk->at = walk->size;
        return 0;
    }
    memcpy(&value, walk->data + walk->at, n_bytes);
    if (walk->n_fields < FIELDS_MAX)
        walk->fields[walk->n_fields++] = (struct field){walk->at, n_bytes, false};
    walk->at += n_bytes;
    return value;
}

static void walk_skip(struct walk *walk, uint64_t n_bytes)
{
    walk->at = n_bytes > walk->size - walk->at ? walk->size : walk->at + (size_t)n_bytes;
}

static void walk_value(struct walk *walk, uint64_t kind)
{
    static const uint8_t number_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (kind == GGUF_STRING) {
        walk_skip(walk, walk_number(walk, 8));
    } else if (kind == GGUF_ARRAY) {
        uint64_t item_kind = walk_number(walk, 4), n_items = walk_number(walk, 8);
        if (item_kind == GGUF_ARRAY)
            return;
        for (uint64_t i = 0; i < n_items && walk->at < walk->size; i++)
            walk_value(walk, item_kind);
    } else if (kind < sizeof number_bytes) {
        walk_number(walk, number_bytes[kind]);
    } else {
        walk->at = walk->size;
    }
}

static void walk_file(struct walk *walk)
{
    walk_skip(walk, 4);
    walk_number(walk, 4);
    uint64_t n_tensors = walk_number(walk, 8), n_entries = walk_number(walk, 8);
    for (uint64_t i = 0; i < n_entries && walk->at < walk->size; i++) {
        walk_skip(walk, walk_number(walk, 8));
        walk_value(walk, walk_number(walk, 4));
    }
    for (uint64_t i = 0; i < n_tensors && walk->at < walk->size; i++) {
        walk_skip(walk, walk_number(walk, 8));
        uint64_t n_dims = walk_number(walk, 4);
        for (uint64_t j = 0; j < n_dims && walk->at < walk->size; j++)
            walk_number(walk, 8);
        walk_number(walk, 4);
        walk_number(walk, 8);
        if (walk->n_fields)
            walk->fields[walk->n_fields - 1].is_place = true;
    }
}

/* A value that readers get wrong, given the old one and the bytes behind the field. */
static uint64_t hostile_value(uint32_t *random, uint64_t old, uint64_t left)
{
    uint64_t power = UINT64_C(1) << fuzz_random(random, 64);
    switch (fuzz_random(random, 13)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX - fuzz_random(random, 64);
    case 2:
        return old + 1;
    case 3:
        return old - 1;
    case 4:
        return left / (1 + fuzz_random(random, 16)) + fuzz_random(random, 3) - 1;
    case 5:
        return power + fuzz_random(random, 3) - 1;
    case 6:
        return old ^ power;
    case 7:
        return old * power;
    case 8:
        return fuzz_random(random, 48);
    case 9:
        return 32 * fuzz_random(random, 16);
    case 10:
        return -(UINT64_C(32) * fuzz_random(random, 64));
    case 11:
        return -old;
    default:
        return old * (1 + fuzz_random(random, 300));
    }
}

/* Two neighbours of eight bytes, mostly dimensions of one tensor, get factors of 2^64 or a little
 * more: each within its limit, the product a small number once it has wrapped. */
static void set_wrapping_pair(const struct walk *walk, uint8_t *data, uint32_t *random)
{
    uint32_t first = fuzz_random(random, (uint32_t)walk->n_fields);
    for (size_t i = first; i + 1 < walk->n_fields; i++) {
        const struct field *a = &walk->fields[i], *b = &walk->fields[i + 1];
        if (a->n_bytes != 8 || b->n_bytes != 8 || a->offset + 8 != b->offset)
            continue;
        uint32_t shift = 24 + fuzz_random(random, 17);
        uint64_t left = UINT64_C(1) << shift, right = UINT64_C(1) << (64 - shift);
        if (fuzz_random(random, 2))
            left >>= fuzz_random(random, 8);
        memcpy(data + a->offset, &left, 8);
        memcpy(data + b->offset, &right, 8);
        return;
    }
}

/* A tensor's place from which its end wraps past 2^64 to a place inside the file. */
static void set_wrapping_place(const struct walk *walk, uint8_t *data, uint32_t *random)
{
    uint32_t first = fuzz_random(random, (uint32_t)walk->n_fields);
    for (size_t i = first; i < walk->n_fields; i++) {
        uint64_t place = -(uint64_t)(walk->at / 32 * 32 + 32 * fuzz_random(random, 10));
        if (!walk->fields[i].is_place)
            continue;
        memcpy(data + walk->fields[i].offset, &place, 8);
        return;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static struct walk walk;
    uint32_t random = seed;
    walk = (struct walk){.data = data, .size = size};
    walk_file(&walk);
    if (walk.n_fields == 0 || fuzz_random(&random, 3) == 0)
        return fuzz_mutate(data, size, max_size);
    uint32_t choice = fuzz_random(&random, 12);
    if (choice < 2) {
        (choice ? set_wrapping_pair : set_wrapping_place)(&walk, data, &random);
        return size;
    }
    for (uint32_t n = 1 + fuzz_random(&random, 3); n > 0; n--) {
        struct field field = walk.fields[fuzz_random(&random, (uint32_t)walk.n_fields)];
        uint64_t old = 0;
        memcpy(&old, data + field.offset, field.n_bytes);
        uint64_t value = hostile_value(&random, old, size - field.offset - field.n_bytes);
        memcpy(data + field.offset, &value, field.n_bytes);
    }
    return size;
}
