#!/usr/bin/env python3
"""What few bits cost a mixture of experts: 2-bit experts by plain rounding and by scale search at the same bytes, and
experts of 4 and 2 bits by how often a text visits them. KL divergence with 95 % intervals, differences paired.

  bench/expert_bits.py                  the reference mixture, every other matrix 4 bits, routers 8 bits
"""
import json
import os
import sys

import harness


def main():
    parser = harness.parser(__doc__, "experts")
    parser.add_argument("--max-tokens", type=int, default=30000, help="of the test text")
    options = parser.parse_args()
    calibration = harness.prepare(options)
    model = harness.shared_model(options, "moe")
    hot_cold = os.path.join(options.out, "hot-cold.json")
    harness.run([options.assay, "routing", model, "--text", calibration, "--max-tokens", "65536", "--out", hot_cold])
    plain = os.path.join(options.out, "plain.json")
    with open(plain, "w") as file:
        json.dump({"name": "mlx2-plain", "rules": [{"roles": ["experts"], "format": "mlx2-g64"},
                                                   {"roles": ["matrices"], "format": "mlx4-g64"},
                                                   {"roles": ["routers"], "format": "mlx8-g64"}]}, file)
    variants = [("experts 4 bits", "mlx4", []), ("hot experts 4 bits, cold 2", hot_cold, []),
                ("experts 2 bits, scale search", "mlx2-experts", []), ("experts 2 bits, plain", plain, []),
                ("the same, calibrated", "mlx2-experts",
                 ["--method", "gptq", "--calib", calibration, "--calib-tokens", "32768"])]
    folders = []
    for i, (_, recipe, further) in enumerate(variants):
        folders.append(harness.fresh(os.path.join(options.out, f"moe-{i}")))
        harness.run([options.assay, "quantize", model, folders[-1], "--recipe", recipe, "--measure", "none", *further])
    result = json.loads(harness.run([options.assay, "compare", model, *folders, "--text", harness.test_text(options),
                                     "--max-tokens", str(options.max_tokens), "--json"]))
    differences = {}
    for pair in result["kld_differences"]:
        low, high = pair["ci95"]
        differences[pair["first"], pair["second"]] = (pair["difference"], low, high)
        differences[pair["second"], pair["first"]] = (-pair["difference"], -high, -low)
    print(f"`moe`, first {options.max_tokens} tokens\n\n| | bytes | bits a linear weight | perplexity | KLD [95 %] | "
          "over plain 2-bit experts |\n| --- | --- | --- | --- | --- | --- |")
    for (label, _, _), folder, row in zip(variants, folders, result["models"]):
        low, high = row["kld"]["ci95"]
        gap = "" if folder == folders[3] else "{:+.4f} [{:+.4f}, {:+.4f}]".format(
            *differences[os.path.basename(folder), os.path.basename(folders[3])])
        print(f"| {label} | {row['model']['bytes']} | {row['model']['bits_per_weight_linear']:.3f} | "
              f"{row['perplexity']:.3f} | {row['kld']['mean']:.4f} [{low:.4f}, {high:.4f}] | {gap} |")
    searched = differences[os.path.basename(folders[2]), os.path.basename(folders[3])]
    sys.exit(searched[2] >= 0)


if __name__ == "__main__":
    main()
