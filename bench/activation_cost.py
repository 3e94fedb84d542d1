#!/usr/bin/env python3
"""What rounded activations cost, beside what the format has cost already: the mean divergence (KLD, nats a token, 95 %
interval) of the rounded model from its original, and of the same rounded model with int16 or int8 activations from itself
with f32 ones, token by token through the KV cache. The bar is a tenth of the format's own loss, which is what makes one of
them the default of `assay run`. Exits 1 where a cost is above it.

    bench/activation_cost.py
    bench/activation_cost.py --models tiny --formats khq4 --tokens 4096
"""
import json
import os
import sys

import harness

BAR = .1  # of the format's own loss


def divergence(options, model, reference, *more):
    output = harness.run([options.assay, "eval", model, "--reference", reference, "--text", harness.test_text(options),
                          "--mode", "decode", "--batch", "1", "--max-tokens", str(options.tokens), "--json", *more])
    kld = json.loads(output)["kld"]
    return kld["mean"], kld["ci95"]


def text(found):
    mean, interval = found
    return f"{mean:.2e}" + (f" [{interval[0]:.1e}, {interval[1]:.1e}]" if interval else "")


def main():
    parser = harness.parser(__doc__, "activation-cost")
    parser.add_argument("--models", default="tiny,small")
    parser.add_argument("--formats", default="khq4,khw3,q8_0,q4_k,mlx2-g64-bf16")
    parser.add_argument("--activations", default="auto", help="int16, int8 or auto")
    parser.add_argument("--tokens", type=int, default=8192)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    print(f"| model | format | loss of the format | cost of {options.activations} | cost / loss |")
    print("| --- | --- | --- | --- | --- |")
    above = False
    for model in options.models.split(","):
        original = harness.shared_model(options, model)
        for name in options.formats.split(","):
            recipe = os.path.join(options.out, name + ".json")
            with open(recipe, "w") as file:
                json.dump({"name": name, "rules": [{"roles": ["matrices"], "format": name, "method": "rtn"}]}, file)
            rounded = harness.fresh(os.path.join(options.out, f"{model}-{name}"))
            harness.run([options.assay, "quantize", original, rounded, "--recipe", recipe, "--measure", "none"])
            loss = divergence(options, rounded, original)
            cost = divergence(options, rounded, rounded, "--any-reference", "--activations", options.activations,
                              "--reference-activations", "f32")
            above = above or cost[0] > BAR * loss[0]
            print(f"| {model} | {name} | {text(loss)} | {text(cost)} | {cost[0] / loss[0]:.1e} |", flush=True)
    sys.exit(above)


if __name__ == "__main__":
    main()
