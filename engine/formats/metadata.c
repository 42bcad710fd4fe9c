/* Metadata in GGUF's form, built key by key; see metadata.h.
 *
 * Some dozen keys are added one at a time, so a look for an earlier one walks over all. */
#include "engine/formats/metadata.h"

#include <string.h>

#include "engine/base/mem.h"

bool metadata_has(const struct metadata *metadata, const char *key)
{
    for (size_t i = 0; i < metadata->gguf.n_entries; i++) {
        if (!strcmp(metadata->gguf.entries[i].key, key))
            return true;
    }
    return false;
}

/* A new entry of a kind, or NULL when the key is there or memory is out. */
static struct gguf_entry *add(struct metadata *metadata, const char *key, uint32_t kind)
{
    struct gguf *gguf = &metadata->gguf;
    if (metadata->no_memory || metadata_has(metadata, key))
        return NULL;
    if (gguf->n_entries == metadata->capacity) {
        size_t wanted = metadata->capacity ? 2 * metadata->capacity : 64;
        struct gguf_entry *entries = mem_realloc_array(gguf->entries, wanted, sizeof *entries);
        if (entries) {
            gguf->entries = entries;
            metadata->capacity = wanted;
        }
    }
    char *copy = gguf->n_entries < metadata->capacity ? mem_strdup(key) : NULL;
    if (!copy) {
        metadata->no_memory = true;
        return NULL;
    }
    struct gguf_entry *entry = &gguf->entries[gguf->n_entries++];
    *entry = (struct gguf_entry){.key = copy, .kind = kind, .item_kind = kind, .n_items = 1};
    return entry;
}

static void add_number(struct metadata *metadata, const char *key, uint32_t kind, const void *value,
                       size_t n_bytes)
{
    struct gguf_entry *entry = add(metadata, key, kind);
    if (entry)
        memcpy(entry->number, value, n_bytes);
}

void metadata_u64(struct metadata *metadata, const char *key, uint64_t value)
{
    add_number(metadata, key, GGUF_U64, &value, sizeof value);
}

void metadata_f64(struct metadata *metadata, const char *key, double value)
{
    add_number(metadata, key, GGUF_F64, &value, sizeof value);
}

void metadata_bool(struct metadata *metadata, const char *key, bool value)
{
    uint8_t byte = value;
    add_number(metadata, key, GGUF_BOOL, &byte, sizeof byte);
}

void metadata_text(struct metadata *metadata, const char *key, const char *text, size_t n_bytes)
{
    struct gguf_entry *entry = add(metadata, key, GGUF_STRING);
    if (!entry)
        return;
    entry->items = (uint8_t *)mem_memdup0(text, n_bytes);
    entry->n_bytes = n_bytes;
    metadata->no_memory |= !entry->items;
}

void metadata_numbers_take(struct metadata *metadata, const char *key, enum gguf_kind kind,
                           void *items, size_t n_items, size_t item_bytes)
{
    struct gguf_entry *entry = add(metadata, key, GGUF_ARRAY);
    if (!entry) {
        mem_free(items);
        return;
    }
    entry->item_kind = kind;
    entry->items = items;
    entry->n_items = n_items;
    entry->n_bytes = n_items * item_bytes;
}

void metadata_texts_take(struct metadata *metadata, const char *key, char *bytes, size_t *starts,
                         size_t n_items)
{
    struct gguf_entry *entry = add(metadata, key, GGUF_ARRAY);
    if (!entry) {
        mem_free(bytes);
        mem_free(starts);
        return;
    }
    entry->item_kind = GGUF_STRING;
    entry->items = (uint8_t *)bytes;
    entry->starts = starts;
    entry->n_items = n_items;
    entry->n_bytes = starts[n_items];
}

enum status metadata_finish(struct metadata *metadata, struct error *err)
{
    struct gguf *gguf = &metadata->gguf;
    if (!metadata->no_memory &&
        name_index_init(&gguf->keys, gguf->entries, sizeof *gguf->entries, gguf->n_entries))
        return OK;
    return error_set(err, ERR_MEMORY, "no memory for %zu keys of metadata", gguf->n_entries);
}

void metadata_release(struct metadata *metadata)
{
    gguf_release(&metadata->gguf);
    *metadata = (struct metadata){0};
}
