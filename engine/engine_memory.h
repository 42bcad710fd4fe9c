/* How much memory this process may still take: the machine's and the cgroup's answer. */
#ifndef WICARA_ENGINE_ENGINE_MEMORY_H
#define WICARA_ENGINE_ENGINE_MEMORY_H

#include <stddef.h>

/* Bytes; 0 when the system does not say. */
size_t memory_available(void);

#endif
