#!/usr/bin/env python3
"""GGUF files that Assay writes, opened by others: PyPI's gguf reads their keys and tensors, llama.cpp (xllamacpp)
loads them and continues prompts greedily as `assay run` continues them with the model that they were written of.

  bench/gguf_parity.py                                 llama, tiny, small and moe of the shared models
  bench/gguf_parity.py --models my-model --formats f32 any folder or file

In F32 both compute the same, so every token must be the same where the choice was clear (`assay parity`). In the other
formats llama.cpp rounds what it multiplies (to bf16, to 8 bits), so the tokens that agree are only counted. Exit 1
when something differs. Makes a virtual environment in OUT/venv, once.
"""
import json
import os
import subprocess
import sys

import harness

PROMPTS = ["The city of London is", "In the beginning", "1 + 1 = 2, 2 + 2 =",
           "<|im_start|>user\nWho wrote it?<|im_end|>\n<|im_start|>assistant\n", "It's 1984;\n\n  don't   panic"]
TOKENS = 32
WORKER = os.path.join(harness.ROOT, "bench/llama_cpp_worker.py")
# Run by the environment's Python, not by this one.
READ_KEYS = """
import json, sys, gguf
reader = gguf.GGUFReader(sys.argv[1])
keys = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
keys = {name: len(value) if isinstance(value, list) else value for name, value in keys.items()}
json.dump({"keys": keys, "types": sorted({tensor.tensor_type.name for tensor in reader.tensors}),
           "tensors": len(reader.tensors)}, sys.stdout)
"""


def ask(python, request):
    answer = subprocess.run([python, WORKER], input=json.dumps(request), stdout=subprocess.PIPE, text=True,
                            stderr=subprocess.DEVNULL)
    if answer.returncode != 0:
        sys.exit(f"llama.cpp failed on {request['model']}")
    return json.loads(answer.stdout)


def write(options, model, kind, path):
    """The model as a GGUF file: as it is, or every matrix in a format."""
    if os.path.exists(path):
        os.remove(path)
    if kind == "source":
        harness.run([options.assay, "convert", model, path, "--container", "gguf"])
    else:
        harness.run([options.assay, "quantize", model, path, "--recipe", harness.recipe(path + ".json", kind),
                     "--container", "gguf", "--measure", "none"])


def run_ours(options, model, prompt):
    answer = harness.run([options.assay, "run", model, "--prompt", prompt, "--max-tokens", str(TOKENS),
                          "--temperature", "0", "--json"])
    return json.loads(answer)


def agreement(ours, theirs):
    """Leading tokens that agree. Both stop at an end token, which llama.cpp does not list."""
    alike = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    return len(ours) if alike == len(theirs) == len(ours) - 1 else alike


def check(options, python, model, kind, path):
    """A row of the table, and whether all is well."""
    write(options, model, kind, path)
    facts = json.loads(harness.run([python, "-c", READ_KEYS, path]))
    cases = ask(python, {"model": path, "threads": options.threads,
                         "generate": [{"prompt": prompt, "tokens": TOKENS} for prompt in PROMPTS]})
    sound, agree, count = True, 0, 0
    for prompt, case in zip(PROMPTS, cases):
        ours = run_ours(options, path, prompt)
        # llama.cpp does not count the token that begins every text; these models have none.
        if ours["prompt_tokens"] != case["prompt_tokens"]:
            print(f"{path}: {prompt!r} is {ours['prompt_tokens']} tokens to Assay, {case['prompt_tokens']} to llama.cpp")
            sound = False
        alike = agreement(ours["ids"], case["new_ids"])
        agree, count = agree + alike, count + len(ours["ids"])
        clear = alike == len(ours["ids"]) or (
            alike < len(case["new_ids"]) and case["top2_margins"][alike] < options.margin)
        if kind == "f32" and not clear:
            print(f"{path}: {prompt!r}: token {alike} is {ours['ids'][alike]} to Assay, "
                  f"{(case['new_ids'] + ['the end'])[alike]} to llama.cpp")
            sound = False
    print(f"| {os.path.basename(model.rstrip('/'))} | {kind} | {facts['keys']['general.architecture']} | "
          f"{facts['keys']['tokenizer.ggml.pre']} | {', '.join(facts['types'])} | {facts['tensors']} | {agree} of {count} | "
          f"{'yes' if sound else 'NO'} |", flush=True)
    return sound


def main():
    parser = harness.parser(__doc__, "gguf-parity")
    parser.add_argument("--models", help="separated by commas (default: llama,tiny,small,moe of the shared ones)")
    parser.add_argument("--formats", default="f32,source,q8_0", help="separated by commas; source: as they are")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--margin", type=float, default=0.01, help="choices of llama.cpp by less are no proof (logits)")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    python = harness.python_with(os.path.join(options.out, "venv"), ["xllamacpp", "gguf"])
    models = (options.models.split(",") if options.models
              else [harness.shared_model(options, name) for name in ("llama", "tiny", "small", "moe")])
    print("| model | written as | architecture | pre-tokenizer | tensors in | tensors | leading tokens alike | sound |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    sound = True
    for model in models:
        for kind in options.formats.split(","):
            path = os.path.join(options.out, f"{os.path.basename(model.rstrip('/'))}-{kind}.gguf")
            sound &= check(options, python, model, kind, path)
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
