/* The tokenizer files of a checkpoint directory as metadata. Private to engine/formats.
 *
 * Tables go under GGUF's keys: tokenizer.ggml.tokens, token_type, merges, the ids of special
 * tokens, whether BOS and EOS are added; the chat template under tokenizer.chat_template. What GGUF
 * has no keys for goes under keys of our own:
 *
 *   tokenizer.ggml.model                       "huggingface"
 *   tokenizer.huggingface.normalizer           these three as their JSON text; absent when null
 *   tokenizer.huggingface.pre_tokenizer
 *   tokenizer.huggingface.decoder
 *   tokenizer.huggingface.byte_fallback        truth values of the model
 *   tokenizer.huggingface.fuse_unk
 *   tokenizer.huggingface.ignore_merges
 *   tokenizer.huggingface.token_flags          u8 a token, HF_TOKEN_*
 *   tokenizer.huggingface.eos_token_ids        i64, all that end a generation */
#ifndef WICARA_FORMATS_HF_TOKENIZER_H
#define WICARA_FORMATS_HF_TOKENIZER_H

#include "engine/formats/json_doc.h"
#include "engine/formats/metadata.h"

enum { HF_TOKENS_MAX = 1 << 22 };

/* Adds the keys; without a tokenizer.json none. `config` is config.json. Errors: ERR_FORMAT,
 * ERR_UNSUPPORTED, ERR_LIMIT, ERR_IO, ERR_MEMORY, with the file's name in front. */
enum status hf_tokenizer_read(struct metadata *out, const struct json_doc *config, int dir_fd,
                              struct error *err) MUST_CHECK;

#endif
