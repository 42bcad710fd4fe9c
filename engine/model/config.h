/* The numbers of a model, read from the file's metadata and checked: afterwards every divisor is
 * positive and every product of two of them fits. */
#ifndef WICARA_MODEL_CONFIG_H
#define WICARA_MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/formats/model_file.h"
#include "engine/model/arch.h"

enum {
    LAYERS_MAX = 1024,
    EMBD_MAX = 1 << 18,  // also of the feed-forward width times four
    HEADS_MAX = 1 << 12,
    HEAD_DIM_MAX = 1 << 10,
    VOCAB_MAX = 1 << 22,
    CTX_MAX = 1 << 24,  // positions; with ROPE_DIVISOR_MIN the angles stay below 2^27
    EXPERTS_MAX = 1 << 10,
    EXPERTS_USED_MAX = 64,
    RANK_MAX = 1 << 14,  // of the low-rank products of multi-head latent attention
};

/* LONG and SHORT are longrope: divisors for contexts of more than original_ctx tokens, and for
 * others. A file's configuration says LONG; opening the model decides. */
enum rope_scaling { ROPE_PLAIN, ROPE_LINEAR, ROPE_YARN, ROPE_LONG, ROPE_SHORT };

struct rope_config {
    size_t n_rot;  // leading dimensions of a head that are rotated, even
    double base;
    enum rope_scaling scaling;
    double factor;            // >= 1 context extension, 1 when plain
    double original_ctx;      // yarn: context of the first training
    double attention_factor;  // yarn: of cos and sin, beside 1 + 0.1 ln factor
    double beta_fast, beta_slow;
    double log_multiplier;  // yarn: m = 1 + log_multiplier ln factor of the scores' scale, or 0
    bool smooth;            // yarn: the ramp's ends are not rounded to whole pairs
};

/* Mixture of experts, in the layers from n_dense_layers on. */
struct moe_config {
    size_t n_experts;    // 0 = every layer is dense
    size_t n_used;       // a token
    size_t n_ff;         // width of one expert
    size_t n_ff_shared;  // width of the experts that every token goes through, 0 = none
    size_t n_dense_layers;
    size_t n_groups;  // equal groups of neighbouring experts, of which n_groups_used are open to a
    size_t n_groups_used;  // token; 1 and 1 = no groups
    enum router_score score;
    bool weights_norm;    // chosen weights are divided by their sum
    float weights_scale;  // then multiplied by this
};

/* Multi-head latent attention: of a head, `nope_dim` dimensions of q and k are not rotated and
 * rope.n_rot are; keys and values of all heads come from one latent vector a token. */
struct mla_config {
    size_t q_rank;     // 0 = q in one product
    size_t kv_rank;    // of the latent, a multiple of 16
    size_t nope_dim;   // a multiple of 16
    size_t value_dim;  // of one head after decompression
};

enum {
    LAYER_WINDOWED = 1,   // sees `window` tokens
    LAYER_UNROTATED = 2,  // q and k have no rope
};

struct model_config {
    const struct arch *arch;
    size_t n_layers;
    size_t n_draft_layers;  // behind them in the file, left out
    size_t n_embd;
    size_t n_ff;
    size_t n_heads;
    size_t n_kv_heads;  // divides n_heads; 1 with latent attention
    size_t head_dim;    // of q and k as they meet in the scores, a multiple of 16
    size_t value_dim;   // of v as it is stored, a multiple of 16
    size_t n_vocab;
    size_t ctx_train;
    float rms_epsilon;
    float attention_scale;  // of q before the scores
    struct rope_config rope;
    struct moe_config moe;
    struct mla_config mla;
    size_t window;                    // tokens that a windowed layer sees, 0 = there is none
    uint8_t layer_flags[LAYERS_MAX];  // [n_layers] LAYER_*
};

static inline bool config_has_experts(const struct model_config *config, size_t layer)
{
    return config->moe.n_experts > 0 && layer >= config->moe.n_dense_layers;
}

/* Of one head: q and k before they go into a latent space; what attention hands to the output
 * product. */
static inline size_t config_key_dim(const struct model_config *config)
{
    return config->arch->mixer == MIX_MLA ? config->mla.nope_dim + config->rope.n_rot
                                          : config->head_dim;
}
static inline size_t config_out_dim(const struct model_config *config)
{
    return config->arch->mixer == MIX_MLA ? config->mla.value_dim : config->value_dim;
}

/* ERR_UNSUPPORTED naming architecture or feature and what is supported; ERR_FORMAT naming the key
 * and its value. Allocates nothing. */
enum status model_config_read(struct model_config *out, const struct model_file *file,
                              struct error *err) MUST_CHECK;

#endif
