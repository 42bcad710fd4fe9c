/* The table of families. A new plain-attention family is a row here (and a flag in the struct where
 * it does something that no family did before), its tensors are rows in weights.c, and its proof is
 * a golden of tests/golden/model. Sources: the models' papers; which rope pairing a GGUF file uses
 * follows the converter (llama files carry permuted q and k rows, hence pairs (2i, 2i + 1)). */
#include "engine/model/arch.h"

#include <string.h>

#define ARCH_LIST(X)                                                                               \
    X("llama", .qkv_bias = OPTIONAL, .o_bias = OPTIONAL, .ffn_bias = OPTIONAL,                     \
      .experts = OPTIONAL, .weights_norm = true)                                                   \
    X("smollm3", .qkv_bias = OPTIONAL, .o_bias = OPTIONAL, .ffn_bias = OPTIONAL,                   \
      .unrotated_period = 4)                                                                       \
    X("phi3", .rope_neox = true, .fused = true)                                                    \
    X("qwen2", .rope_neox = true, .qkv_bias = REQUIRED)                                            \
    X("qwen2moe", .rope_neox = true, .qkv_bias = REQUIRED, .experts = REQUIRED,                    \
      .shared_gate = true)                                                                         \
    X("qwen3", .rope_neox = true, .qk_norm = true)                                                 \
    X("qwen3moe", .rope_neox = true, .qk_norm = true, .experts = REQUIRED, .weights_norm = true)   \
    X("gpt-oss", .rope_neox = true, .yarn_smooth = true, .sinks = true, .qkv_bias = REQUIRED,      \
      .o_bias = REQUIRED, .ffn_norm = "post_attention_norm.weight", .experts = REQUIRED,           \
      .expert_bias = true, .score = SCORE_SOFTMAX_CHOSEN, .activation = ACTIVATION_CLAMPED,        \
      .window_period = 2)                                                                          \
    X("deepseek2", .mixer = MIX_MLA, .experts = OPTIONAL, .choice_bias = OPTIONAL)

static const struct arch rows[] = {
#define X(text, ...) {.name = text, __VA_ARGS__},
    ARCH_LIST(X)
#undef X
};

const struct arch *arch_find(const char *name, size_t n_bytes)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strlen(rows[i].name) == n_bytes && memcmp(rows[i].name, name, n_bytes) == 0)
            return &rows[i];
    }
    return NULL;
}

const char *arch_names(void)
{
#define X(text, ...) ", " text
    static const char names[] = ARCH_LIST(X);
#undef X
    return names + 2;
}
