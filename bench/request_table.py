#!/usr/bin/env python3
"""The table that users of a 3-bit MLP asked for, on the full test text, in one harness: the original, KHQ4
everywhere, MLP in KHW3 by plain rounding, MLP in KHW3 calibrated.

  bench/request_table.py                         small and llama of the reference models, full text
  bench/request_table.py small --max-tokens 30000 --calib-tokens 32768      a smoke run, labelled partial

Perplexity, mean loss, KL divergence from the original, differences of the mean loss to the original and to Q4
with paired 95 % intervals, seconds of evaluation, bytes. JSON of every comparison is kept in OUT.
"""
import json
import os
import sys

import harness

VARIANTS = [("Q4", "q4", "rtn", []), ("W3-MLP, rounded", "w3-mlp", "rtn", []),
            ("W3-MLP, calibrated", "w3-mlp", "gptq", [])]
ROTATE = ["--rotate", "hadamard"]
ROTATED = [("W3-MLP, rotated, rounded", "w3-mlp", "rtn", ROTATE),
           ("W3-MLP, rotated, calibrated", "w3-mlp", "gptq", ROTATE)]


def difference(result, first, second):
    """Mean loss of `first` minus `second`, with its interval, whichever way round it was compared."""
    for pair in result["comparisons"]:
        low, high = pair["nll_difference_ci95"]
        if (pair["first"], pair["second"]) == (first, second):
            return f"{pair['nll_difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
        if (pair["second"], pair["first"]) == (first, second):
            return f"{-pair['nll_difference']:+.4f} [{-high:+.4f}, {-low:+.4f}]"
    sys.exit(f"no comparison of {first} and {second}")


def print_table(options, name, model, text, calibration, upstream=()):
    """One model's table; `upstream`: published perplexities of the rows, printed beside ours."""
    folders, rotations = [], set()
    variants = VARIANTS + (ROTATED if options.rotate else [])
    for label, recipe, method, flags in variants:
        folder = harness.fresh(os.path.join(options.out, f"{name}-{recipe}-{method}{'-rotated' if flags else ''}"))
        command = [options.assay, "quantize", model, folder, "--recipe", recipe, "--method", method, "--measure", "none",
                   *flags]
        if options.embed:
            command += ["--embed", options.embed]
        if method == "gptq":
            command += ["--calib", calibration, "--calib-tokens", str(options.calib_tokens)]
        output = harness.run(command)
        rotations.update(line for line in output.splitlines() if line.startswith("rotated by"))
        folders.append(folder)
    command = [options.assay, "compare", model, *folders, "--text", text, "--json"]
    if options.max_tokens:
        command += ["--max-tokens", str(options.max_tokens)]
    result = json.loads(harness.run(command))
    with open(os.path.join(options.out, f"{name}.json"), "w") as file:
        json.dump(result, file, indent=1)
    original = result["original"]
    print(f"\n`{name}`: {original['tokens']} tokens scored{', PARTIAL' if result['partial'] else ''}, "
          f"{options.calib_tokens} calibration tokens of another text\n")
    published = " published perplexity |" if upstream else ""
    print(f"| | bytes | bits a linear weight | perplexity |{published} mean loss | KLD [95 %] | loss over the original | "
          f"loss over Q4 | s |\n| --- | --- | --- | --- |{' --- |' if upstream else ''} --- | --- | --- | --- | --- |")
    beside = [f" {figure} |" for figure in upstream] + [" |" if upstream else ""] * (1 + len(variants) - len(upstream))
    names = [os.path.basename(folder) for folder in folders]
    original_name = os.path.basename(os.path.normpath(model))
    print(f"| original | {original['model']['bytes']} | {original['model']['bits_per_weight_linear']:.2f} | "
          f"{original['perplexity']:.4f} |{beside[0]} {original['nll']:.4f} | | | | {original['seconds']:.0f} |")
    for (label, *_), folder, row, figure in zip(variants, names, result["models"], beside[1:]):
        low, high = row["kld"]["ci95"]
        over_q4 = "" if folder == names[0] else difference(result, folder, names[0])
        print(f"| {label} | {row['model']['bytes']} | {row['model']['bits_per_weight_linear']:.2f} | "
              f"{row['perplexity']:.4f} |{figure} {row['nll']:.4f} | {row['kld']['mean']:.4f} [{low:.4f}, {high:.4f}] | "
              f"{difference(result, folder, original_name)} | {over_q4} | {row['seconds']:.0f} |", flush=True)
    for line in sorted(rotations):
        print(f"\n{line}")


def add_options(parser):
    parser.add_argument("--calib-tokens", type=int, default=131072)
    parser.add_argument("--max-tokens", type=int, help="cut the text: a smoke run, not a claim")
    parser.add_argument("--embed", help="format of embedding and head, over the recipes")
    parser.add_argument("--rotate", action="store_true", help="W3-MLP of the rotated model too, with its asymmetry")


def main():
    parser = harness.parser(__doc__, "request")
    parser.add_argument("models", nargs="*", default=["small", "llama"])
    add_options(parser)
    options = parser.parse_args()
    calibration = harness.prepare(options)
    for name in options.models:
        print_table(options, name, harness.shared_model(options, name), harness.test_text(options), calibration)


if __name__ == "__main__":
    main()
