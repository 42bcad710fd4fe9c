/* Bytes and work of one grammar; see budget.h.
 *
 * Arrays double, so that n appends cost O(n). Only growth is counted, so an array that is filled
 * again after a fresh start costs nothing more. */
#include "engine/grammar/budget.h"

#include "engine/base/mem.h"

bool budget_grow(struct budget *budget, void **items, size_t *capacity, size_t needed,
                 size_t item_bytes)
{
    if (needed <= *capacity)
        return true;
    size_t wanted = *capacity < 16 ? 16 : 2 * *capacity;
    if (wanted < needed)
        wanted = needed;
    size_t added;
    if (!size_mul(wanted - *capacity, item_bytes, &added) ||
        added > budget->bytes_max - budget->n_bytes) {
        if (budget->failed == OK)
            budget->failed = ERR_LIMIT;
        return false;
    }
    void *grown = mem_realloc_array(*items, wanted, item_bytes);
    if (grown == NULL) {
        if (budget->failed == OK)
            budget->failed = ERR_MEMORY;
        return false;
    }
    *items = grown;
    *capacity = wanted;
    budget->n_bytes += added;
    return true;
}

void budget_free(struct budget *budget, void **items, size_t *capacity, size_t item_bytes)
{
    mem_free(*items);
    budget->n_bytes -= *capacity * item_bytes;
    *items = NULL;
    *capacity = 0;
}

enum status budget_status(const struct budget *budget, const char *what, struct error *err)
{
    if (budget->failed == OK)
        return OK;
    if (budget->failed == ERR_MEMORY)
        return error_set(err, ERR_MEMORY, "no memory for %s", what);
    if (budget->work > budget->work_max)
        return error_set(err, ERR_LIMIT, "%s is too complex: more than %llu steps of work", what,
                         (unsigned long long)budget->work_max);
    return error_set(err, ERR_LIMIT, "%s is too complex: more than %zu bytes of memory", what,
                     budget->bytes_max);
}
