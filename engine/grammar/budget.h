/* What one grammar may use: bytes of memory and steps of work, and the first failure.
 *
 * A schema or pattern comes from outside, so every table of a grammar grows through here. A failure
 * is sticky: builders go on with dummies and the caller asks once at its end. */
#ifndef WICARA_GRAMMAR_BUDGET_H
#define WICARA_GRAMMAR_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct budget {
    size_t n_bytes, bytes_max;
    uint64_t work, work_max;  // since budget_start()
    enum status failed;       // OK, ERR_LIMIT or ERR_MEMORY
};

static inline void budget_start(struct budget *budget, uint64_t work_max)
{
    budget->work = 0;
    budget->work_max = work_max;
}

/* Counts a step; false when the budget is used up. */
static inline bool budget_work(struct budget *budget, uint64_t steps)
{
    budget->work += steps;
    if (budget->work <= budget->work_max)
        return budget->failed == OK;
    if (budget->failed == OK)
        budget->failed = ERR_LIMIT;
    return false;
}

/* Makes room for `needed` items of `item_bytes`; *items and *capacity stay as they are on failure.
 * New memory is not zeroed. */
bool budget_grow(struct budget *budget, void **items, size_t *capacity, size_t needed,
                 size_t item_bytes);
/* Frees what budget_grow() made. */
void budget_free(struct budget *budget, void **items, size_t *capacity, size_t item_bytes);

#define GROW(budget, array, capacity, needed)                                                      \
    ((needed) <= (capacity) ||                                                                     \
     budget_grow(budget, (void **)(void *)&(array), &(capacity), needed, sizeof *(array)))
#define DROP(budget, array, capacity)                                                              \
    budget_free(budget, (void **)(void *)&(array), &(capacity), sizeof *(array))

/* OK, or the failure with a text that names `what`. */
enum status budget_status(const struct budget *budget, const char *what,
                          struct error *err) MUST_CHECK;

#endif
