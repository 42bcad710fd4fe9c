/* Building metadata in GGUF's form in memory, from files that are no GGUF.
 *
 * The keys and kinds are those that a converted file would carry, so that whoever reads a model
 * need not know where it came from. A key that is there already keeps its first value. Failures are
 * kept in the struct: a chain of calls needs one check, metadata_finish. */
#ifndef WICARA_FORMATS_METADATA_H
#define WICARA_FORMATS_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/formats/gguf.h"

struct metadata {
    struct gguf gguf;  // entries alone; `keys` is made by metadata_finish
    size_t capacity;
    bool no_memory;
};

void metadata_u64(struct metadata *metadata, const char *key, uint64_t value);
void metadata_f64(struct metadata *metadata, const char *key, double value);
void metadata_bool(struct metadata *metadata, const char *key, bool value);
void metadata_text(struct metadata *metadata, const char *key, const char *text, size_t n_bytes);

/* Arrays whose memory the metadata takes, also on failure: numbers of a kind, or strings as one
 * block with starts[n_items + 1]. */
void metadata_numbers_take(struct metadata *metadata, const char *key, enum gguf_kind kind,
                           void *items, size_t n_items, size_t item_bytes);
void metadata_texts_take(struct metadata *metadata, const char *key, char *bytes, size_t *starts,
                         size_t n_items);

bool metadata_has(const struct metadata *metadata, const char *key);

/* Makes the index; afterwards gguf_find works on `gguf`. ERR_MEMORY. */
enum status metadata_finish(struct metadata *metadata, struct error *err) MUST_CHECK;
void metadata_release(struct metadata *metadata);

#endif
