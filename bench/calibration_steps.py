#!/usr/bin/env python3
"""What each step of calibration gives, at the same bytes: KL divergence on the same test tokens, differences with
paired 95 % intervals. And the same under a rotation of the residual stream.

  bench/calibration_steps.py                              recipes w3-mlp and w3 of the small reference model
  bench/calibration_steps.py --recipes mlx3 --model tiny

JSON of every comparison is kept in OUT.
"""
import json
import os

import harness

FEW, MANY = 32768, 131072
# label, method, calibration tokens, further options, the label it is held against
STEPS = [
    ("plain rounding", "rtn", 0, [], None),
    ("scale search on the weights alone", "search", 0, [], "plain rounding"),
    ("scale search weighted by the inputs", "search", FEW, [], "scale search on the weights alone"),
    ("error feedback (GPTQ)", "gptq", FEW, ["--refine", "0"], "scale search weighted by the inputs"),
    ("scales refitted, codes moved singly", "gptq", FEW, [], "error feedback (GPTQ)"),
    ("four times the text", "gptq", MANY, [], "scales refitted, codes moved singly"),
    ("rotated, plain rounding", "rtn", 0, ["--rotate", "hadamard"], "plain rounding"),
    ("rotated, scale search weighted by the inputs", "search", FEW, ["--rotate", "hadamard"],
     "scale search weighted by the inputs"),
    ("rotated, everything", "gptq", FEW, ["--rotate", "hadamard"], "scales refitted, codes moved singly"),
]


def main():
    parser = harness.parser(__doc__, "steps")
    parser.add_argument("--model", default="small")
    parser.add_argument("--recipes", default="w3-mlp,w3", help="separated by commas")
    parser.add_argument("--max-tokens", type=int, default=30000, help="of the test text")
    options = parser.parse_args()
    calibration = harness.prepare(options)
    model = harness.shared_model(options, options.model)
    for recipe in options.recipes.split(","):
        folders = {}
        for i, (label, method, tokens, further, _) in enumerate(STEPS):
            folders[label] = harness.fresh(os.path.join(options.out, f"{options.model}-{recipe}-{i}"))
            command = [options.assay, "quantize", model, folders[label], "--recipe", recipe, "--embed", "bf16",
                       "--method", method, "--measure", "none", *further]
            if tokens:
                command += ["--calib", calibration, "--calib-tokens", str(tokens)]
            harness.run(command)
        result = json.loads(harness.run([options.assay, "compare", model, *folders.values(), "--text",
                                         harness.test_text(options), "--max-tokens", str(options.max_tokens),
                                         "--json"]))
        with open(os.path.join(options.out, f"{options.model}-{recipe}.json"), "w") as file:
            json.dump(result, file, indent=1)
        differences = {}
        for pair in result["kld_differences"]:
            low, high = pair["ci95"]
            differences[pair["first"], pair["second"]] = (pair["difference"], low, high)
            differences[pair["second"], pair["first"]] = (-pair["difference"], -high, -low)
        print(f"\n`{options.model}`, {recipe}, first {options.max_tokens} tokens; calibration text: {FEW} tokens, "
              f"{MANY} where it says so\n\n| | KLD [95 %] | top-1 | difference | to |\n| --- | --- | --- | --- | --- |")
        for (label, _, _, _, against), row in zip(STEPS, result["models"]):
            low, high = row["kld"]["ci95"]
            step = ""
            if against:
                gap = differences[os.path.basename(folders[label]), os.path.basename(folders[against])]
                step = "{:+.4f} [{:+.4f}, {:+.4f}]".format(*gap)
            print(f"| {label} | {row['kld']['mean']:.4f} [{low:.4f}, {high:.4f}] | "
                  f"{100 * row['top1_agreement']:.1f} % | {step} | {against or ''} |", flush=True)


if __name__ == "__main__":
    main()
