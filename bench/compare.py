#!/usr/bin/env python3
"""Two revisions side by side: this tree and BASE are built alike, then run A B B A on the same models and texts.

    make bench-compare BASE=REVISION
    bench/compare.py REVISION [--quads N] [--only evaluation,decode,rounding,gptq]

Prints for each task the ratio of seconds, this tree over BASE, with a 95 % interval over the quads (t interval of their
logarithms), the ratio of peak resident memory, and whether what was written is the same to the byte. The bundled model;
with the references beside the checkout also `small`, which gptq is for.
"""
import argparse
import filecmp
import glob
import math
import os
import shutil
import statistics
import subprocess
import sys

import harness

T95 = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26]  # two-sided, by degrees of freedom from 1


def build(tree, folder):
    """The program of a tree, built as its own `make build` does."""
    quiet = {"stdout": subprocess.DEVNULL}
    subprocess.run(["cmake", "--preset", "release", "-B", folder], cwd=tree, check=True, **quiet)
    subprocess.run(["cmake", "--build", folder, "--target", "assay", "-j", str(os.cpu_count())], check=True, **quiet)
    return os.path.join(folder, "assay")


def checked_out(revision, folder):
    """The tree of a revision, in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    git = ["git", "-C", harness.ROOT]
    if subprocess.run([*git, "rev-parse", "--verify", "--quiet", revision + "^{commit}"], stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"{revision}: no such revision")
    archive = subprocess.Popen([*git, "archive", revision], stdout=subprocess.PIPE)
    # As of now, or objects of an earlier BASE would pass for this one's.
    subprocess.run(["tar", "-xmf", "-", "-C", folder], stdin=archive.stdout, check=True)
    if archive.wait() != 0:
        sys.exit(f"{revision}: git archive failed")
    return folder


def list_tasks(options, out):
    """Name, command behind the program, folder written or None."""
    demo = os.path.join(harness.ROOT, "models/demo")
    small = os.path.join(options.shared, "models/small")
    text = harness.test_text(options)
    if not os.path.exists(text):  # prose enough for the bundled model
        text = os.path.join(out, "text.txt")
        with open(text, "w") as joined:
            for page in sorted(glob.glob(os.path.join(harness.ROOT, "docs/*.md"))):
                joined.write(open(page).read())
    model = small if os.path.exists(small) else demo
    written = os.path.join(out, "written")
    measure = ["--measure", "none"]
    return [
        ("evaluation", ["eval", model, "--text", text, "--max-tokens", "8192"], None),
        ("decode", ["eval", model, "--text", text, "--mode", "decode", "--max-tokens", "2048"], None),
        ("rounding", ["quantize", model, written, "--recipe", "w3-mlp", *measure], written),
        ("gptq", ["quantize", model, written, "--recipe", "w3-mlp", "--method", "gptq", "--calib", text,
                  "--calib-tokens", "8192", *measure], written),
    ]


def weights(folder):
    return sorted(glob.glob(os.path.join(folder, "*.safetensors")))


def same_bytes(one, two):
    names = [[os.path.basename(path) for path in weights(folder)] for folder in (one, two)]
    return names[0] == names[1] and all(filecmp.cmp(a, b, False) for a, b in zip(weights(one), weights(two)))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("base")
    options.add_argument("--quads", type=int, default=3)
    options.add_argument("--only", default="evaluation,decode,rounding,gptq")
    options.add_argument("--shared", default=os.path.join(harness.ROOT, "../shared"))
    options = options.parse_args()
    if not 2 <= options.quads <= len(T95) + 1:
        sys.exit(f"--quads is {options.quads}, 2 to {len(T95) + 1} expected")
    out = os.path.join(harness.ROOT, "build/compare")
    tree = checked_out(options.base, os.path.join(out, "tree"))
    programs = {"A": build(tree, os.path.join(out, "base")), "B": build(harness.ROOT, os.path.join(out, "here"))}
    print(f"{'task':<12} {'seconds':>8}  {'95 % interval':<18} {'memory':>7}  written")
    for name, command, written in list_tasks(options, out):
        if name not in options.only.split(","):
            continue
        logs, memory = [], {"A": 0, "B": 0}
        for _ in range(options.quads):
            seconds = {"A": 1.0, "B": 1.0}
            for side in "ABBA":
                if written:
                    harness.fresh(written)
                _, taken, resident = harness.measured_run([programs[side], *command])
                seconds[side] *= taken
                memory[side] = max(memory[side], resident)
                if written:
                    shutil.rmtree(f"{written}-{side}", ignore_errors=True)
                    os.rename(written, f"{written}-{side}")
            logs.append(math.log(seconds["B"] / seconds["A"]) / 2)
        mean = statistics.mean(logs)
        half = T95[options.quads - 2] * statistics.stdev(logs) / math.sqrt(options.quads)
        bytes_ = "-" if not written else "the same bytes" if same_bytes(f"{written}-A", f"{written}-B") else "OTHER BYTES"
        interval = f"[{math.exp(mean - half):.3f}, {math.exp(mean + half):.3f}]"
        print(f"{name:<12} {math.exp(mean):>8.3f}  {interval:<18} {memory['B'] / memory['A']:>7.3f}  {bytes_}", flush=True)


if __name__ == "__main__":
    main()
