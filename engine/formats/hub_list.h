/* The JSON texts of strangers around models, parsed: the hub's answer about a repository, and the
 * manifests that Ollama keeps beside its blobs. */
#ifndef WICARA_FORMATS_HUB_LIST_H
#define WICARA_FORMATS_HUB_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/files.h"

enum {
    HUB_JSON_BYTES_MAX = 32 << 20,
    HUB_COMMIT_BYTES = 65,  // 40 or 64 hexadecimal digits and a NUL
    OLLAMA_JSON_BYTES_MAX = 1 << 20,
};

/* A repository at one commit. Names are checked (hub_file_is_safe) and sorted. */
struct hub_list {
    char commit[HUB_COMMIT_BYTES];
    struct name_list files;
};
/* GET /api/models/<repo>/revision/<rev>. Errors: ERR_FORMAT naming what is wrong, among it a name
 * that would leave the folder; ERR_LIMIT past HUB_FILES_MAX; ERR_MEMORY. */
enum status hub_list_parse(struct hub_list *out, const char *text, size_t n_bytes,
                           struct error *err) MUST_CHECK;
void hub_list_release(struct hub_list *list);
/* 40 or 64 lower-case hexadecimal digits. */
bool hub_commit_is_valid(const char *commit);

/* The model layer of an Ollama manifest: its blob's file name ("sha256-<hex>") and size.
 * ERR_NOT_FOUND when no layer is a model. */
struct ollama_model {
    char blob[72];
    uint64_t bytes;
};
enum status ollama_manifest_parse(struct ollama_model *out, const char *text, size_t n_bytes,
                                  struct error *err) MUST_CHECK;

#endif
