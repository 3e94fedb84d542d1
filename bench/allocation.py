#!/usr/bin/env python3
"""Does sharing a budget of bits out beat every uniform format of at most the same bytes? Held-out KL divergence,
all calibrated alike, with paired 95 % intervals.

  bench/allocation.py                       small and llama of the reference models, 3.0, 3.5, 4.0 and 4.5 bits
  bench/allocation.py small --bits 3.5

Exit 1 where a mix does not beat the best uniform format with an interval beyond zero. JSON is kept in OUT.
"""
import json
import os
import sys

import harness

FORMATS = ["int3-row", "int4-row", "mlx2-g128", "mlx2-g64", "mlx2-g32", "mlx3-g128", "mlx3-g64", "mlx3-g32", "khw3", "mlx4-g128", "mlx4-g64",
           "khq4", "mlx5-g64", "mlx6-g64"]


def uniform_formats(tensors, most_bits):
    """Formats that every matrix can hold, in at most so many bits a weight over all."""
    sizes = [{choice["format"]: choice["bytes"] for choice in tensor["choices"]} for tensor in tensors]
    weights = sum(tensor["weights"] for tensor in tensors)
    return [name for name in sizes[0] if all(name in of_tensor for of_tensor in sizes)
            and 8 * sum(of_tensor[name] for of_tensor in sizes) / weights <= most_bits + 1e-9]


def main():
    parser = harness.parser(__doc__, "allocation")
    parser.add_argument("models", nargs="*", default=["small", "llama"])
    parser.add_argument("--bits", default="3.0,3.5,4.0,4.5")
    parser.add_argument("--calib-tokens", type=int, default=32768)
    parser.add_argument("--max-tokens", type=int, default=30000, help="of the test text")
    options = parser.parse_args()
    calibration = harness.prepare(options)
    failed = False
    for name in options.models:
        model = harness.shared_model(options, name)
        sensitivities = os.path.join(options.out, f"{name}-sensitivities.json")
        harness.run([options.assay, "allocate", model, "--target-bpw", "8", "--calib", calibration, "--save-sensitivities",
             sensitivities, "--formats", ",".join(FORMATS), "--out", sensitivities + ".recipe"])
        tensors = json.load(open(sensitivities))["tensors"]
        targets = [float(target) for target in options.bits.split(",")]
        formats = uniform_formats(tensors, max(targets))
        folders, bits = {}, {}

        def quantise(label, recipe):
            folder = harness.fresh(os.path.join(options.out, f"{name}-{label}"))
            manifest = json.loads(harness.run([
                options.assay, "quantize", model, folder, *recipe, "--method", "gptq", "--calib", calibration,
                "--calib-tokens", str(options.calib_tokens), "--measure", "none", "--json"]))
            folders[label], bits[label] = folder, manifest["size"]["linear_bits_per_weight"]

        for target in targets:
            quantise(f"mix-{target:g}", ["--target-bpw", str(target), "--sensitivities", sensitivities])
        for uniform in formats:
            recipe = os.path.join(options.out, f"{uniform}.json")
            with open(recipe, "w") as file:
                json.dump({"name": uniform, "rules": [{"roles": ["linear"], "format": uniform}]}, file)
            quantise(uniform, ["--recipe", recipe])
        result = json.loads(harness.run([options.assay, "compare", model, *folders.values(), "--text",
                                 harness.test_text(options), "--max-tokens",
                                 str(options.max_tokens), "--json"]))
        with open(os.path.join(options.out, f"{name}.json"), "w") as file:
            json.dump(result, file, indent=1)
        kld = {label: row["kld"]["mean"] for label, row in zip(folders, result["models"])}
        differences = {}
        for pair in result["kld_differences"]:
            low, high = pair["ci95"]
            differences[pair["first"], pair["second"]] = (pair["difference"], low, high)
            differences[pair["second"], pair["first"]] = (-pair["difference"], -high, -low)
        print(f"\n`{name}`, first {options.max_tokens} tokens, {options.calib_tokens} calibration tokens\n\n"
              "| bits | mix: KLD | best uniform of at most its bytes: bits, KLD | mix minus uniform [95 %] |\n"
              "| --- | --- | --- | --- |")
        for target in targets:
            mix = f"mix-{target:g}"
            rivals = [label for label in folders if not label.startswith("mix-") and bits[label] <= target + 1e-9]
            if not rivals:
                print(f"| {bits[mix]:.3f} | {kld[mix]:.4f} | none has so few bits | |")
                continue
            best = min(rivals, key=lambda label: kld[label])
            gap, low, high = differences[f"{name}-{mix}", f"{name}-{best}"]
            good = high < 0
            failed |= not good
            print(f"| {bits[mix]:.3f} | {kld[mix]:.4f} | {best}: {bits[best]:.3f}, {kld[best]:.4f} | "
                  f"{gap:+.4f} [{low:+.4f}, {high:+.4f}]{'' if good else ' FAIL'} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
