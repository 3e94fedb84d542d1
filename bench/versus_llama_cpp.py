#!/usr/bin/env python3
"""Assay and llama.cpp on the same GGUF file, which Assay writes: decoding by slope and prefill, tokens a second, from
one interleaved run (A B B A), ratios with 95 % intervals over the quads, and the share of the roof that reading the
weights sets: bytes a token x tokens/s over the read bandwidth that `assay bench` measures in the same run.

  bench/versus_llama_cpp.py                            random weights in Qwen3-0.6B's shape: bf16, q8_0, q4_0
  bench/versus_llama_cpp.py --model ../shared/models/small --quads 2 --tokens 64 --prefill 128
  bench/versus_llama_cpp.py --native                   llama-bench, built as bench/llamacpp.py builds (ten minutes, once)
  bench/versus_llama_cpp.py --tools /usr/bin           llama-bench of an installed llama.cpp

llama.cpp is PyPI's xllamacpp by default, whose kernels go up to AVX2: take --native on a machine with more. Every A and
every B is a process of its own. Makes a virtual environment in OUT/venv and the random model by bench/make_checkpoint,
once.
"""
import json
import math
import os
import shutil
import statistics
import subprocess
import sys

import gguf_parity
import harness
import llamacpp
from compare import T95


def random_model(options):
    """A checkpoint in the shape of Qwen3-0.6B under the bundled model's tokenizer."""
    folder = os.path.join(options.out, "qwen3-0.6b")
    if not os.path.exists(folder):
        maker = os.path.join(harness.ROOT, "build/make_checkpoint")
        if not os.path.exists(maker):
            quiet = {"stdout": subprocess.DEVNULL, "cwd": harness.ROOT, "check": True}
            subprocess.run(["cmake", "--preset", "bench"], **quiet)
            subprocess.run(["cmake", "--build", "build", "--target", "make_checkpoint"], **quiet)
        harness.run([maker, folder, "qwen3-0.6b", os.path.join(harness.ROOT, "models/demo")])
    return folder


def measure_ours(options, path):
    row = json.loads(harness.run([options.assay, "bench", path, "--tokens", str(options.tokens), "--prompt-tokens",
                                  str(options.prompt), "--prefill-tokens", str(options.prefill), "--repeats", "1",
                                  "--threads", str(options.threads), "--json"]))["models"][0]
    return {"decode": row["decode_tokens_per_second"]["value"], "prefill": row["prefill_tokens_per_second"]["value"],
            "bytes": row["bytes_per_token"], "bandwidth": row["read_bandwidth"]["value"]}


def measure_wheel(options, python, path):
    return gguf_parity.ask(python, {"model": path, "threads": options.threads, "speed": {
        "prompt": options.prompt, "tokens": [options.tokens // 2, options.tokens], "prefill": options.prefill}})


def measure_native(options, path):
    """llama-bench: decoding behind the prompt (its depth) in a short and a long run, and one prefill."""
    def seconds(*work):
        rows = json.loads(harness.run([os.path.join(options.tools, "llama-bench"), "-m", path, "-t", str(options.threads),
                                       "-ngl", "0", "-r", "1", "-o", "json", *map(str, work)]))
        return rows[0]["avg_ns"] / 1e9

    short, long = (seconds("-p", 0, "-n", n, "-d", options.prompt) for n in (options.tokens // 2, options.tokens))
    if long <= short:
        sys.exit("llama-bench: the longer run was not slower; use more tokens")
    return {"decode": (options.tokens - options.tokens // 2) / (long - short),
            "prefill": options.prefill / seconds("-p", options.prefill, "-n", 0), "system": "native"}


def ratio(quads, key):
    """Assay over llama.cpp, with an interval where there are quads enough."""
    logs = [math.log(a1[key] * a2[key] / (b1[key] * b2[key])) / 2 for a1, b1, b2, a2 in quads]
    mean = statistics.mean(logs)
    if len(logs) < 2:
        return f"{math.exp(mean):.2f} [one quad]"
    half = T95[len(logs) - 2] * statistics.stdev(logs) / math.sqrt(len(logs))
    return f"{math.exp(mean):.2f} [{math.exp(mean - half):.2f}, {math.exp(mean + half):.2f}]"


def report(kind, quads):
    ours = [run for a1, _, _, a2 in quads for run in (a1, a2)]
    theirs = [run for _, b1, b2, _ in quads for run in (b1, b2)]
    middle = lambda runs, key: statistics.median(run[key] for run in runs)
    roof = middle(ours, "bandwidth") / ours[0]["bytes"]
    cells = [kind, f"{ours[0]['bytes'] / 1e6:.0f}"]
    for key in ("decode", "prefill"):
        cells += [f"{middle(ours, key):.1f}", f"{middle(theirs, key):.1f}", ratio(quads, key)]
        if key == "decode":
            cells += [f"{100 * middle(runs, key) / roof:.0f} %" for runs in (ours, theirs)]
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = harness.parser(__doc__, "versus")
    parser.add_argument("--model", help="folder or file (default: random weights in Qwen3-0.6B's shape)")
    parser.add_argument("--formats", default="source,q8_0,q4_0", help="separated by commas; source: as the model is")
    parser.add_argument("--native", action="store_true", help="build llama-bench here")
    parser.add_argument("--tools", help="folder of a llama-bench")
    parser.add_argument("--quads", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=128, help="of the long run; the short one has half")
    parser.add_argument("--prompt", type=int, default=32, help="tokens before those")
    parser.add_argument("--prefill", type=int, default=512)
    options = parser.parse_args()
    if not 1 <= options.quads <= len(T95) + 1:
        sys.exit(f"--quads is {options.quads}, 1 to {len(T95) + 1} expected")
    if options.tools and not shutil.which("llama-bench", path=options.tools):
        sys.exit(f"{options.tools}: no llama-bench")
    os.makedirs(options.out, exist_ok=True)
    if options.native:
        options.tools = llamacpp.build_tools(options.out, ["llama-bench"])
    python = None if options.tools else harness.python_with(os.path.join(options.out, "venv"), ["xllamacpp", "gguf"])
    model = options.model or random_model(options)
    sides = {"A": lambda path: measure_ours(options, path),
             "B": lambda path: measure_native(options, path) if options.tools else measure_wheel(options, python, path)}
    print(f"{model}, {options.threads} threads, {options.quads} quads; decode {options.tokens // 2} to {options.tokens} "
          f"tokens behind {options.prompt}, prefill {options.prefill}; tokens/s, medians; ratios Assay over llama.cpp\n\n"
          "| weights | MB a token | decode, Assay | llama.cpp | ratio [95 %] | of the roof | llama.cpp | prefill, Assay | "
          "llama.cpp | ratio [95 %] |\n" + "| --- " * 10 + "|", flush=True)
    for kind in options.formats.split(","):
        path = os.path.join(options.out, f"{os.path.basename(model.rstrip('/'))}-{kind}.gguf")
        gguf_parity.write(options, model, kind, path)
        quads = [[sides[side](path) for side in "ABBA"] for _ in range(options.quads)]
        report(kind, quads)
    print(f"\nllama.cpp: {quads[-1][1]['system']}")


if __name__ == "__main__":
    main()
