/* Time: deadlines and durations from the monotonic clock, wall time only for what people read. */
#ifndef WICARA_BASE_CLOCK_H
#define WICARA_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_ns(void);      // monotonic nanoseconds
int64_t clock_unix_s(void);  // wall clock, seconds since 1970

#endif
