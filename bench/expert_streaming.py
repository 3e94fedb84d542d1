#!/usr/bin/env python3
"""A mixture of experts that outgrows memory: runs it from disk under a hard memory limit, and holds its speed against
what the processor and the disk allow.

  bench/expert_streaming.py                       6.2 GB of experts (MLX 4 bits, the shape of Qwen3-30B-A3B's layers)
  bench/expert_streaming.py --gigabytes 2 --packed

1. Under a control group's limit of 1.5 GB the model generates the same tokens as without one. Needs root.
2. Tokens/s from disk, always cold (O_DIRECT), against min(tokens/s with all experts in memory, O_DIRECT read rate over
   bytes read a token), runs interleaved, medians. Exit 1 below .85.
"""
import concurrent.futures
import json
import mmap
import os
import random
import statistics
import sys
import time

import harness

# Sampled hot, because a random model's likeliest token is always the same, with the same experts.
TEXT = ["--prompt", "The", "--temperature", "3", "--seed", "1"]
LIMIT = 1_500_000_000


def generate(options, model, tokens, *extra):
    output = harness.run([options.assay, "run", model, *TEXT, "--max-tokens", str(tokens), "--residency", "packed",
                          "--json", *extra])
    return json.loads(output)


def read_rate(files, size, seconds=4.0):
    """Bytes a second of O_DIRECT reads of `size` bytes at random places, eight at a time."""
    opened = [(os.open(path, os.O_RDONLY | os.O_DIRECT), os.path.getsize(path)) for path in files]
    size = size // 4096 * 4096
    deadline = time.monotonic() + seconds

    def reader(seed):
        draw, buffer, done = random.Random(seed), mmap.mmap(-1, size), 0
        while time.monotonic() < deadline:
            descriptor, length = draw.choice(opened)
            done += os.preadv(descriptor, [buffer], draw.randrange((length - size) // 4096) * 4096)
        return done

    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(reader, range(8)))
    rate = total / (time.monotonic() - start)
    for descriptor, _ in opened:
        os.close(descriptor)
    return rate


def main():
    parser = harness.parser(__doc__, "streaming")
    parser.add_argument("--gigabytes", type=float, default=6.2)
    parser.add_argument("--cache", default="600MB", help="--expert-cache")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--packed", action="store_true", help="experts from a packed directory, not in place")
    parser.add_argument("--keep", action="store_true", help="leave the checkpoint in OUT")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    model = os.path.join(options.out, f"moe-{options.gigabytes:g}")
    if not os.path.exists(model):
        harness.run(["build/make_checkpoint", model, "qwen3-moe", str(options.gigabytes), "models/demo"])
    source = model
    if options.packed:
        model += "-packed"
        if not os.path.exists(model):
            harness.run([options.assay, "pack-experts", source, model])
    files = [os.path.join(model, name) for name in sorted(os.listdir(model)) if name.endswith(".safetensors")]
    total = sum(os.path.getsize(path) for path in files)
    print(f"{model}: {total / 1e9:.2f} GB, {'packed' if options.packed else 'in place'}, cache {options.cache}")

    truth = generate(options, model, options.tokens)["ids"]
    harness.forget(files)
    output, _, resident, peak = harness.limited_run(
        [options.assay, "run", model, *TEXT, "--max-tokens", str(options.tokens), "--json", "--expert-cache",
         options.cache], LIMIT)
    ids = json.loads(output)["ids"]
    print(f"limit {LIMIT / 1e9:.1f} GB: peak {peak / 1e9:.2f} GB with the page cache, {resident / 1e9:.2f} GB resident "
          f"in the process (mapped files included); the tokens are {'the same' if ids == truth else 'OTHERS'}")
    if ids != truth:
        sys.exit(1)

    memory, disk, bytes_a_token, rates = [], [], [], []
    generate(options, model, options.tokens)  # warms the page cache again
    for _ in range(options.rounds):
        memory.append(generate(options, model, options.tokens)["decode_tokens_per_second"])
        streamed = generate(options, model, options.tokens, "--expert-cache", options.cache, "--direct-io", "--timing")
        if streamed["ids"] != truth:
            sys.exit("other tokens from disk than from memory")
        layers = streamed["experts"]["layers"]
        disk.append(streamed["decode_tokens_per_second"])
        bytes_a_token.append(sum(layer["bytes_read"] for layer in layers) / layers[0]["passes"])
        rates.append(read_rate(files, layers[0]["expert_bytes"][1]))
    hits = sum(l["hits"] for l in layers) / sum(l["visits"] for l in layers)
    wait = sum(l["wait_seconds"] for l in layers) / layers[0]["passes"]
    bound = statistics.median(rates) / statistics.median(bytes_a_token)
    best = min(statistics.median(memory), bound)
    share = statistics.median(disk) / best
    print(f"read by {streamed['experts']['reader']}, {hits:.0%} of the visits found in memory, "
          f"{statistics.median(bytes_a_token) / 1e6:.0f} MB read and {wait * 1e3:.0f} ms waited a token")
    print(f"tokens/s: {statistics.median(disk):.3f} from disk; {statistics.median(memory):.3f} with all in memory; "
          f"{bound:.3f} at the disk's {statistics.median(rates) / 1e9:.2f} GB/s: {share:.2f} of the smaller (bar .85)")
    if not options.keep:
        harness.fresh(model)
        harness.fresh(source)
    sys.exit(share < 0.85)


if __name__ == "__main__":
    main()
