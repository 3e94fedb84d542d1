#!/usr/bin/env python3
"""What calibration saves: recipes rounded plainly and by error feedback, measured on the same tokens.

  bench/calibration_table.py                     the small reference model, six recipes
  bench/calibration_table.py smollm2             the public SmolLM2 as GGUF (scripts/smollm2.sh fetches it)
  bench/calibration_table.py --rows w3-mlp,mlx2 --out out/calibration

For each recipe: perplexity and KL divergence of plain rounding and of GPTQ, wall time and peak memory of the
quantising run. "bar" is the KL divergence that a straightforward independent implementation reached; a row
passes at 1.02 times it (SmolLM2: 1.05), and where plain rounding is within 0.5 % of the independent one's.
Exit 1 when a row fails. Rows are kept as JSON lines in OUT/rows.jsonl.
"""
import json
import os
import sys

import harness

# recipe: perplexity and divergence by plain rounding, divergence by error feedback, its calibration tokens
SMALL = {
    "q4": (30.600, 0.0749, 0.0203, 131072),
    "mlx4": (31.158, 0.1009, 0.0282, 32768),
    "w3-mlp": (36.046, 0.2450, 0.0687, 131072),
    "w3": (37.496, 0.3481, 0.0894, 32768),
    "mlx3": (41.000, 0.4518, 0.1214, 32768),
    "mlx2": (474.3, 3.180, 0.569, 32768),
}
SMOLLM2 = {
    "w3-mlp": (52.374, 0.7332, 0.1668, 32768),
    "w3": (109.47, 1.4208, 0.2966, 32768),
}
SETTINGS = {
    "small": dict(embed="bf16", tokens=30000, rows=SMALL, slack=1.02),
    "smollm2": dict(embed="q8_0", tokens=12000, rows=SMOLLM2, slack=1.05),
}

def main():
    parser = harness.parser(__doc__, "calibration")
    parser.add_argument("setting", nargs="?", default="small", choices=SETTINGS)
    parser.add_argument("--rows", help="recipes, separated by commas (default: all)")
    parser.add_argument("--calib-tokens", type=int, help="for every row, in place of the bar's own")
    parser.add_argument("--gptq", default="", help="further options for the calibrated run")
    options = parser.parse_args()
    setting = SETTINGS[options.setting]
    model = harness.shared_model(options, options.setting)
    calibration = harness.prepare(options)

    failed = False
    print("| recipe | bits | rounded: perplexity, KLD, top-1 | calibrated: perplexity, KLD [95 %], top-1 | tokens"
          " | KLD, parts of the bar | s | MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for recipe in options.rows.split(",") if options.rows else setting["rows"]:
        plain_perplexity, plain_kld, bar, tokens = setting["rows"][recipe]
        tokens = options.calib_tokens or tokens
        folders = {}
        for method in ("rtn", "gptq"):
            folders[method] = harness.fresh(os.path.join(options.out, f"{options.setting}-{recipe}-{method}"))
            command = [options.assay, "quantize", model, folders[method], "--recipe", recipe, "--embed",
                       setting["embed"], "--measure", "none", "--method", method]
            if method == "gptq":
                command += ["--calib", calibration, "--calib-tokens", str(tokens)] + options.gptq.split()
            _, seconds, memory = harness.measured_run(command)
        results = {}
        for method, folder in folders.items():
            results[method] = json.loads(harness.run([
                options.assay, "eval", folder, "--reference", model, "--text", harness.test_text(options),
                "--max-tokens", str(setting["tokens"]), "--json"]))
        rounded, calibrated = results["rtn"], results["gptq"]
        ratio = calibrated["kld"]["mean"] / bar
        good = (ratio <= setting["slack"] and abs(rounded["perplexity"] / plain_perplexity - 1) <= 0.005
                and abs(rounded["kld"]["mean"] / plain_kld - 1) <= 0.005)
        failed |= not good
        low, high = calibrated["kld"]["ci95"]
        print(f"| {recipe} | {calibrated['model']['bits_per_weight_linear']:.2f} | {rounded['perplexity']:.3f}, "
              f"{rounded['kld']['mean']:.4f}, {100 * rounded['top1_agreement']:.1f} % | "
              f"{calibrated['perplexity']:.3f}, {calibrated['kld']['mean']:.4f} [{low:.4f}, {high:.4f}], "
              f"{100 * calibrated['top1_agreement']:.1f} % | {tokens} | {ratio:.3f}{'' if good else ' FAIL'} | "
              f"{seconds:.0f} | {memory / 2**20:.0f} |", flush=True)
        with open(os.path.join(options.out, "rows.jsonl"), "a") as rows:
            rows.write(json.dumps({"setting": options.setting, "recipe": recipe, "calib_tokens": tokens,
                                   "options": options.gptq, "seconds": seconds, "peak_bytes": memory, "bar": bar,
                                   "rtn": rounded, "gptq": calibrated}) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
