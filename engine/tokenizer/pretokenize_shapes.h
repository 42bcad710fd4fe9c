/* The shapes that pretokenize.c gives names to; each ends with NULL. Private to the two. */
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

#endif
