/* The shapes that pretokenize.c names; each list ends with NULL. Private to engine/tokenizer. */
#ifndef WICARA_TOKENIZER_PRETOKENIZE_SHAPES_H
#define WICARA_TOKENIZER_PRETOKENIZE_SHAPES_H

#include "engine/tokenizer/pretokenize.h"

extern pretokenize_cut *const shape_default[];
extern pretokenize_cut *const shape_gpt2[];
extern pretokenize_cut *const shape_digits[];
extern pretokenize_cut *const shape_falcon[];
extern pretokenize_cut *const shape_llama3[];
extern pretokenize_cut *const shape_qwen2[];
extern pretokenize_cut *const shape_qwen35[];
extern pretokenize_cut *const shape_seed_coder[];
extern pretokenize_cut *const shape_ufakzeka[];
extern pretokenize_cut *const shape_minicpm5[];
extern pretokenize_cut *const shape_gemma4[];
extern pretokenize_cut *const shape_laguna[];
extern pretokenize_cut *const shape_gpt4o[];
extern pretokenize_cut *const shape_tekken[];
extern pretokenize_cut *const shape_deepseek_llm[];
extern pretokenize_cut *const shape_deepseek_coder[];
extern pretokenize_cut *const shape_deepseek3[];

/* Stages of a tokenizer.json that are no expressions. */
pretokenize_cut pretokenize_cut_digit;    // Digits, one by one
pretokenize_cut pretokenize_cut_digits;   // Digits in runs
pretokenize_cut pretokenize_cut_gpt2;     // ByteLevel's own expression
pretokenize_cut pretokenize_cut_marks;    // in front of each U+2581
pretokenize_cut pretokenize_cut_nowhere;  // all in one
pretokenize_cut pretokenize_cut_words;    // in front of U+2581 behind another character

/* The expressions of published tokenizer.json files that there are matchers for. */
struct known_regex {
    const char *text;  // line ends spelled \\r and \\n
    pretokenize_cut *cut;
    bool matches_all;  // nothing lies between its matches
};
const struct known_regex *pretokenize_regex(const char *text, size_t n_bytes);  // NULL: unknown

#endif
