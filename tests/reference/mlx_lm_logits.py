#!/usr/bin/env python3
"""Loads an MLX directory that Assay wrote in mlx-lm and compares logits.

    python3 -m venv venv && venv/bin/pip install 'mlx[cpu]' mlx-lm numpy
    build/assay quantize models/demo out/mlx4 --recipe mlx4 --container mlx --measure none
    venv/bin/python tests/reference/mlx_lm_logits.py build/assay out/mlx4

Scales, biases and norms are widened to float32 before mlx-lm runs: its CPU products accumulate in their type. Exit
status 1 when the logits differ by more than 1e-3 RMS relative.
"""
import json
import subprocess
import sys

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map
from mlx_lm import load

PROMPTS = [[434, 1176, 274, 2305, 317], [10, 200, 3000, 42, 7, 7, 512, 999], list(range(100, 164))]


def widened(array):
    return array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array


def main(assay: str, directory: str) -> int:
    mx.set_default_device(mx.cpu)
    model, _ = load(directory)
    model.update(tree_map(widened, model.parameters()))
    worst = 0.0
    for ids in PROMPTS:
        theirs = np.array(model(mx.array([ids]))[0])
        command = [assay, "logits", directory, "--ids", ",".join(map(str, ids)), "--json"]
        ours = np.array(json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["logits"])
        difference = np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2))
        same = np.mean(ours.argmax(-1) == theirs.argmax(-1))
        print(f"{directory}: {len(ids)} tokens, logits differ by {difference:.2e} RMS relative, same first choice {same:.1%}")
        worst = max(worst, difference)
    return 0 if worst < 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
