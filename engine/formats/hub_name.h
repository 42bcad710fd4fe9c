/* Names on the Hugging Face hub: which model a text means, and which of a repository's files that
 * is. Pure: nothing here touches disk or network. */
#ifndef WICARA_FORMATS_HUB_NAME_H
#define WICARA_FORMATS_HUB_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/files.h"

enum {
    HUB_PART_BYTES_MAX = 96,  // of the owner's and the repository's name
    HUB_QUANT_BYTES_MAX = 63,
    HUB_FILE_BYTES_MAX = 1023,
    HUB_FILES_MAX = 20000,  // of one repository
    HUB_SPLITS_MAX = 1024,  // parts of one model
};

/* "org/repo[:quant]" */
struct hub_name {
    char repo[2 * HUB_PART_BYTES_MAX + 2];
    char quant[HUB_QUANT_BYTES_MAX + 1];  // "" when none is named
};
/* ERR_INVALID saying what is wrong with the text. */
enum status hub_name_parse(struct hub_name *out, const char *text, struct error *err) MUST_CHECK;

/* A relative path without "." or ".." parts, backslashes or control characters, valid UTF-8. */
bool hub_file_is_safe(const char *file);
/* A name that may stand alone in a folder: letters, digits, '.', '_' and '-', no leading dot. */
bool hub_word_is_safe(const char *word, size_t n_bytes_max);
/* Appends the path with all but unreserved characters and '/' percent-encoded. */
void hub_append_encoded(struct buf *out, const char *path);

/* "Q4_K_M" of "dir/Model-UD-Q4_K_M-00001-of-00002.gguf" is "UD-Q4_K_M"; "" when there is none. */
void hub_quant_label(char out[HUB_QUANT_BYTES_MAX + 1], const char *file);
/* True for a GGUF file that is a model by itself or the first of a split set, not a projector or an
 * importance matrix. */
bool hub_file_is_model(const char *file);
/* For "x-00001-of-00007.gguf" 1 and 7; false when the file is not part of a split set. */
bool hub_split_numbers(const char *file, size_t *number, size_t *count);
/* The part `number` of the set that `first` opens, as "x-00002-of-00007.gguf". */
enum status hub_split_name(char out[FILE_PATH_BYTES], const char *first, size_t number,
                           struct error *err) MUST_CHECK;

/* What a name means among a repository's files: all files to have, the first one is the model when
 * they are GGUF; else they are a checkpoint's folder. */
struct hub_choice {
    struct name_list files;
    bool is_gguf;
};
/* `names` is sorted. `file` (or NULL) names one GGUF file and overrules the quantisation.
 * Without both: Q4_K_M, then Q8_0, then the first GGUF model, then the safetensors checkpoint.
 * Errors: ERR_NOT_FOUND naming what there is, ERR_MEMORY. */
enum status hub_choose(struct hub_choice *out, const struct name_list *names,
                       const struct hub_name *name, const char *file, struct error *err) MUST_CHECK;
void hub_choice_release(struct hub_choice *choice);

#endif
