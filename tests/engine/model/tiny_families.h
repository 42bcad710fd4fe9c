/* Tiny models of the families beside dense llama: each with every parameter of its kind, and limits
 * shrunk so that every special path runs. tests/golden/model/tiny_cli.c writes them as files, from
 * which families.py makes the goldens. */
#ifndef WICARA_TESTS_TINY_FAMILIES_H
#define WICARA_TESTS_TINY_FAMILIES_H

#include "tests/engine/model/tiny_model.h"

#define TINY_EXPERTS(n, used, width) .n_experts = n, .n_used = used, .n_ff_exp = width

#define TINY_SHAPE_OF(layers)                                                                      \
    .n_embd = 64, .n_layers = layers, .n_heads = 4, .n_kv_heads = 2, .head_dim = 16, .n_ff = 96,   \
    .n_vocab = 96
#define TINY_YARN                                                                                  \
    .scaling = "yarn", .factor = 4, .original_ctx = 64, .beta_fast = 3, .beta_slow = 0.9f
#define TINY_GPT_OSS                                                                               \
    .biases = true, .expert_bias = true, .sinks = true, .window = 8,                               \
    .ffn_norm = "post_attention_norm.weight", TINY_YARN
#define TINY_LATENT_OF(layers)                                                                     \
    .n_embd = 64, .n_layers = layers, .n_heads = 4, .n_kv_heads = 1, .head_dim = 48, .n_rot = 16,  \
    .nope = 32, .value_dim = 32, .kv_rank = 64, .n_ff = 96, .n_vocab = 96

/* Rows of 256, as the K-quants want them; narrower matrices take Q5_0, as in published files. */
#define TINY_WIDE_GPT_OSS                                                                          \
    .n_embd = 256, .n_layers = 3, .n_heads = 4, .n_kv_heads = 1, .head_dim = 64, .n_ff = 256,      \
    .n_vocab = 96
#define TINY_WIDE_LATENT                                                                           \
    .n_embd = 256, .n_layers = 2, .n_heads = 4, .n_kv_heads = 1, .head_dim = 80, .n_rot = 16,      \
    .nope = 64, .value_dim = 64, .kv_rank = 256, .n_ff = 256, .n_vocab = 96

