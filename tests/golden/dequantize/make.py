"""Makes <TYPE>.bin: stored blocks and their values as gguf-py (gguf.quants.dequantize) reads them.

A file is little-endian: u32 columns, the blocks of one row, f32 values of the row. Blocks are
random bytes with finite f16 scales, then one of all bits clear, one of all set (scales 1), one of
0x80.
Made with gguf 0.19.0 and numpy 2.4.6; run from anywhere: python3 make.py. Read by
tests/kernels/pack_check.c, which compares bits.
"""
import pathlib

import gguf
import numpy as np

SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "F16": [], "BF16": [], "F32": [],
          "Q2_K": [80, 82], "Q3_K": [108], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
          "NVFP4": [], "IQ3_XXS": [0], "IQ3_S": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0],
          "IQ1_S": [0], "IQ1_M": [], "TQ1_0": [52], "TQ2_0": [64]}
RANDOM_BLOCKS = 5


def blocks_of(name, rng):
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    if elements == 1:
        values = rng.standard_normal(64).astype(np.float32)
        values[:4] = [0.0, -0.0, 1e-41, -65504.0]
        if name == "F32":
            return kind, values.view(np.uint8), 64
        if name == "F16":
            return kind, values.astype(np.float16).view(np.uint8), 64
        return kind, (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8), 64
    blocks = rng.integers(0, 256, (RANDOM_BLOCKS + 3, size), dtype=np.uint8)
    blocks[-3], blocks[-2], blocks[-1] = 0, 255, 128
    for i, block in enumerate(blocks):
        for at in SCALES[name]:
            scale = np.float16(rng.standard_normal() * 10.0 ** rng.integers(-6, 3))
            if i >= RANDOM_BLOCKS:
                scale = np.float16(1.0)
            block[at:at + 2] = np.frombuffer(scale.tobytes(), np.uint8)
        if name == "IQ1_M":  # four bits of the scale in each of four words
            half = int(np.float16(rng.standard_normal()).view(np.uint16))
            for at in range(4):
                block[49 + 2 * at] = block[49 + 2 * at] & 15 | (half >> 4 * at & 15) << 4
    return kind, blocks.reshape(-1), elements * len(blocks)


def main():
    rng = np.random.default_rng(20261123)
    for name in SCALES:
        kind, stored, columns = blocks_of(name, rng)
        typed = stored.view({"F32": np.float32, "F16": np.float16}.get(name, np.uint8))
        values = gguf.quants.dequantize(typed, kind).astype(np.float32).reshape(-1)
        assert len(values) == columns, (name, len(values), columns)
        path = pathlib.Path(__file__).with_name(name + ".bin")
        path.write_bytes(np.uint32(columns).tobytes() + stored.tobytes() + values.tobytes())


main()
