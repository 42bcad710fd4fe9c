/* Requests in flight per API key: one key must not fill the server (429, not 503). */
#ifndef WICARA_SERVER_LIMITS_H
#define WICARA_SERVER_LIMITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"

struct key_limits {
    size_t jobs_max;  // 0 = no limit
    size_t n_keys;
    _Atomic size_t *jobs;  // [n_keys]
};

enum status key_limits_init(struct key_limits *limits, size_t n_keys, size_t jobs_max,
                            struct error *err) MUST_CHECK;
void key_limits_release(struct key_limits *limits);

/* False when the key has as many requests in flight as it may. */
bool key_limits_enter(struct key_limits *limits, int key);
void key_limits_leave(struct key_limits *limits, int key);

#endif
