/* The names that files have for the shapes of pre-tokenizers, and the walk over the pieces; see
 * pretokenize.h. A further shape is a list of cuts in pretokenize_shapes.c and a row here.
 *
 * Source of the names: the values of tokenizer.ggml.pre that llama.cpp's converter writes. */
#include "engine/tokenizer/pretokenize.h"

#include <assert.h>
#include <string.h>

#include "engine/tokenizer/pretokenize_shapes.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct pretokenizer pretokenizers[] = {
    /* name, shape, ignore_merges, adds_bos, raw, nfc */
    {"default", shape_default, false, false, false, false},
    {"gpt-2", shape_gpt2, false, false, false, false},
    {"phi-2", shape_gpt2, false, false, false, false},
    {"mpt", shape_gpt2, false, false, false, false},
    {"olmo", shape_gpt2, false, false, false, false},
    {"jais", shape_gpt2, false, false, false, false},
    {"trillion", shape_gpt2, false, false, false, false},
    {"granite-docling", shape_gpt2, false, false, false, false},
    {"gigachat", shape_gpt2, false, false, false, false},
    {"mellum", shape_gpt2, false, false, false, false},
    {"exaone4", shape_gpt2, false, false, false, false},
    {"smollm", shape_digits, false, false, false, false},
    {"starcoder", shape_digits, false, false, false, false},
    {"refact", shape_digits, false, false, false, false},
    {"command-r", shape_digits, false, false, false, false},
    {"codeshell", shape_digits, false, false, false, false},
    {"exaone", shape_digits, false, false, false, false},
    {"minerva-7b", shape_digits, false, false, false, false},
    {"falcon", shape_falcon, false, false, false, false},
    {"llama-bpe", shape_llama3, true, true, false, false},
    {"llama3", shape_llama3, true, true, false, false},
    {"llama-v3", shape_llama3, true, true, false, false},
    {"falcon3", shape_llama3, true, true, false, false},
    {"falcon-h1", shape_llama3, true, true, false, false},
    {"pixtral", shape_llama3, true, true, false, false},
    {"midm-2.0", shape_llama3, true, true, false, false},
    {"lfm2", shape_llama3, true, true, false, false},
    {"smaug-bpe", shape_llama3, false, false, false, false},
    {"dbrx", shape_llama3, false, false, false, false},
    {"chatglm-bpe", shape_llama3, false, false, false, false},
    {"glm4", shape_llama3, true, false, false, false},
    {"glm5", shape_llama3, true, false, false, false},
    {"qwen2", shape_qwen2, false, false, false, true},
    {"deepseek-r1-qwen", shape_qwen2, false, false, false, false},
    {"megrez", shape_qwen2, false, false, false, false},
    {"stablelm2", shape_qwen2, false, false, false, false},
    {"hunyuan", shape_qwen2, false, false, false, false},
    {"solar-open", shape_qwen2, false, false, false, false},
    {"grok-2", shape_qwen2, false, false, false, false},
    {"bailingmoe", shape_qwen2, false, false, false, false},
    {"bailingmoe2", shape_qwen2, false, false, false, false},
    {"llada-moe", shape_qwen2, false, false, false, false},
    {"qwen35", shape_qwen35, false, false, false, false},
    {"seed-coder", shape_seed_coder, false, false, false, false},
    {"ufakzeka", shape_ufakzeka, false, false, false, false},
    {"minicpm5", shape_minicpm5, true, false, false, false},
    {"laguna", shape_laguna, false, false, false, false},
    {"gpt-4o", shape_gpt4o, false, false, false, false},
    {"llama4", shape_gpt4o, false, false, false, false},
    {"kanana2", shape_gpt4o, false, false, false, false},
    {"minimax-m2", shape_gpt4o, false, false, false, false},
    {"tekken", shape_tekken, true, true, false, false},
    {"deepseek-llm", shape_deepseek_llm, false, false, false, false},
    {"deepseek-coder", shape_deepseek_coder, false, false, false, false},
    {"deepseek-v3", shape_deepseek3, false, false, false, false},
    {"hunyuan-dense", shape_deepseek3, false, false, false, false},
    {"joyai-llm", shape_deepseek3, false, false, false, false},
    {"gemma4", shape_gemma4, false, true, true, false},
};

const struct pretokenizer *pretokenizer_find(const char *name, size_t n_bytes)
{
    for (size_t i = 0; i < COUNT(pretokenizers); i++) {
        const char *have = pretokenizers[i].name;
        if (strlen(have) == n_bytes && !memcmp(have, name, n_bytes))
            return &pretokenizers[i];
    }
    return NULL;
}

enum status pretokenizer_unknown(const char *name, size_t n_bytes, struct error *err)
{
    /* One name a shape: all of them would not fit into an error's text. */
    char known[160] = "";
    pretokenize_cut *const *last = NULL;
    for (size_t i = 0; i < COUNT(pretokenizers); i++) {
        size_t n = strlen(known);
        if (pretokenizers[i].stages == last)
            continue;
        last = pretokenizers[i].stages;
        snprintf(known + n, sizeof known - n, " %s", pretokenizers[i].name);
    }
    return error_set(err, ERR_UNSUPPORTED,
                     "tokenizer.ggml.pre is \"%.*s\"; supported are%s and names like them",
                     n_bytes < 40 ? (int)n_bytes : 40, name, known);
}

void piece_walk_init(struct piece_walk *walk, const struct pretokenizer *pretokenizer,
                     const uint32_t *units, size_t n_units)
{
    size_t n_stages = 0;
    while (pretokenizer->stages[n_stages])
        n_stages++;
    assert(n_stages > 0 && n_stages <= PRETOKENIZE_STAGES_MAX);
    *walk =
        (struct piece_walk){.units = units, .stages = pretokenizer->stages, .n_stages = n_stages};
    walk->end[0] = n_units;
}

bool piece_walk_next(struct piece_walk *walk, size_t *first, size_t *last)
{
    while (walk->at[walk->stage] == walk->end[walk->stage]) {
        if (walk->stage == 0)
            return false;
        walk->stage--;
    }
    for (;;) {
        *first = walk->at[walk->stage];
        *last = walk->stages[walk->stage](walk->units, *first, walk->end[walk->stage]);
        walk->at[walk->stage] = *last;
        if (walk->stage + 1 == walk->n_stages)
            return true;
        walk->stage++;
        walk->at[walk->stage] = *first;
        walk->end[walk->stage] = *last;
    }
}
