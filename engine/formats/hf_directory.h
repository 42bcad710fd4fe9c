/* Reading the small files of a checkpoint directory. Private to engine/formats. */
#ifndef WICARA_FORMATS_HF_DIRECTORY_H
#define WICARA_FORMATS_HF_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/formats/json_doc.h"

/* A file's whole text and, when it is JSON, its tape. */
struct hf_text {
    char *bytes;  // NUL-terminated; NULL when the file is absent
    size_t n_bytes;
    struct json_doc doc;
};

/* Reads a file of the directory; an absent one is OK and leaves bytes NULL. Errors: ERR_IO,
 * ERR_FORMAT, ERR_LIMIT (more than bytes_max), ERR_MEMORY, all with the file's name in front. */
enum status hf_text_read(struct hf_text *text, int dir_fd, const char *name, uint64_t bytes_max,
                         struct error *err) MUST_CHECK;
/* The same and parses it. */
enum status hf_json_read(struct hf_text *text, int dir_fd, const char *name, uint64_t bytes_max,
                         struct error *err) MUST_CHECK;
void hf_text_release(struct hf_text *text);

#endif
