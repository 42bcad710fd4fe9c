/* The cache of downloaded models, in the layout that huggingface_hub, transformers and llama.cpp
 * share:
 *
 *   <cache>/models--org--repo/blobs/<etag>                 the bytes
 *   <cache>/models--org--repo/refs/<revision>              text: the commit it stands for
 *   <cache>/models--org--repo/snapshots/<commit>/<file>    link to ../../blobs/<etag>
 *   <cache>/.locks/models--org--repo/<etag>.lock           flock() while a blob is written
 */
#ifndef WICARA_FORMATS_HUB_CACHE_H
#define WICARA_FORMATS_HUB_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/files.h"
#include "engine/formats/hub_list.h"

enum { HUB_ETAG_BYTES = 129 };

/* The folder of the cache: HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or
 * ~/.cache/huggingface/hub. Root without any of these variables uses the system's
 * /var/cache/wicara/hub, because the server gives root up before it reads the model. */
enum status hub_cache_folder(char out[FILE_PATH_BYTES], struct error *err) MUST_CHECK;
/* HF_HOME, for the token's file. */
enum status hub_home_folder(char out[FILE_PATH_BYTES], struct error *err) MUST_CHECK;

/* One repository in it. */
struct hub_cache {
    char cache[FILE_PATH_BYTES / 4];
    char folder[256];  // "models--org--repo"
};
enum status hub_cache_init(struct hub_cache *out, const char *repo, struct error *err) MUST_CHECK;

enum status hub_cache_blob_path(const struct hub_cache *cache, const char *etag, const char *suffix,
                                char out[FILE_PATH_BYTES], struct error *err) MUST_CHECK;
/* `file` NULL = the snapshot's folder itself. */
enum status hub_cache_snapshot_path(const struct hub_cache *cache, const char *commit,
                                    const char *file, char out[FILE_PATH_BYTES],
                                    struct error *err) MUST_CHECK;

/* Makes blobs/, refs/ and the snapshot's folder. */
enum status hub_cache_make(const struct hub_cache *cache, const char *commit,
                           struct error *err) MUST_CHECK;
/* Links the snapshot's file to the blob, replacing what is there in one step. */
enum status hub_cache_link(const struct hub_cache *cache, const char *commit, const char *file,
                           const char *etag, struct error *err) MUST_CHECK;
/* Free bytes on the cache's file system; UINT64_MAX when the system does not say. */
uint64_t hub_cache_free_bytes(const struct hub_cache *cache);

/* Never waits: *out_fd is -1 when another process holds the blob's lock. Close it to unlock. */
enum status hub_cache_try_lock(const struct hub_cache *cache, const char *etag, int *out_fd,
                               struct error *err) MUST_CHECK;

enum status hub_cache_write_ref(const struct hub_cache *cache, const char *revision,
                                const char *commit, struct error *err) MUST_CHECK;
/* ERR_NOT_FOUND when the revision was never downloaded. */
enum status hub_cache_read_ref(const struct hub_cache *cache, const char *revision,
                               char commit[HUB_COMMIT_BYTES], struct error *err) MUST_CHECK;
/* Files of a snapshot whose bytes are there, with their folders in front, sorted. */
enum status hub_cache_list(const struct hub_cache *cache, const char *commit, struct name_list *out,
                           struct error *err) MUST_CHECK;

#endif
