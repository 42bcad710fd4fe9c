/* Paths, folders and small files: what the model folders and the download cache need of the
 * system, with a limit on everything. */
#ifndef WICARA_BASE_FILES_H
#define WICARA_BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"

enum { FILE_PATH_BYTES = 4096, FOLDER_NAMES_MAX = 100000 };

/* Formats a path; ERR_LIMIT when it does not fit. */
enum status path_print(char out[FILE_PATH_BYTES], struct error *err, const char *format, ...)
    PRINTF_LIKE(3, 4) MUST_CHECK;
const char *path_name(const char *path);  // behind the last slash

/* Names that are owned. */
struct name_list {
    char **names;
    size_t n_names;
    size_t capacity;
};
enum status name_list_add(struct name_list *list, const char *name, struct error *err) MUST_CHECK;
void name_list_sort(struct name_list *list);
void name_list_release(struct name_list *list);

/* The entries of a folder but "." and "..", sorted by bytes; a folder that is not there or may not
 * be read is an empty one. Errors: ERR_LIMIT past FOLDER_NAMES_MAX, ERR_MEMORY. */
enum status folder_read(struct name_list *out, const char *path, struct error *err) MUST_CHECK;
/* Makes the folder and those above it. */
enum status folder_make(const char *path, struct error *err) MUST_CHECK;

/* A whole small file; ERR_NOT_FOUND, ERR_IO, ERR_LIMIT past the buffer's cap. */
enum status file_read(struct buf *out, const char *path, struct error *err) MUST_CHECK;
/* Writes beside the file and renames, so that nobody sees a half. */
enum status file_write(const char *path, const char *text, struct error *err) MUST_CHECK;

#endif
