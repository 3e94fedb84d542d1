#!/usr/bin/env python3
"""Compares Assay's MLX affine formats with MLX itself, bit for bit: codes, scales and biases.

How to run (about 100 MB of download, CPU only):
    cmake --preset bench && cmake --build build --target format_planes
    python3 -m venv /tmp/mlx && /tmp/mlx/bin/pip install 'mlx[cpu]' numpy
    /tmp/mlx/bin/python tests/reference/mlx_quantize.py build/format_planes

Every width, group and parameter type over random and adversarial rows; exits 1 on the first table of differences.
"""
import subprocess
import sys

import mlx.core as mx
import numpy as np

COLUMNS = 256
DTYPES = {"f16": mx.float16, "bf16": mx.bfloat16, "f32": mx.float32}


def rows():
    """Random rows of several scales, then the shapes that break fits."""
    random = np.random.default_rng(7)
    data = [random.standard_normal((64, COLUMNS)) * scale for scale in (1.0, 0.02, 30.0, 1e-4)]
    data.append(random.standard_t(2, (32, COLUMNS)))
    data.append(random.standard_normal((32, COLUMNS)) + 5)
    data.append(random.standard_normal((32, COLUMNS)) - 5)
    data.append(random.integers(-100, 100, (64, COLUMNS)) / 4)   # ties everywhere
    data.append(random.integers(-3, 4, (32, COLUMNS)).astype(float))
    index = np.arange(COLUMNS)
    edge = [
        np.zeros(COLUMNS), np.ones(COLUMNS), -np.ones(COLUMNS), np.full(COLUMNS, 2.5),
        np.where(index % 32 == 0, -1.0, 1.0), np.where(index % 32 == 0, 1.0, 2.0),
        np.where(index % 32 == 0, -2.0, -1.0), np.where(index % 2 == 0, 0.0, -0.0),
        np.where(index % 2 == 0, -0.0, 0.0), np.where(index % 9 == 0, 1.0, -0.0),
        np.where(index % 7 == 0, 3e-9, -1e-9), np.where(index == 9, 6e4, 1e-3),
        np.where(index % 2 == 0, 3e4, -3e4), index % 8, -(index % 8), 1e-6 * index, 1e-8 * index,
    ]
    data.append(np.array(edge, dtype=np.float64))
    return np.concatenate(data).astype(np.float32)


def as_bytes(array):
    """Raw bytes of an MLX array; bfloat16 has no numpy type."""
    if array.dtype == mx.uint32:
        return np.array(array).tobytes()
    return np.array(array.view(mx.uint32 if array.dtype == mx.float32 else mx.uint16)).tobytes()


def compare(program, bits, group, name):
    source = mx.array(rows()).astype(DTYPES[name])
    widened = np.array(source.astype(mx.float32))
    expected = [as_bytes(plane) for plane in mx.quantize(source, group_size=group, bits=bits)]
    done = subprocess.run([program, f"mlx{bits}-g{group}-{name}", str(COLUMNS)], input=widened.tobytes(),
                          stdout=subprocess.PIPE, check=True)
    found, differences = done.stdout, []
    if len(found) != sum(map(len, expected)):
        return [f"{len(found)} bytes, expected {sum(map(len, expected))}"]
    for plane, want in zip(("weight", "scales", "biases"), expected):
        have, found = found[:len(want)], found[len(want):]
        if have != want:
            a, b = np.frombuffer(have, np.uint8), np.frombuffer(want, np.uint8)
            differences.append(f"{plane}: {np.count_nonzero(a != b)} of {len(want)} bytes, first at {np.argmax(a != b)}")
    return differences


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    mx.set_default_device(mx.cpu)
    failed = 0
    for bits in (1, 2, 3, 4, 5, 6, 8):
        for group in (32, 64, 128):
            for name in DTYPES:
                differences = compare(sys.argv[1], bits, group, name)
                failed += bool(differences)
                for difference in differences:
                    print(f"mlx{bits}-g{group}-{name}: {difference}")
    print(f"mlx {mx.__version__}: {63 - failed} of 63 formats equal bit for bit, {rows().shape[0]} rows each")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
