/* Getting a model from the hub into the shared cache, or out of it. */
#ifndef WICARA_FORMATS_HUB_PULL_H
#define WICARA_FORMATS_HUB_PULL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct hub_progress {
    const char *file;             // under way; NULL while the hub is asked what there is
    size_t file_number, n_files;  // from 1, of those that are downloaded
    uint64_t file_bytes, file_bytes_total;
    uint64_t bytes, bytes_total;  // of all of them
    bool is_waiting;              // another process downloads this file
};

struct hub_pull_options {
    const char *file;  // one GGUF file of the repository, or NULL = by quantisation
    bool offline;      // take what the cache has, ask nobody
    /* Called several times a second; false stops (ERR_CANCELLED). May be NULL. */
    bool (*on_progress)(void *user, const struct hub_progress *progress);
    void *user;
};

/* Makes the model that `name` means ("org/repo[:quant]") complete in the cache and gives the path
 * of its GGUF file (the first of a split set) or of its checkpoint's folder (mem_free). What is
 * there is not fetched again; a part of a file is continued. When the hub cannot be reached, a
 * model that is in the cache is taken with a warning. Every file is checked against its digest
 * before it gets its name.
 * Errors: those of hub.h, hub_name.h and hub_list.h; ERR_NOT_FOUND offline; ERR_IO with the disk's
 * reason. */
enum status hub_pull(char **out_path, const char *name, const struct hub_pull_options *options,
                     struct error *err) MUST_CHECK;

#endif
