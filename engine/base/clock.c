/* Clocks; see clock.h.
 *
 * Deadlines use the monotonic clock only, so that a step of the wall clock can neither end nor
 * prolong a request. */
#include "engine/base/clock.h"

#include <time.h>

int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_unix_s(void)
{
    return (int64_t)time(NULL);
}
