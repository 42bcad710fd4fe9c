"""Makes q8_0.bin: 64 blocks of 32 floats (raw float32), then their Q8_0 blocks from gguf-py.

Normal values of several sizes, ties between two levels, zeros, tiny and huge ones. Made with gguf 0.17.
"""
import pathlib

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize

random = np.random.default_rng(8)
blocks = random.standard_normal((64, 32)).astype(np.float32)
blocks[1] = 0
blocks[2] *= 1e-9
blocks[3] *= 1e4
blocks[4] = np.arange(32) - 15.5          # d = 16.5 / 127 ...
blocks[5] = (np.arange(32) - 16) / 2      # ties after scaling by 127
blocks[5, 0] = 63.5
blocks[6] = 127
blocks[7] = -np.abs(blocks[7])
blocks[8, 1:] = 0
blocks[9] = np.float32(6.1e-5)            # a scale that is a denormal half
blocks[10] = random.integers(-126, 126, 32) + 0.5  # ties under a scale of 1
blocks[10, 0] = 127
out = quantize(blocks, GGMLQuantizationType.Q8_0)
path = pathlib.Path(__file__).parent / "q8_0.bin"
path.write_bytes(blocks.tobytes() + np.ascontiguousarray(out).tobytes())
print(path, path.stat().st_size)
