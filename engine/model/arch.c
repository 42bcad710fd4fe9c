/* The table of families. A new plain-attention family is a row here (and a flag in the struct where
 * it does something that no family did before), its tensors are rows in weights.c, and its proof is
 * a golden of tests/golden/model. Sources: the models' papers; which rope pairing a GGUF file uses
 * follows the converter (llama files carry permuted q and k rows, hence pairs (2i, 2i + 1)). */
#include "engine/model/arch.h"

#include <string.h>

#define ARCH_LIST(X)                                                                               \
    X("llama", .other_bias = OPTIONAL, .qkv_bias = OPTIONAL)                                       \
    X("qwen2", .rope_neox = true, .qkv_bias = REQUIRED)                                            \
    X("qwen3", .rope_neox = true, .qk_norm = true)

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
