/* Sorted permutation over named records; see name_index.h for why it is not a hash table.
 *
 * A model has some dozen keys and some hundred to some thousand tensors, each looked up a few times
 * while it is opened, so seventeen string compares a look-up cost nothing. qsort_r of glibc takes
 * scratch memory of its own and does without it when there is none. */
#include "engine/formats/name_index.h"

#include <assert.h>

#include "engine/base/mem.h"

static const char *name_at(const struct name_index *index, size_t record)
{
    const char *const *field =
        (const void *)((const char *)index->records + record * index->record_bytes);
    return *field;
}

static int compare_records(const void *a, const void *b, void *context)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    int order = strcmp(name_at(context, left), name_at(context, right));
    return order ? order : (left > right) - (left < right);
}

bool name_index_init(struct name_index *index, const void *records, size_t record_bytes,
                     size_t n_records)
{
    assert(n_records <= UINT32_MAX);
    *index = (struct name_index){records, record_bytes, n_records, NULL};
    if (n_records == 0)
        return true;
    index->order = mem_alloc_array(n_records, sizeof *index->order);
    if (!index->order)
        return false;
    for (size_t i = 0; i < n_records; i++)
        index->order[i] = (uint32_t)i;
    qsort_r(index->order, n_records, sizeof *index->order, compare_records, index);
    return true;
}

void name_index_release(struct name_index *index)
{
    mem_free(index->order);
    *index = (struct name_index){0};
}

ptrdiff_t name_index_find(const struct name_index *index, const char *name)
{
    size_t first = 0, last = index->n_records;
    while (first < last) {
        size_t middle = first + (last - first) / 2;
        int order = strcmp(name, name_at(index, index->order[middle]));
        if (order == 0)
            return index->order[middle];
        if (order < 0)
            last = middle;
        else
            first = middle + 1;
    }
    return NAME_INDEX_NONE;
}

ptrdiff_t name_index_duplicate(const struct name_index *index)
{
    for (size_t i = 1; i < index->n_records; i++) {
        if (!strcmp(name_at(index, index->order[i - 1]), name_at(index, index->order[i])))
            return index->order[i];
    }
    return NAME_INDEX_NONE;
}
