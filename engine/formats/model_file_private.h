/* The view's insides, shared by model_file.c and the two ways in which it is filled: gguf_set.c and
 * hf_directory.c. */
#ifndef WICARA_FORMATS_MODEL_FILE_PRIVATE_H
#define WICARA_FORMATS_MODEL_FILE_PRIVATE_H

#include "engine/formats/metadata.h"
#include "engine/formats/model_file.h"
#include "engine/formats/name_index.h"
#include "engine/formats/tensor_source.h"

enum { MODEL_SHARDS_MAX = 1024 };  // each holds a file descriptor

/* After opening: keys, tensors and names are set; sources may be NULL, then every tensor is a
 * stretch of its shard as it is. */
struct model_file {
    char *path;
    int *fds;  // [n_shards], -1 when closed
    size_t n_shards;
    uint64_t bytes;               // of all shards
    const struct gguf *keys;      // the metadata
    struct gguf *headers;         // GGUF: [n_shards]
    struct metadata metadata;     // a directory's
    struct tensor_info *tensors;  // [n_tensors], owned; names are the headers' or in tensor_names
    size_t n_tensors;
    char *tensor_names;
    struct tensor_source *sources;  // [n_tensors] or NULL
    struct name_index names;        // over tensors
};

/* Opens a regular file for reading, whatever its path says. ERR_NOT_FOUND, ERR_IO, ERR_FORMAT. */
enum status open_regular(int dir_fd, const char *path, int *fd, uint64_t *bytes,
                         struct error *err) MUST_CHECK;
/* Room for n shards; those that are new are closed. ERR_MEMORY. */
enum status model_file_reserve_shards(struct model_file *file, size_t n_shards,
                                      struct error *err) MUST_CHECK;
/* Puts the last part of the path in front of a failure's text. */
enum status path_prefixed(enum status status, const char *path, struct error *err);

/* Fill a new struct model_file whose path is set; it is closed by the caller on failure. */
enum status gguf_set_open(struct model_file *file, struct error *err) MUST_CHECK;
enum status hf_directory_open(struct model_file *file, struct error *err) MUST_CHECK;

#endif
