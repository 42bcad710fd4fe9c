/* Finds a record by its name among records that arrive in any order.
 *
 * The records are structs whose first field is `const char *`, the name. The index is a sorted
 * permutation: unlike a hash table it has no bad case that a hostile file could choose, and equal
 * names end up side by side. The records are borrowed and must not move while it is used. */
#ifndef WICARA_FORMATS_NAME_INDEX_H
#define WICARA_FORMATS_NAME_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name_index {
    const void *records;
    size_t record_bytes;  // distance from one record to the next
    size_t n_records;     // <= UINT32_MAX
    uint32_t *order;      // [n_records] record numbers, ascending by name, then by number
};

enum { NAME_INDEX_NONE = -1 };

/* False when memory is out. */
bool name_index_init(struct name_index *index, const void *records, size_t record_bytes,
                     size_t n_records);
void name_index_release(struct name_index *index);

/* Number of the record with that name, or NAME_INDEX_NONE. */
ptrdiff_t name_index_find(const struct name_index *index, const char *name);

/* Number of a record whose name an earlier record has too, or NAME_INDEX_NONE. */
ptrdiff_t name_index_duplicate(const struct name_index *index);

#endif
