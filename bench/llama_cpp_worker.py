"""llama.cpp as PyPI's xllamacpp has it, for bench/gguf_parity.py and bench/versus_llama_cpp.py: a request as JSON on
standard input, the answer as JSON on standard output. Run by a Python that has the package.

  {"model": FILE, "threads": T, "generate": [{"prompt": TEXT or IDS, "tokens": N}]}
  {"model": FILE, "threads": T, "speed": {"prompt": P, "tokens": [N1, N2], "prefill": M}}
"""
import json
import os
import sys

import xllamacpp


def open_model(request, positions):
    params = xllamacpp.CommonParams()
    params.model.path = request["model"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = request["threads"]
    params.n_ctx = positions
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.no_mmproj = True
    params.verbosity = 0
    return xllamacpp.Server(params)


def complete(server, prompt, tokens, **more):
    answer = server.handle_completions({"prompt": prompt, "n_predict": tokens, "temperature": 0, "cache_prompt": False, **more})
    if "choices" not in answer:
        sys.exit(f"llama.cpp: {json.dumps(answer)}")
    return answer


def generate(server, case):
    """What llama.cpp does greedily, with the margins of its choices."""
    answer = complete(server, case["prompt"], case["tokens"], n_probs=2)
    steps = answer["choices"][0]["logprobs"]["content"]
    return {"prompt_tokens": answer["usage"]["prompt_tokens"], "new_ids": [step["id"] for step in steps],
            "top2_margins": [step["top_logprobs"][0]["logprob"] - step["top_logprobs"][1]["logprob"] for step in steps]}


def speed(server, work):
    """Tokens a second: decoding by slope, and of one prefill, both after one to warm up."""
    prompt = [i % 1000 for i in range(work["prompt"])]
    prefill = [(7 * i + 3) % 1000 for i in range(work["prefill"])]
    short, long = work["tokens"]
    taken = {}
    for tokens in (short, short, long):
        taken[tokens] = complete(server, prompt, tokens, ignore_eos=True)["timings"]["predicted_ms"] / 1000
    for _ in range(2):
        seconds = complete(server, prefill, 1)["timings"]["prompt_ms"] / 1000
    if taken[long] <= taken[short]:
        sys.exit("llama.cpp: the longer run was not slower; use more tokens")
    return {"decode": (long - short) / (taken[long] - taken[short]), "prefill": len(prefill) / seconds,
            "system": xllamacpp.get_system_info()}


def main():
    request = json.load(sys.stdin)
    answer = os.dup(1)
    os.dup2(2, 1)  # llama.cpp prints where it likes
    if "generate" in request:
        server = open_model(request, 1024)
        result = [generate(server, case) for case in request["generate"]]
    else:
        work = request["speed"]
        server = open_model(request, max(work["prompt"] + max(work["tokens"]), work["prefill"]) + 64)
        result = speed(server, work)
    with os.fdopen(answer, "w") as out:
        json.dump(result, out)


if __name__ == "__main__":
    main()
