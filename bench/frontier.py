#!/usr/bin/env python3
"""Assay's best recipes against llama.cpp's frontier: KL divergence over bits a linear weight, on the same model,
text and protocol (chunked, first 65,536 tokens of the test text, f16 embedding).

  bench/frontier.py                      the small reference model against the stored figures of llama.cpp
  bench/frontier.py smollm2              the public SmolLM2 as GGUF (24 chunks, embedding Q8_0)
  bench/frontier.py --theirs rows.json   against figures of bench/llamacpp.py in place of the stored ones
  bench/frontier.py --plot docs/frontier.svg

Each point is a mix of formats shared out to the bits, rounded by error feedback. Exit 1 when a point is above its
bar: .80 of llama.cpp's frontier (interpolated in log KLD) up to 4 bits, .65 above; SmolLM2 .80.
"""
import json
import math
import os
import sys

import harness

SETTINGS = {
    "small": dict(
        formats="mlx2-g64,mlx2-g32,mlx3-g128,mlx3-g64,mlx3-g32,khw3,mlx4-g128,mlx4-g64,khq4,mlx5-g64,mlx6-g64",
        embed="f16", tokens=65536,
        bars={3.5: 0.80, 4.0: 0.80, 4.5: 0.65, 5.0: 0.65, 6.0: 0.65},
        theirs=[(3.06, .349), (3.46, .178), (3.55, .152), (4.25, .0645), (4.28, .0579), (4.51, .0516), (4.69, .0505),
                (5.50, .0141), (6.56, .0045), (8.50, .0008)]),
    "smollm2": dict(  # few formats: six times as many weights; KHQ4 holds its Q4_1 exactly
        formats="mlx2-g64,mlx3-g64,mlx4-g64,khq4",
        embed="q8_0", tokens=24 * 512, bars={3.0: None, 3.5: None, 4.25: 0.80, 4.5: 0.80, 5.0: None},
        theirs=[(4.04, .325), (4.14, .219), (4.23, .165), (4.44, .106), (4.50, .103), (4.63, .092), (4.94, .073),
                (5.28, .0405), (5.53, .0373), (6.04, .0070), (8.50, .0042)]),
}


def interpolate(points, bits):
    """KLD of a frontier at `bits`, straight in log KLD."""
    points = sorted(points)
    for (low, first), (high, second) in zip(points, points[1:]):
        if low <= bits <= high:
            share = (bits - low) / (high - low)
            return math.exp(math.log(first) * (1 - share) + math.log(second) * share)
    sys.exit(f"{bits} bits lie outside the frontier")


def plot(path, series):
    """Two frontiers, KLD on a logarithmic axis, as SVG."""
    width, height, left, bottom = 640, 400, 60, 40
    everything = [point for _, _, points in series for point in points]
    x_low, x_high = min(b for b, _ in everything) - .2, max(b for b, _ in everything) + .2
    y_low = math.log10(min(k for _, k in everything)) - .1
    y_high = math.log10(max(k for _, k in everything)) + .1
    x = lambda bits: left + (bits - x_low) / (x_high - x_low) * (width - left - 20)
    y = lambda kld: 10 + (y_high - math.log10(kld)) / (y_high - y_low) * (height - bottom - 10)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
             f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>']
    for bits in range(math.ceil(x_low), math.floor(x_high) + 1):
        lines.append(f'<line x1="{x(bits):.1f}" y1="10" x2="{x(bits):.1f}" y2="{height - bottom}" stroke="#ddd"/>'
                     f'<text x="{x(bits):.1f}" y="{height - bottom + 16}" text-anchor="middle">{bits}</text>')
    for exponent in range(math.ceil(y_low), math.floor(y_high) + 1):
        level = y(10 ** exponent)
        lines.append(f'<line x1="{left}" y1="{level:.1f}" x2="{width - 20}" y2="{level:.1f}" stroke="#ddd"/>'
                     f'<text x="{left - 6}" y="{level + 4:.1f}" text-anchor="end">{10 ** exponent:g}</text>')
    for i, (name, colour, points) in enumerate(series):
        path_text = " ".join(f"{x(bits):.1f},{y(kld):.1f}" for bits, kld in sorted(points))
        lines.append(f'<polyline points="{path_text}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [f'<circle cx="{x(bits):.1f}" cy="{y(kld):.1f}" r="3" fill="{colour}"/>' for bits, kld in points]
        lines.append(f'<text x="{width - 30}" y="{30 + 18 * i}" text-anchor="end" fill="{colour}">{name}</text>')
    lines.append(f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">bits a linear weight</text>'
                 f'<text x="14" y="{height / 2}" text-anchor="middle" transform="rotate(-90 14 {height / 2})">'
                 "mean KL divergence, nats</text></svg>")
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def main():
    parser = harness.parser(__doc__, "frontier")
    parser.add_argument("setting", nargs="?", default="small", choices=SETTINGS)
    parser.add_argument("--bits", help="separated by commas (default: the issue's)")
    parser.add_argument("--theirs", help="JSON: list of [bits, KLD] of llama.cpp")
    parser.add_argument("--calib-tokens", type=int, default=131072)
    parser.add_argument("--plot", help="SVG file to write")
    options = parser.parse_args()
    setting = SETTINGS[options.setting]
    theirs = json.load(open(options.theirs)) if options.theirs else setting["theirs"]
    model = harness.shared_model(options, options.setting)
    calibration = harness.prepare(options)
    sensitivities = os.path.join(options.out, f"{options.setting}-sensitivities.json")
    targets = [float(bits) for bits in options.bits.split(",")] if options.bits else sorted(setting["bars"])

    failed, ours = False, []
    print("| bits | formats | KLD [95 %] | top-1 | llama.cpp's frontier | of it | bar |\n"
          "| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for target in targets:
        folder = harness.fresh(os.path.join(options.out, f"{options.setting}-{target:g}"))
        known = ["--sensitivities", sensitivities] if os.path.exists(sensitivities) else [
            "--save-sensitivities", sensitivities, "--formats", setting["formats"]]
        harness.run([options.assay, "quantize", model, folder, "--target-bpw", str(target), *known, "--embed",
             setting["embed"], "--method", "gptq", "--calib", calibration, "--calib-tokens",
             str(options.calib_tokens), "--measure", "none"])
        result = json.loads(harness.run([options.assay, "eval", folder, "--reference", model, "--text",
                                 harness.test_text(options), "--protocol", "chunked",
                                 "--max-tokens", str(setting["tokens"]), "--json"]))
        bits, kld = result["model"]["bits_per_weight_linear"], result["kld"]["mean"]
        low, high = result["kld"]["ci95"]
        frontier = interpolate(theirs, target) if theirs[0][0] <= target <= theirs[-1][0] else None
        bar = setting["bars"].get(target)
        ours.append((bits, kld))
        good = bar is None or frontier is None or kld <= bar * frontier
        failed |= not good
        print(f"| {bits:.3f} | {result['model']['formats']} | {kld:.4f} [{low:.4f}, {high:.4f}] | "
              f"{100 * result['top1_agreement']:.1f} % | "
              + (f"{frontier:.4f} | {kld / frontier:.2f}" if frontier else "none so small | ")
              + f" | {bar or ''}{'' if good else ' FAIL'} |", flush=True)
    if options.plot:
        plot(options.plot, [("llama.cpp", "#b04020", [tuple(point) for point in theirs]), ("Assay", "#2060b0", ours)])
    sys.exit(failed)


if __name__ == "__main__":
    main()
