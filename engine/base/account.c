/* The memory account; see account.h.
 *
 * A reservation is one compare-and-swap on the total, so that two threads can never pass the limit
 * together; the classes are only for display and follow it. */
#include "engine/base/account.h"

#include <assert.h>
#include <stdint.h>

static const char *const class_names[] = {
#define X(name, text) text,
    ACCOUNT_LIST(X)
#undef X
};

const char *account_class_name(enum account_class class)
{
    return class_names[class];
}

void account_init(struct account *account, size_t limit_bytes)
{
    account->limit_bytes = limit_bytes;
    atomic_init(&account->used_bytes, 0);
    for (int i = 0; i < ACCOUNT_CLASSES; i++)
        atomic_init(&account->class_bytes[i], 0);
}

enum status account_reserve(struct account *account, enum account_class class, size_t bytes,
                            struct error *err)
{
    size_t limit = account->limit_bytes ? account->limit_bytes : SIZE_MAX;
    size_t used = atomic_load(&account->used_bytes);
    do {
        if (used > limit || bytes > limit - used)
            return error_set(err, ERR_LIMIT, "%s needs %zu bytes of memory, %zu of %zu are left",
                             class_names[class], bytes, used > limit ? 0 : limit - used, limit);
    } while (!atomic_compare_exchange_weak(&account->used_bytes, &used, used + bytes));
    atomic_fetch_add(&account->class_bytes[class], bytes);
    return OK;
}

void account_release(struct account *account, enum account_class class, size_t bytes)
{
    size_t before = atomic_fetch_sub(&account->class_bytes[class], bytes);
    assert(before >= bytes);
    atomic_fetch_sub(&account->used_bytes, bytes);
}
