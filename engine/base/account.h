/* The memory account of the process: what each consumer holds, against one limit.
 * Thread-safe. Reserve before allocating, release after freeing. */
#ifndef WICARA_BASE_ACCOUNT_H
#define WICARA_BASE_ACCOUNT_H

#include <stdatomic.h>
#include <stddef.h>

#include "engine/base/error.h"

#define ACCOUNT_LIST(X)                                                                            \
    X(WEIGHTS, "weights")                                                                          \
    X(KV, "kv")                                                                                    \
    X(SCRATCH, "scratch")                                                                          \
    X(QUEUE, "queue")

enum account_class {
#define X(name, text) ACCOUNT_##name,
    ACCOUNT_LIST(X)
#undef X
        ACCOUNT_CLASSES
};

struct account {
    size_t limit_bytes;         // 0 = none
    _Atomic size_t used_bytes;  // sum of the classes
    _Atomic size_t class_bytes[ACCOUNT_CLASSES];
};

void account_init(struct account *account, size_t limit_bytes);
/* ERR_LIMIT naming the class, the wish and what is left. */
enum status account_reserve(struct account *account, enum account_class class, size_t bytes,
                            struct error *err) MUST_CHECK;
void account_release(struct account *account, enum account_class class, size_t bytes);
const char *account_class_name(enum account_class class);

#endif
