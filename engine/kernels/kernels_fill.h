/* How the table of kernels is filled, level by level (private to engine/kernels).
 *
 * A table starts with every scalar slot; each higher level overwrites the slots that it has its own
 * code for. Products are filled by gemm_*.c, everything else by vector_*.c. quantize_q8 belongs to
 * the products. The fill functions of a level only store pointers: they may run on any CPU, though
 * their files are compiled with that level's instructions (kernels.c calls them only where the CPU
 * has the level, so that no stray instruction of the compiler can trap). */
#ifndef WICARA_KERNELS_KERNELS_FILL_H
#define WICARA_KERNELS_KERNELS_FILL_H

#include "engine/kernels/kernels.h"

void kernels_fill_gemm_scalar(struct kernels *kernels);
void kernels_fill_gemm_avx2(struct kernels *kernels);
void kernels_fill_gemm_avx512(struct kernels *kernels);
void kernels_fill_gemm_amx(struct kernels *kernels);

void kernels_fill_vector_scalar(struct kernels *kernels);
void kernels_fill_vector_avx2(struct kernels *kernels);
void kernels_fill_vector_avx512(struct kernels *kernels);

#endif
