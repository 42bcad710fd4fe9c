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
};

enum rope_scaling { ROPE_PLAIN, ROPE_LINEAR, ROPE_YARN };

struct rope_config {
    size_t n_rot;  // leading dimensions of a head that are rotated, even
    double base;
    enum rope_scaling scaling;
    double factor;            // >= 1 context extension, 1 when plain
    double original_ctx;      // yarn: context of the first training
    double attention_factor;  // yarn: of cos and sin, beside 1 + 0.1 ln factor
    double beta_fast, beta_slow;
};

struct model_config {
    const struct arch *arch;
    size_t n_layers;
    size_t n_embd;
    size_t n_ff;
    size_t n_heads;
    size_t n_kv_heads;  // divides n_heads
    size_t head_dim;    // of q, k and v, a multiple of 16
    size_t n_vocab;
    size_t ctx_train;
    float rms_epsilon;
    float attention_scale;  // of q before the scores
    struct rope_config rope;
};

/* ERR_UNSUPPORTED naming architecture or feature and what is supported; ERR_FORMAT naming the key
 * and its value. Allocates nothing. */
enum status model_config_read(struct model_config *out, const struct model_file *file,
                              struct error *err) MUST_CHECK;

#endif
