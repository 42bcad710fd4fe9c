/* The tokenizer files of a checkpoint directory as metadata. Private to engine/formats.
 *
 * Tables go under GGUF's keys: tokenizer.ggml.tokens, token_type, merges, the ids of special
 * tokens, whether BOS and EOS are added; the chat template under tokenizer.chat_template, the
 * sampling of generation_config.json under general.sampling.*. What GGUF has no keys for goes under
 * keys of our own:
 *
 *   tokenizer.ggml.model                       "huggingface"
 *   tokenizer.huggingface.normalizer           these three as their JSON text; absent when null
 *   tokenizer.huggingface.pre_tokenizer
 *   tokenizer.huggingface.decoder
 *   tokenizer.huggingface.byte_fallback        truth values of the model
 *   tokenizer.huggingface.fuse_unk
 *   tokenizer.huggingface.ignore_merges
 *   tokenizer.huggingface.token_flags          u8 a token, HF_TOKEN_*
 *   tokenizer.huggingface.eos_token_ids        i64, all that end a generation
 *   tokenizer.huggingface.prefix_at_start      of a tokenizer.model: the space in front stands at
 *                                              the start of the text alone */
#ifndef WICARA_FORMATS_HF_TOKENIZER_H
#define WICARA_FORMATS_HF_TOKENIZER_H

#include "engine/formats/hf_directory.h"
#include "engine/formats/metadata.h"

enum { HF_TOKENS_MAX = 1 << 22 };

/* The files that both kinds of tokenizers are read with; absent ones are empty. */
struct hf_tokenizer_files {
    struct hf_text tokenizer, settings, generation;
    const struct json_doc *config;
    const struct json_node *config_root;  // the language model's object
};

/* tokenizer.huggingface.eos_token_ids from generation_config.json, config.json and the EOS. */
enum status hf_tokenizer_put_ends(struct metadata *out, const struct hf_tokenizer_files *files,
                                  size_t n_tokens, bool has_eos, uint64_t eos,
                                  struct error *err) MUST_CHECK;

/* Adds the keys; from tokenizer.json, else from tokenizer.model, without both none. `config` is
 * config.json. Errors: ERR_FORMAT, ERR_UNSUPPORTED, ERR_LIMIT, ERR_IO, ERR_MEMORY, with the file's
 * name in front. */
enum status hf_tokenizer_read(struct metadata *out, const struct json_doc *config, int dir_fd,
                              struct error *err) MUST_CHECK;

#endif
