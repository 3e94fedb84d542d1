#!/usr/bin/env python3
"""Decoding as a share of what memory gives: a random model of Qwen3-0.6B's shape in every format, `assay bench` on
each, two threads and one. Bars are those we promise; exits 1 where a share lies below its bar.

    make bench-roof
    bench/roof.py --formats khq4,q8_0 --repeats 10
"""
import json
import os
import sys

import harness

# What is promised with AVX-512 and with AVX2 alone.
BARS = {
    "khq4": (.80, .75), "mlx4-g64-bf16": (.80, .75), "q8_0": (.80, .75), "int6-row": (.80, .75),
    "khw3": (.75, .60), "mlx3-g64-bf16": (.75, .60), "q4_k": (.70, .70), "q6_k": (.70, .70), "bf16": (None, None),
}
ONE_THREAD = .70


def prepared(options, name, named=False):
    """The model under the recipe of this name, or with every matrix in the format of this name; quantised once."""
    source = os.path.join(options.out, "source")
    if not os.path.exists(source):
        harness.run([os.path.join(harness.ROOT, "build/make_checkpoint"), source, "qwen3-0.6b", options.tokenizer])
    if name == "bf16":
        return source
    model = os.path.join(options.out, name)
    if not os.path.exists(model):
        recipe = name
        if not named:
            recipe = os.path.join(options.out, name + ".json")
            with open(recipe, "w") as file:
                json.dump({"name": name, "rules": [{"roles": ["matrices"], "format": name, "method": "rtn"}]}, file)
        harness.run([options.assay, "quantize", source, model, "--recipe", recipe, "--measure", "none"])
    return model


def measured(options, name, threads):
    output = harness.run([options.assay, "bench", prepared(options, name), "--json", "--threads", str(threads),
                          "--tokens", str(options.tokens), "--repeats", str(options.repeats), "--prefill-tokens", "512", "--activations", options.activations])
    found = json.loads(output)
    return found["isa"], found["models"][0]


def interval(entry, unit=1.0, digits=2):
    ends = entry["ci95"]
    text = f"{entry['value'] / unit:.{digits}f}"
    return text + (f" [{ends[0] / unit:.{digits}f}, {ends[1] / unit:.{digits}f}]" if ends else "")


def main():
    parser = harness.parser(__doc__, "roof")
    parser.add_argument("--formats", default=",".join(BARS))
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--tokens", type=int, default=64, help="of the long run; the short one has half")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--activations", default="auto", help="as `assay bench` takes them")
    parser.add_argument("--tokenizer", default=os.path.join(harness.ROOT, "models/demo"), help="whose tokenizer it gets")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    print("| format | threads | decode tokens/s | share of roof | bar | read GB/s | prefill tokens/s | of sgemm |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    below = []
    for threads in (int(t) for t in options.threads.split(",")):
        for name in options.formats.split(","):
            isa, model = measured(options, name, threads)
            bar = BARS[name][0 if isa == "avx512" else 1]
            if bar and threads == 1:
                bar = min(bar, ONE_THREAD)
            share = model["roof_share"]
            print(f"| {name} | {threads} | {interval(model['decode_tokens_per_second'], digits=1)} | {interval(share)} | "
                  f"{bar or '-'} | {interval(model['read_bandwidth'], 1e9, 1)} | "
                  f"{interval(model['prefill_tokens_per_second'], digits=0)} | {model['multiplier_share']:.2f} |", flush=True)
            if bar and share["value"] < bar:
                below.append(f"{name} on {threads} threads: {share['value']:.2f}, {bar} expected")
    for line in below:
        print("below its bar:", line, file=sys.stderr)
    sys.exit(1 if below else 0)


if __name__ == "__main__":
    main()
