#!/usr/bin/env python3
"""Decoding beside one unrelated busy process that is pinned to a CPU of the same machine, as a share of decoding
undisturbed: interleaved runs (A B B A) on all CPUs, of the model that `bench/roof.py` also uses. Exits 1 below the bar.

    bench/busy_neighbour.py
    bench/busy_neighbour.py --format q4_k --quads 10
"""
import json
import math
import os
import statistics
import subprocess
import sys

import harness
import roof

BAR = .45


def decode_rate(options, model, busy):
    neighbour = subprocess.Popen(["taskset", "-c", str(os.cpu_count() - 1), sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        found = json.loads(harness.run([options.assay, "bench", model, "--json", "--threads", str(options.threads), "--tokens",
                                        str(options.tokens), "--repeats", "2", "--prefill-tokens", "32"]))
    finally:
        if neighbour:
            neighbour.kill()
            neighbour.wait()
    return found["models"][0]["decode_tokens_per_second"]["value"]


def main():
    parser = harness.parser(__doc__, "roof")
    parser.add_argument("--format", default="khq4")
    parser.add_argument("--quads", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tokens", type=int, default=96, help="of the long run; the short one has half")
    parser.add_argument("--tokenizer", default=os.path.join(harness.ROOT, "models/demo"), help="whose tokenizer it gets")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    model = roof.prepared(options, options.format)
    logs = []
    for quad in range(options.quads):
        alone, beside, beside_again, alone_again = (decode_rate(options, model, busy) for busy in (False, True, True, False))
        logs.append(math.log(beside * beside_again / (alone * alone_again)) / 2)
        print(f"quad {quad + 1}: {alone:.1f} {beside:.1f} {beside_again:.1f} {alone_again:.1f} tokens/s", flush=True)
    share = math.exp(statistics.mean(logs))
    print(f"beside a busy process: {share:.2f} of undisturbed (quads from {math.exp(min(logs)):.2f} to {math.exp(max(logs)):.2f}), "
          f"{options.threads} threads, {options.format}; bar {BAR}")
    sys.exit(0 if share >= BAR else 1)


if __name__ == "__main__":
    main()
