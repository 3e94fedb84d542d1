#!/usr/bin/env python3
"""Time and memory of calibration on a model of Qwen3-0.6B's shape (random weights): W3-MLP by GPTQ, under a control
group's limit of 2.5 GB (which counts the page cache: mapped weights and activations in files). Needs root.

  bench/calibration_speed.py
  bench/calibration_speed.py --text mine.txt --tokens 8192 --limit 0      without a limit
"""
import os
import sys

import harness


def main():
    parser = harness.parser(__doc__, "calibration_speed")
    parser.add_argument("--text", help="default: the shared training text")
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--memory", default="500MB", help="--calib-memory: activations beyond it go to files")
    parser.add_argument("--limit", type=int, default=2_500_000_000, help="bytes; 0: none")
    options = parser.parse_args()
    text = options.text or harness.prepare(options)
    os.makedirs(options.out, exist_ok=True)
    model, out = (harness.fresh(os.path.join(options.out, name)) for name in ("model", "quantised"))
    harness.run([os.path.join(harness.ROOT, "build/make_checkpoint"), model, "qwen3-0.6b",
                 os.path.join(harness.ROOT, "models/demo")])
    harness.forget([os.path.join(model, "model.safetensors"), text])
    command = [options.assay, "quantize", model, out, "--recipe", "w3-mlp", "--embed", "bf16", "--method", "gptq",
               "--calib", text, "--calib-tokens", str(options.tokens), "--calib-memory", options.memory, "--measure",
               "none"]
    if options.limit:
        _, seconds, resident, peak = harness.limited_run(command, options.limit)
        memory = f"peak {peak / 1e9:.2f} GB under a limit of {options.limit / 1e9:.1f} GB, page cache included"
    else:
        _, seconds, resident = harness.measured_run(command)
        memory = "no limit"
    print(f"{options.tokens} tokens: {seconds / 60:.1f} minutes on {os.cpu_count()} cores; {memory}; "
          f"{resident / 1e9:.2f} GB resident in the process at most, mapped files included")
    harness.fresh(model)
    harness.fresh(out)


if __name__ == "__main__":
    main()
