#!/usr/bin/env python3
"""Calibration on text that tells little must not do harm: perplexity of the test text by plain rounding, and by error
feedback on one word, on a paragraph repeated, on a file of a few hundred tokens, and on a little sound text.

  bench/degenerate_calibration.py                        the tiny reference model, q4 and mlx2
  bench/degenerate_calibration.py --recipes w3-mlp --tokens 30000

"count for" is what the program says of the text. Exit 1 where error feedback is more than 5 % worse than rounding.
"""
import json
import os
import re
import sys

import harness

ALLOWED = 1.05


def texts(options):
    """name -> (path, calibration tokens)"""
    with open(harness.prepare(options), encoding="utf-8") as file:
        sound = file.read(4 << 20)[1 << 20:]
    made = {
        "one word": ("the " * 3000, 2048),
        "a paragraph, repeated": ((sound[:500] + "\n") * 200, 8192),
        "a file of 600 tokens": (sound[:2600], 8192),
        "512 sound tokens": (sound, 512),
        "8,192 sound tokens": (sound, 8192),
    }
    found = {}
    for name, (text, tokens) in made.items():
        path = os.path.join(options.out, name.replace(" ", "-").replace(",", "") + ".txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        found[name] = path, tokens
    return found


def main():
    parser = harness.parser(__doc__, "degenerate")
    parser.add_argument("--recipes", default="q4,mlx2")
    parser.add_argument("--tokens", type=int, default=20000, help="of the test text")
    options = parser.parse_args()
    model = harness.shared_model(options, "tiny")
    inputs = texts(options)

    def quantise(recipe, *method):
        folder = harness.fresh(os.path.join(options.out, "model"))
        said = harness.run([options.assay, "quantize", model, folder, "--recipe", recipe, "--measure", "none", *method])
        measured = json.loads(harness.run([options.assay, "eval", folder, "--text", harness.test_text(options),
                                           "--max-tokens", str(options.tokens), "--json"]))
        return measured["perplexity"], said

    failed = False
    print("| recipe | text | tokens | count for | perplexity | to rounding |\n| --- | --- | --- | --- | --- | --- |")
    for recipe in options.recipes.split(","):
        rounded, _ = quantise(recipe)
        print(f"| {recipe} | none: rounded | | | {rounded:.2f} | 1 |", flush=True)
        for name, (path, tokens) in inputs.items():
            perplexity, said = quantise(recipe, "--method", "gptq", "--calib", path, "--calib-tokens", str(tokens))
            counted = re.search(r"count for (\d+)", said)
            failed |= perplexity > ALLOWED * rounded
            print(f"| {recipe} | {name} | {tokens} | {counted.group(1) if counted else '?'} | {perplexity:.2f} "
                  f"| {perplexity / rounded:.3f} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