static const struct tiny_model TINY_FAMILIES[] = {
    /* Every fourth layer has no rope. */
    {"smollm3_f16", "smollm3", TINY_SHAPE_OF(5), .dtype = DTYPE_F16, .tied = true},
    {"smollm3_q8_0", "smollm3", TINY_SHAPE_OF(5), .dtype = DTYPE_Q8_0},
    {"smollm3_q4_k", "smollm3", .n_embd = 256, .n_layers = 4, .n_heads = 4, .n_kv_heads = 1,
     .head_dim = 64, .n_ff = 256, .n_vocab = 96, .dtype = DTYPE_Q4_K},
    /* Fused tensors, here with a window as the small Phi-3 have one. */
    {"phi3_f16", "phi3", TINY_SHAPE, .dtype = DTYPE_F16, .window = 40},
    {"phi3_long_f16", "phi3", TINY_SHAPE, .dtype = DTYPE_F16, .n_rot = 12, .tied = true,
     .long_rope = 200},
    {"phi3_short_f16", "phi3", TINY_SHAPE, .dtype = DTYPE_F16, .long_rope = TINY_CTX},
    {"phi3_q8_0", "phi3", TINY_SHAPE, .dtype = DTYPE_Q8_0},
    {"phi3_q4_k", "phi3", TINY_WIDE, .dtype = DTYPE_Q4_K},
    {"qwen2_q8_0", "qwen2", TINY_SHAPE, .dtype = DTYPE_Q8_0, .biases = true},
    {"qwen2_q4_k", "qwen2", TINY_WIDE, .dtype = DTYPE_Q4_K, .biases = true},
    {"qwen3_q8_0", "qwen3", TINY_SHAPE, .dtype = DTYPE_Q8_0},
    {"qwen3_q6_k", "qwen3", TINY_WIDE, .dtype = DTYPE_Q6_K},
    /* Mixtral: the experts' width is that of the model. */
    {"mixtral_f16", "llama", TINY_SHAPE, .dtype = DTYPE_F16, TINY_EXPERTS(4, 2, 0),
     .experts_apart = true},
    {"mixtral_q8_0", "llama", TINY_SHAPE, .dtype = DTYPE_Q8_0, TINY_EXPERTS(4, 2, 0)},
    {"mixtral_q4_k", "llama", TINY_WIDE, .dtype = DTYPE_Q4_K, TINY_EXPERTS(4, 2, 0)},
    {"qwen2moe_f16", "qwen2moe", TINY_SHAPE, .dtype = DTYPE_F16, .biases = true,
     TINY_EXPERTS(6, 2, 48), .n_ff_shared = 80, .shared_gate = true},
    {"qwen2moe_q8_0", "qwen2moe", TINY_SHAPE, .dtype = DTYPE_Q8_0, .biases = true,
     TINY_EXPERTS(6, 2, 32), .n_ff_shared = 64, .shared_gate = true},
    {"qwen2moe_q5_k", "qwen2moe", TINY_WIDE, .dtype = DTYPE_Q5_K, .biases = true,
     TINY_EXPERTS(4, 2, 256), .n_ff_shared = 256, .shared_gate = true},
    {"qwen3moe_f32", "qwen3moe", TINY_SHAPE, .dtype = DTYPE_F32, TINY_EXPERTS(8, 3, 40)},
    {"qwen3moe_q8_0", "qwen3moe", TINY_SHAPE, .dtype = DTYPE_Q8_0, TINY_EXPERTS(8, 3, 32),
     .gate_up = true},
    {"qwen3moe_q4_k", "qwen3moe", TINY_WIDE, .dtype = DTYPE_Q4_K, TINY_EXPERTS(4, 2, 256)},
    /* Every layer sees 40 tokens, then every second one 8; yarn begins at position 64. */
    {"mistral_f16", "llama", TINY_SHAPE, .dtype = DTYPE_F16, .window = 40},
    {"gpt_oss_f16", "gpt-oss", TINY_SHAPE_OF(3), .dtype = DTYPE_F16, TINY_GPT_OSS,
     TINY_EXPERTS(4, 2, 48)},
    {"gpt_oss_q8_0", "gpt-oss", TINY_SHAPE_OF(3), .dtype = DTYPE_Q8_0, TINY_GPT_OSS,
     TINY_EXPERTS(4, 2, 32)},
    {"gpt_oss_mxfp4", "gpt-oss", TINY_SHAPE_OF(3), .dtype = DTYPE_F16, .experts_dtype = DTYPE_MXFP4,
     TINY_GPT_OSS, TINY_EXPERTS(4, 2, 32)},
    {"gpt_oss_q4_k", "gpt-oss", TINY_WIDE_GPT_OSS, .dtype = DTYPE_Q4_K, TINY_GPT_OSS,
     TINY_EXPERTS(4, 2, 256)},
    /* V2: softmax, groups by their best, q in low rank; first layout of the decompression. */
    {"deepseek_v2_f16", "deepseek2", TINY_LATENT_OF(3), .q_rank = 24, .dtype = DTYPE_F16,
     .kv_b = true, TINY_EXPERTS(8, 3, 40), .n_shared = 2, .n_dense = 1, .n_groups = 4,
     .n_groups_used = 2, .scale = 1.7f, TINY_YARN, .log_multiplier = 0.0707f},
    /* V2-Lite: no low rank of q, no groups, plain rope, a sum of one shared expert. */
    {"deepseek_lite_q8_0", "deepseek2", TINY_LATENT_OF(2), .dtype = DTYPE_Q8_0,
     TINY_EXPERTS(8, 3, 32), .n_shared = 1, .n_dense = 1},
    /* V3: sigmoid, bias of the choice, groups by their best two, norm; second layout; a draft
     * layer behind the model. */
    {"deepseek_v3_f32", "deepseek2", TINY_LATENT_OF(3), .q_rank = 24, .dtype = DTYPE_F32,
     TINY_EXPERTS(8, 3, 40), .n_shared = 1, .n_dense = 1, .n_groups = 4, .n_groups_used = 2,
     .gating = 2, .norm = true, .choice_bias = true, .scale = 2.5f, TINY_YARN,
     .log_multiplier = 0.1f, .n_draft = 1},
    {"deepseek_v3_q8_0", "deepseek2", TINY_LATENT_OF(2), .q_rank = 32, .dtype = DTYPE_Q8_0,
     .kv_b = true, TINY_EXPERTS(8, 3, 32), .n_shared = 1, .n_dense = 1, .n_groups = 2,
     .n_groups_used = 1, .gating = 2, .norm = true, .choice_bias = true, .scale = 2.5f},
    {"deepseek_v2_q6_k", "deepseek2", TINY_WIDE_LATENT, .q_rank = 256, .dtype = DTYPE_Q6_K,
     .kv_b = true, TINY_EXPERTS(4, 2, 256), .n_shared = 1, .n_dense = 1, .scale = 1.7f},
    {"deepseek_v3_q5_k", "deepseek2", TINY_WIDE_LATENT, .q_rank = 256, .dtype = DTYPE_Q5_K,
     TINY_EXPERTS(4, 2, 256), .n_shared = 1, .n_dense = 1, .n_groups = 2, .n_groups_used = 1,
     .gating = 2, .norm = true, .choice_bias = true, .scale = 2.5f},
};
enum { TINY_FAMILIES_COUNT = sizeof TINY_FAMILIES / sizeof TINY_FAMILIES[0] };

#endif
