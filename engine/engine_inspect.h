/* Looking into a model without loading it: what it is, whether this engine serves it, what memory
 * it would take. */
#ifndef WICARA_ENGINE_ENGINE_INSPECT_H
#define WICARA_ENGINE_ENGINE_INSPECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/engine.h"

enum { INSPECT_TEXT_BYTES = 128, INSPECT_TYPES_MAX = 40, INSPECT_PROBLEMS_MAX = 4 };

struct inspect_type {
    const char *name;  // "Q4_K"
    size_t n_tensors;
    uint64_t n_elements, bytes;
};

/* Texts are cut to their size and printable. Numbers that the file does not say are 0. */
struct inspect_report {
    char architecture[INSPECT_TEXT_BYTES];
    char name[INSPECT_TEXT_BYTES];
    bool is_folder;  // a Hugging Face checkpoint, else a GGUF file
    uint64_t file_bytes, n_parameters;
    size_t n_tensors;
    struct inspect_type types[INSPECT_TYPES_MAX];  // [n_types], most bytes first
    size_t n_types;

    uint64_t n_layers, n_embd, n_heads, n_kv_heads, n_experts, n_experts_used, n_vocab, ctx_train;

    struct engine_sampling sampling;        // what requests that say nothing get
    char tokenizer[INSPECT_TEXT_BYTES];     // "gpt2 (llama-bpe)"
    size_t template_bytes;                  // 0 = none
    char reply_format[INSPECT_TEXT_BYTES];  // how replies are read, "hermes"; "" without a template
    bool template_tools;     // the template shows tools (without: they go into the system text)
    bool template_thinking;  // replies may begin with marked thinking
    const char *template_format;  // "ChatML"; NULL when it is none that is known by sight

    /* Why the engine does not serve it, or serves it in part; none = it does. */
    char problems[INSPECT_PROBLEMS_MAX][ERROR_TEXT_BYTES];
    size_t n_problems;
    bool is_served;

    /* Valid with has_memory: the engine's own sums. */
    bool has_memory;
    size_t ctx_size, parallel, threads;
    uint64_t weight_bytes, scratch_bytes;
    uint64_t kv_token_bytes;     // one more token of one conversation, its windows being full
    uint64_t kv_window_bytes;    // what layers with a window take of a conversation at most
    uint64_t kv_sequence_bytes;  // one conversation of ctx_size
    uint64_t kv_pool_bytes;      // what the engine would reserve at most
    uint64_t available_bytes;    // free now; 0 = not known
};

/* Looks into options->model_path; the other options are those that the engine would get. Errors:
 * those of opening the file; everything later is a problem in the report. */
enum status engine_inspect(struct inspect_report *out, const struct engine_options *options,
                           struct error *err) MUST_CHECK;

#endif
