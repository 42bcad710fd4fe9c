/* Log lines to stderr: level, UTC time, text. One write(2) a line; control characters are escaped,
 * so that a hostile name cannot forge a line. */
#ifndef WICARA_BASE_LOG_H
#define WICARA_BASE_LOG_H

#include <stdbool.h>

#include "engine/base/error.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
bool log_level_parse(const char *name, enum log_level *out);  // "error" "warn" "info" "debug"
void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)

#endif
