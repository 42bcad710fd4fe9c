#include "engine/kernels/kernels_fill.h"
void kernels_fill_gemm_avx2(struct kernels *kernels)
{
    (void)kernels;
}
