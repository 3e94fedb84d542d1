#!/usr/bin/env python3
"""Prints the golden hashes of gguf_superblocks_test.cpp: what PyPI's gguf package decodes 64 made-up blocks of each
type to (SHA-256 of the f32 bytes, and the first weights)."""
import hashlib

import gguf
import numpy as np

TYPES = {"q2_k": ("Q2_K", [80, 82]), "q3_k": ("Q3_K", [108]), "q4_k": ("Q4_K", [0, 2]), "q5_k": ("Q5_K", [0, 2]),
         "q6_k": ("Q6_K", [208]), "iq4_nl": ("IQ4_NL", [0]), "iq4_xs": ("IQ4_XS", [0])}
BLOCKS = 64

for name, (kind, halves) in TYPES.items():
    kind = gguf.GGMLQuantizationType[kind]
    size = gguf.GGML_QUANT_SIZES[kind][1]
    state, raw = 12345, bytearray()
    for _ in range(BLOCKS * size):
        state = (state * 1103515245 + 12345) % 2**31
        raw.append(state >> 16 & 0xFF)
    for block in range(BLOCKS):
        for half in halves:
            raw[block * size + half + 1] &= 0xBF  # below 2, so finite
    weights = gguf.quants.dequantize(np.frombuffer(bytes(raw), np.uint8).reshape(1, -1), kind).astype(np.float32)
    first = ", ".join(f"{value!r}f" for value in weights.ravel()[:3].tolist())
    print(f'{{"{name}", "{hashlib.sha256(weights.tobytes()).hexdigest()}"}},  // {first}')
