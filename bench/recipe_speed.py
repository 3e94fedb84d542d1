#!/usr/bin/env python3
"""Tokens a second of the same model under several recipes, decoded by slope and interleaved (A B B A) with the first: a
random model of Qwen3-0.6B's shape, which `bench/roof.py` also uses. Beside each measured ratio the one that the bytes a
token reads would give.

    bench/recipe_speed.py
    bench/recipe_speed.py --recipes q4,w3-mlp --repeats 15
"""
import json
import os

import harness
import roof


def main():
    parser = harness.parser(__doc__, "roof")
    parser.add_argument("--recipes", default="q4,w3-mlp,f16", help="the first is what the others are held against")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=64, help="of the long run; the short one has half")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--tokenizer", default=os.path.join(harness.ROOT, "models/demo"), help="whose tokenizer it gets")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    models = [roof.prepared(options, recipe, named=True) for recipe in options.recipes.split(",")]
    found = json.loads(harness.run([options.assay, "bench", *models, "--json", "--threads", str(options.threads), "--tokens",
                                    str(options.tokens), "--repeats", str(options.repeats), "--prefill-tokens", "32"]))
    rows = found["models"]
    print(f"{found['threads']} threads, {found['isa']}, {options.repeats} quads\n")
    print("| recipe | MB a token | decode tokens/s | of the first | by bytes |\n| --- | --- | --- | --- | --- |")
    for recipe, row in zip(options.recipes.split(","), rows):
        ratio = roof.interval(row["ratio_to_first"]) if row["ratio_to_first"] else "1"
        print(f"| {recipe} | {row['bytes_per_token'] / 1e6:.0f} | {roof.interval(row['decode_tokens_per_second'], digits=1)} | "
              f"{ratio} | {rows[0]['bytes_per_token'] / row['bytes_per_token']:.2f} |")


if __name__ == "__main__":
    main()
