#!/usr/bin/env python3
"""What llama.cpp's own formats lose on the models of bench/frontier.py: same text, same protocol, an importance
matrix from the same calibration text.

  bench/llamacpp.py                       the small reference model (PyPI: gguf, numpy)
  bench/llamacpp.py smollm2               the public SmolLM2 as GGUF
  bench/llamacpp.py --tools /usr/bin      with an installed llama.cpp in place of a build
  bench/frontier.py --theirs out/llamacpp/small.json      ... and Assay against it

Builds llama-quantize, llama-imatrix and llama-perplexity from the source package of PyPI's llama-cpp-python
(ten minutes on two cores, once). Writes OUT/NAME.json: [bits a linear weight, mean KLD] of the types that no other
beats, and OUT/NAME-all.json with every type. llama.cpp scores 255 tokens of a chunk of 512 and Assay 256, so the
two perplexities of the original differ by a few parts in a thousand.
"""
import glob
import json
import os
import re
import subprocess
import sys
import tarfile

import harness

TYPES = ["Q2_K", "IQ3_XXS", "IQ3_S", "IQ3_M", "Q3_K_S", "Q3_K_M", "Q3_K_L", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_1", "Q4_K_S",
         "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0"]
SETTINGS = {"small": dict(chunks=128, embed="f16"), "smollm2": dict(chunks=24, embed="q8_0")}
WINDOW = 512
TOOLS = ["llama-quantize", "llama-imatrix", "llama-perplexity"]


def build_tools(out, tools=TOOLS):
    """The folder of the tools, built from the source package unless they are there."""
    folder = os.path.join(out, "build", "bin")
    if all(os.path.exists(os.path.join(folder, tool)) for tool in tools):
        return folder
    subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python", "--dest",
                    out, "llama-cpp-python"], check=True)
    package = sorted(glob.glob(os.path.join(out, "llama_cpp_python-*.tar.gz")))[-1]
    with tarfile.open(package) as archive:
        archive.extractall(out, filter="data")
    source = os.path.join(package.removesuffix(".tar.gz"), "vendor", "llama.cpp")
    build = os.path.join(out, "build")
    subprocess.run(["cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF",
                    "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_BUILD_TESTS=OFF",
                    "-DLLAMA_BUILD_EXAMPLES=OFF"], check=True)
    subprocess.run(["cmake", "--build", build, "--parallel", str(os.cpu_count()), "--target", *tools], check=True)
    return folder


def run(command, log):
    """Both streams, kept in `log` too."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    with open(log, "w") as file:
        file.write(result.stdout)
    if result.returncode != 0:
        sys.exit(f"failed, see {log}: {' '.join(command)}")
    return result.stdout


def find(pattern, text, log):
    match = re.search(pattern, text)
    if not match:
        sys.exit(f"{log}: nothing like {pattern}")
    return float(match.group(1))


def linear_bits(path):
    """Bits a weight of the matrices inside the blocks, and how many tensors each format got."""
    import gguf
    bits = weights = 0
    kinds = {}
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2:
            bits += 8 * int(tensor.n_bytes)
            weights += int(tensor.n_elements)
            kinds[tensor.tensor_type.name] = kinds.get(tensor.tensor_type.name, 0) + 1
    return bits / weights, kinds


def undominated(points):
    """The points that no other beats in both bits and loss."""
    kept = []
    for bits, kld in sorted(points):
        if not kept or kld < kept[-1][1]:
            kept.append((bits, kld))
    return kept


def main():
    parser = harness.parser(__doc__, "llamacpp")
    parser.add_argument("setting", nargs="?", default="small", choices=SETTINGS)
    parser.add_argument("--tools", help="folder of an installed llama.cpp's programs")
    parser.add_argument("--types", help="separated by commas (default: all)")
    parser.add_argument("--calib-tokens", type=int, default=131072, help="about so many, cut by bytes")
    options = parser.parse_args()
    setting = SETTINGS[options.setting]
    model = harness.shared_model(options, options.setting)
    calibration = harness.prepare(options)
    tools = options.tools or build_tools(options.out)
    at = lambda name: os.path.join(options.out, f"{options.setting}{name}")

    if options.setting == "small":
        import gguf_f16
        gguf_f16.write_f16(model, at("-base.gguf"))
    else:  # what its 4-bit codes say, in F32: nothing is rounded on the way
        run([f"{tools}/llama-quantize", "--allow-requantize", "--token-embedding-type", setting["embed"], model,
             at("-base.gguf"), "F32"], at("-base.log"))
    run([f"{tools}/llama-imatrix", "-m", at("-base.gguf"), "-f", calibration, "-o", at("-imatrix.gguf"), "-c", str(WINDOW),
         "--chunks", str(options.calib_tokens // WINDOW), "--no-ppl"], at("-imatrix.log"))
    measure = [f"{tools}/llama-perplexity", "-f", harness.test_text(options), "-c", str(WINDOW), "--chunks",
               str(setting["chunks"]), "--kl-divergence-base", at("-logits.bin")]
    text = run([*measure, "-m", at("-base.gguf")], at("-perplexity.log"))
    theirs = find(r"Final estimate: PPL = ([\d.]+)", text, at("-perplexity.log"))
    ours = json.loads(harness.run([options.assay, "eval", model, "--text", harness.test_text(options), "--protocol",
                                   "chunked", "--max-tokens", str(setting["chunks"] * WINDOW), "--json"]))["perplexity"]
    print(f"perplexity of the original: llama.cpp {theirs:.4f}, Assay {ours:.4f}\n\n"
          "| type | bits a linear weight | KLD | top-1 | formats inside |\n| --- | --- | --- | --- | --- |", flush=True)

    rows = []
    for kind in options.types.split(",") if options.types else TYPES:
        path = at(f"-{kind}.gguf")
        run([f"{tools}/llama-quantize", "--allow-requantize", "--imatrix", at("-imatrix.gguf"), "--token-embedding-type",
             setting["embed"], "--output-tensor-type", setting["embed"], at("-base.gguf"), path, kind], at(f"-{kind}.log"))
        log = at(f"-{kind}-kld.log")
        text = run([*measure, "-m", path, "--kl-divergence"], log)
        bits, kinds = linear_bits(path)
        kld, top = find(r"Mean\s+KLD:\s+([\d.]+)", text, log), find(r"Same top p:\s+([\d.]+)", text, log)
        rows.append(dict(type=kind, bits=bits, kld=kld, top1=top, formats=kinds))
        inside = ", ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
        print(f"| {kind} | {bits:.2f} | {kld:.4f} | {top:.1f} % | {inside} |", flush=True)
    os.remove(at("-logits.bin"))
    for suffix, content in (("-all.json", rows), (".json", undominated([(row["bits"], row["kld"]) for row in rows]))):
        with open(at(suffix), "w") as file:
            json.dump(content, file, indent=1)


if __name__ == "__main__":
    main()
