/* From a checkpoint's config.json to the metadata that a converted GGUF file would carry.
 *
 * Takes the spellings of transformers 4 and 5 (rope_scaling or rope_parameters, a text_config
 * around the language model). What the configuration asks for and no key can say is refused by
 * name. Private to engine/formats. */
#ifndef WICARA_FORMATS_HF_CONFIG_H
#define WICARA_FORMATS_HF_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/formats/json_doc.h"
#include "engine/formats/metadata.h"

enum { HF_ROTATED_MAX = 4096 };

enum hf_said { HF_UNSAID, HF_NO, HF_YES };

/* What the tensors' names and shapes are read with. */
struct hf_facts {
    const char *arch;  // general.architecture
    bool pairs_rope;   // GGUF interleaves the halves of each q and k head
    uint64_t n_layers;
    uint64_t n_heads, n_kv_heads, head_dim, n_rot;
    enum { HF_TIES_UNSAID, HF_TIED, HF_UNTIED } ties;
    enum hf_said attention_bias, mlp_bias;
    enum { HF_PLAIN, HF_FP8, HF_MXFP4 } quantized;
    bool has_divisors;  // llama3 scaling: rope_freqs
    bool has_longrope;
    float divisors[HF_ROTATED_MAX / 2];
    float long_factors[HF_ROTATED_MAX / 2], short_factors[HF_ROTATED_MAX / 2];
};

/* Errors: ERR_FORMAT naming the key, ERR_UNSUPPORTED naming the value and what is supported,
 * ERR_LIMIT. Out of memory shows in metadata_finish. */
enum status hf_config_read(struct hf_facts *facts, struct metadata *out, const struct json_doc *doc,
                           struct error *err) MUST_CHECK;

#endif
