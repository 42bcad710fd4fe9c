/* The tokenizer of a checkpoint directory that has tokenizer.model and no tokenizer.json, as
 * metadata: the keys that a converted GGUF file carries. Private to engine/formats. */
#ifndef WICARA_FORMATS_HF_SENTENCEPIECE_H
#define WICARA_FORMATS_HF_SENTENCEPIECE_H

#include "engine/formats/hf_tokenizer.h"

/* Adds the keys of tokenizer.ggml.model "llama"; without a tokenizer.model none. Tokens that
 * tokenizer_config.json (added_tokens_decoder) or added_tokens.json add are among them. Errors:
 * ERR_FORMAT, ERR_UNSUPPORTED, ERR_LIMIT, ERR_IO, ERR_MEMORY, with the file's name in front. */
enum status hf_sentencepiece_read(struct metadata *out, const struct hf_tokenizer_files *files,
                                  int dir_fd, struct error *err) MUST_CHECK;

#endif
