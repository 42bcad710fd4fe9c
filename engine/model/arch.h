/* Architectures as data: what one family does differently from the generic block
 * x += O attention(norm x); x += down(silu(gate norm x) * up norm x). */
#ifndef WICARA_MODEL_ARCH_H
#define WICARA_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>

enum presence { ABSENT, OPTIONAL, REQUIRED };

struct arch {
    const char *name;  // general.architecture
    bool rope_neox;    // rope pairs (i, i + n_rot / 2), else (2i, 2i + 1)
    bool qk_norm;      // rms norm of each q and k head before rope
    enum presence qkv_bias;
    enum presence other_bias;  // attention output, gate, up, down
};

/* NULL when the family is not supported. */
const struct arch *arch_find(const char *name, size_t n_bytes);
/* Names of all families, separated by commas, for messages. */
const char *arch_names(void);

#endif
