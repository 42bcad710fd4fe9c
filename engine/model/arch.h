/* Architectures as data: what one family does differently from the generic block
 * x += O attention(norm x); x += down(silu(gate norm x) * up norm x). */
#ifndef WICARA_MODEL_ARCH_H
#define WICARA_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>

enum presence { ABSENT, OPTIONAL, REQUIRED };

/* How tokens see each other: grouped-query attention, or multi-head latent attention (mla.c). */
enum mixer { MIX_GQA, MIX_MLA };

/* Scores of a router from its logits: a softmax over all experts, a sigmoid each, or a softmax
 * over the chosen ones alone. */
enum router_score { SCORE_SOFTMAX, SCORE_SIGMOID, SCORE_SOFTMAX_CHOSEN };

/* h(gate, up): silu(gate) * up, or gpt-oss's clamped one (kernels->swiglu_clamped). */
enum activation { ACTIVATION_SILU, ACTIVATION_CLAMPED };

struct arch {
    const char *name;  // general.architecture
    enum mixer mixer;
    bool rope_neox;    // rope pairs (i, i + n_rot / 2), else (2i, 2i + 1)
    bool yarn_smooth;  // yarn's ramp ends between pairs, not at whole ones (HF: truncate false)
    bool qk_norm;      // rms norm of each q and k head before rope
    bool sinks;        // a logit a head that takes part in the softmax and has no value
    enum presence qkv_bias;
    enum presence o_bias;
    enum presence ffn_bias;  // gate, up, down of dense layers
    const char *ffn_norm;    // tensor of the norm before the feed-forward block, NULL = ffn_norm
    enum presence experts;   // REQUIRED: every file has them; OPTIONAL: when expert_count says so
    bool expert_bias;        // router, gate, up and down of the experts
    enum presence choice_bias;  // added to scores for the choice alone (exp_probs_b)
    bool shared_gate;           // the shared expert is multiplied by a sigmoid of its own logit
    enum router_score score;    // where the file does not say
    bool weights_norm;          // chosen weights are divided by their sum, where the file is silent
    enum activation activation;
    size_t window_period;  // the last of each n layers sees all tokens; 0: none does, when the file
                           // has a window
    bool fused;            // q, k and v in one tensor (attn_qkv), gate and up in one (ffn_up)
    size_t unrotated_period;  // the last of each n layers has no rope; 0: all have it
};

/* NULL when the family is not supported. */
const struct arch *arch_find(const char *name, size_t n_bytes);
/* Names of all families, separated by commas, for messages. */
const char *arch_names(void);

#endif
