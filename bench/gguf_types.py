#!/usr/bin/env python3
"""Files that llama.cpp makes of the small reference model in each of its types: every weight as Assay decodes it
against PyPI's gguf package, bit for bit; the file run for its KL divergence; and audited against the original.

  bench/gguf_types.py                     builds llama.cpp's tools as bench/llamacpp.py does (PyPI: gguf, numpy)
  bench/gguf_types.py --types Q4_K,Q6_K --tools /usr/bin

Exit 1 when a weight differs (a zero's sign excepted: Q4_0 under a negative scale) or the audit finds something.
"""
import json
import os
import struct
import subprocess
import sys

import gguf
import numpy as np

import gguf_f16
import harness
import llamacpp

TYPES = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "Q4_0", "Q4_1", "Q8_0"]
FILE_TYPES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}  # as llama-quantize calls them


def read_f32(folder):
    """Tensors of an Assay folder in f32, by name."""
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
            for name, entry in header.items()}


def count_differences(path, folder):
    """Weights whose bits differ between the gguf package's decoding and Assay's, those of them that are zeros of the
    other sign, and all weights."""
    ours = {gguf_f16.gguf_name(name): values for name, values in read_f32(folder).items()}
    different = zeros = total = 0
    for tensor in gguf.GGUFReader(path).tensors:
        theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        mine = ours.pop(tensor.name)
        theirs = theirs.reshape(mine.shape)
        other = theirs.view(np.uint32) != mine.view(np.uint32)
        different += int(np.count_nonzero(other))
        zeros += int(np.count_nonzero(other & (theirs == 0) & (mine == 0)))
        total += mine.size
    if ours:
        sys.exit(f"{path}: tensors without a twin: {sorted(ours)}")
    return different, zeros, total


def main():
    parser = harness.parser(__doc__, "llamacpp")
    parser.add_argument("--tools", help="folder of an installed llama.cpp's programs")
    parser.add_argument("--types", default=",".join(TYPES), help="separated by commas")
    parser.add_argument("--max-tokens", type=int, default=30000, help="of the test text")
    options = parser.parse_args()
    harness.prepare(options)
    model = harness.shared_model(options, "small")
    tools = options.tools or llamacpp.build_tools(options.out)
    base = os.path.join(options.out, "small-base.gguf")
    gguf_f16.write_f16(model, base)
    recipe = os.path.join(options.out, "f32.json")
    with open(recipe, "w") as file:
        json.dump({"name": "f32", "rules": [{"names": ["*"], "format": "f32"}]}, file)
    failed = False
    print("| type | bits a linear weight | weights that differ | KLD [95 %] | audit |\n| --- | --- | --- | --- | --- |",
          flush=True)
    for kind in options.types.split(","):
        path = os.path.join(options.out, f"small-pure-{kind}.gguf")
        llamacpp.run([f"{tools}/llama-quantize", "--pure", "--token-embedding-type", "f16", base, path,
                      FILE_TYPES.get(kind, kind)], path + ".log")
        folder = harness.fresh(path + "-f32")
        harness.run([options.assay, "quantize", path, folder, "--recipe", recipe, "--measure", "none"])
        different, zeros, total = count_differences(path, folder)
        result = json.loads(harness.run([options.assay, "eval", path, "--reference", model, "--text",
                                         harness.test_text(options), "--max-tokens", str(options.max_tokens), "--json"]))
        audit = subprocess.run([options.assay, "audit", path, "--against", model], capture_output=True, text=True)
        low, high = result["kld"]["ci95"]
        failed |= different > zeros or audit.returncode != 0
        print(f"| {kind} | {result['model']['bits_per_weight_linear']:.3f} | {different} of {total}"
              f"{f', all of them zeros of the other sign' if zeros and zeros == different else ''} | "
              f"{result['kld']['mean']:.4f} [{low:.4f}, {high:.4f}] | {audit.stdout.splitlines()[-1]} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
