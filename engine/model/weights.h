/* The tensors of a model in memory: matrices in packed panels, vectors as floats.
 *
 * Everything lies in one mapping that is written once, while loading, and only read afterwards. */
#ifndef WICARA_MODEL_WEIGHTS_H
#define WICARA_MODEL_WEIGHTS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/account.h"
#include "engine/base/error.h"
#include "engine/base/pool.h"
#include "engine/base/sha256.h"
#include "engine/formats/model_file.h"
#include "engine/kernels/matmul.h"
#include "engine/model/config.h"

/* n matrices of one shape and type, `stride` bytes apart: one an expert, or one a head. */
struct weight_stack {
    struct weight first;
    size_t n;
    size_t stride;
};

static inline struct weight weight_stack_at(const struct weight_stack *stack, size_t i)
{
    assert(i < stack->n);
    struct weight weight = stack->first;
    weight.panels = (uint8_t *)weight.panels + i * stack->stride;
    return weight;
}

/* One layer; shapes are [out, in]. What the file or the family does not have is NULL or has no
 * panels. */
struct layer_weights {
    const float *attn_norm;  // [n_embd]
    const float *ffn_norm;   // [n_embd]
    const float *q_norm;     // [head_dim]
    const float *k_norm;     // [head_dim]
    const float *q_bias;     // [n_heads * head_dim]
    const float *k_bias;     // [n_kv_heads * head_dim]
    const float *v_bias;     // [n_kv_heads * value_dim]
    const float *o_bias;     // [n_embd]
    const float *gate_bias;  // [n_ff]
    const float *up_bias;    // [n_ff]
    const float *down_bias;  // [n_embd]
    const float *sinks;      // [n_heads]
    struct weight q;         // [n_heads * head_dim, n_embd]; latent: [n_heads * own dim, n_embd]
    struct weight k;         // [n_kv_heads * head_dim, n_embd]
    struct weight v;         // [n_kv_heads * value_dim, n_embd]
    struct weight o;         // [n_embd, n_heads * value dim]
    struct weight gate;      // [n_ff, n_embd]
    struct weight up;        // [n_ff, n_embd]
    struct weight down;      // [n_embd, n_ff]

    /* experts */
    struct weight router;           // [n_experts, n_embd]
    const float *router_bias;       // [n_experts]
    const float *choice_bias;       // [n_experts]
    struct weight_stack gate_exps;  // n_experts of [moe.n_ff, n_embd]
    struct weight_stack up_exps;    // n_experts of [moe.n_ff, n_embd]
    struct weight_stack down_exps;  // n_experts of [n_embd, moe.n_ff]
    const float *gate_exps_bias;    // [n_experts, moe.n_ff]
    const float *up_exps_bias;      // [n_experts, moe.n_ff]
    const float *down_exps_bias;    // [n_experts, n_embd]
    struct weight shared_router;    // [1, n_embd]
    struct weight shared_gate;      // [moe.n_ff_shared, n_embd]
    struct weight shared_up;        // [moe.n_ff_shared, n_embd]
    struct weight shared_down;      // [n_embd, moe.n_ff_shared]

    /* latent attention; c = kv_rank */
    struct weight q_a;        // [q_rank, n_embd]
    const float *q_a_norm;    // [q_rank]
    struct weight q_b;        // [n_heads * own dim, q_rank]
    struct weight kv_a;       // [c + n_rot, n_embd]
    const float *kv_a_norm;   // [c]
    struct weight_stack k_b;  // n_heads of [c, nope_dim]: q into the latent space
    struct weight_stack v_b;  // n_heads of [mla.value_dim, c]: values out of it
};

struct model_weights {
    struct weight embedding;              // [n_vocab, n_embd]
    struct weight output;                 // [n_vocab, n_embd]; the same panels when tied
    const float *output_norm;             // [n_embd]
    const float *rope_divisors;           // [n_rot / 2] or NULL
    const float *rope_long, *rope_short;  // likewise, of longrope
    struct layer_weights *layers;         // [n_layers]
    size_t n_layers;

    void *memory;  // the one mapping
    size_t bytes;
    struct account *account;  // holds `bytes` of ACCOUNT_WEIGHTS, or NULL
    uint64_t n_parameters;
    bool has_f32;                  // some matrix is F32 (its product may run through OpenBLAS)
    uint8_t digest[SHA256_BYTES];  // of the tensor table and all contents
};

/* Checks every tensor against the configuration, then reads and packs with the pool; without a pool
 * (NULL) only `bytes` is set, to what loading would take. Errors are
 * those of model_open(); shapes and types are refused before anything large is allocated. */
enum status weights_load(struct model_weights *out, const struct model_file *file,
                         const struct model_config *config, struct account *account,
                         struct pool *pool, struct error *err) MUST_CHECK;
void weights_release(struct model_weights *weights);

#endif
