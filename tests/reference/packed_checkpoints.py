#!/usr/bin/env python3
"""Small models packed as other toolkits pack them, and the logits and greedy continuations of the weights that the codes
stand for, computed by numpy in float64.

  python3 -m venv venv && venv/bin/pip install numpy
  venv/bin/python tests/reference/packed_checkpoints.py tests/data/families

The forward pass here must first give transformers' logits, which lie beside tests/data/families/qwen3. Weights are those
of the numbers before packing, (q - z) * s, so no code of the readers has a part in them.
"""
import json
import os
import shutil
import sys

import numpy as np

import foreign_checkpoints as foreign

PROMPTS = [[7], [3, 41, 3, 18, 52], [50, 1, 2, 2, 9, 33, 47, 12, 0, 26, 40, 5, 31]]
CONTINUATION = 12
CONFIG = dict(architectures=["Qwen3ForCausalLM"], model_type="qwen3", vocab_size=53, num_hidden_layers=2,
              num_key_value_heads=2, max_position_embeddings=96, rms_norm_eps=1e-6, hidden_act="silu", attention_bias=False,
              tie_word_embeddings=False, bos_token_id=None, eos_token_id=52, pad_token_id=52, dtype="bfloat16",
              rope_parameters=dict(rope_type="default", rope_theta=900.0))
GROUPED = dict(hidden_size=64, intermediate_size=96, num_attention_heads=4, head_dim=16)
# Two blocks along the rows of q, gate and up, two along the columns of o and down; the last of each is cut.
BLOCKED = dict(hidden_size=32, intermediate_size=136, num_attention_heads=6, head_dim=24)


def rms_norm(x, gain, config):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * gain


def rotate(x, config):
    """x [tokens, heads, dim]: dimension i turns with i + dim / 2."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * config["rope_parameters"]["rope_theta"] ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attention(x, weights, config):
    tokens, dim = len(x), config["head_dim"]

    def heads(name):
        return (x @ weights[name + "_proj.weight"].T).reshape(tokens, -1, dim)

    q = rotate(rms_norm(heads("q"), weights["q_norm.weight"], config), config)
    k = rotate(rms_norm(heads("k"), weights["k_norm.weight"], config), config)
    share = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, share, 1), np.repeat(heads("v"), share, 1)
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(dim)
    scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v)
    return mixed.reshape(tokens, -1) @ weights["o_proj.weight"].T


def logits_of(weights, config, prompt):
    def below(prefix):
        return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}

    x = weights["model.embed_tokens.weight"][prompt]
    for layer in range(config["num_hidden_layers"]):
        block = below(f"model.layers.{layer}.")
        x = x + attention(rms_norm(x, block["input_layernorm.weight"], config), below(f"model.layers.{layer}.self_attn."), config)
        inner = rms_norm(x, block["post_attention_layernorm.weight"], config)
        gate = inner @ block["mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (inner @ block["mlp.up_proj.weight"].T)) @ block["mlp.down_proj.weight"].T
    head = weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return rms_norm(x, weights["model.norm.weight"], config) @ head.T


def greedy(weights, config, prompt):
    made = []
    for _ in range(CONTINUATION):
        last = logits_of(weights, config, prompt + made)[-1]
        second, best = np.argsort(last)[-2:]
        assert last[best] - last[second] > 1e-3, (prompt, made)
        made.append(int(best))
    return made


def check_against_transformers(folder):
    config = json.load(open(os.path.join(folder, "config.json")))
    weights = {n: foreign.bf16_values(a).astype(np.float64)
               for n, _, a in foreign.read_safetensors(os.path.join(folder, "model.safetensors"))}
    for case in json.load(open(os.path.join(folder, "reference.json")))["cases"]:
        off = np.abs(logits_of(weights, config, case["prompt"]) - np.array(case["logits"])).max()
        assert off < 2e-5, off
        assert greedy(weights, config, case["prompt"]) == case["greedy"]
    print("the forward pass agrees with transformers")


def pack(scheme, name, weights, random):
    """Arrays of a module by suffix, and the weights that they stand for."""
    if scheme == "fp8":
        blocks = [-(-size // 128) for size in weights.shape]
        codes = random.integers(0, 256, weights.shape)
        codes[codes & 0x7F == 0x7F] = 0x80
        # Any codes: as large as the weights that they replace, each block in its own measure.
        scales = random.uniform(0.5, 2, blocks) / np.sqrt((foreign.e4m3(codes) ** 2).mean() * weights.shape[1])
        stored, values = foreign.as_stored(scales, "F32")
        return ({"weight": ("F8_E4M3", codes), "weight_scale_inv": ("F32", stored)},
                foreign.e4m3(codes) * foreign.spread_blocks(values, weights.shape))
    zero = scheme != "ct"
    dtype = "F16" if scheme == "gptq" else "BF16"
    order = random.permutation(weights.shape[1]) if scheme == "gptq" and "down" in name else None
    codes, zeros, scales, group_of = foreign.round_groups(weights, 32, 4, zero, dtype, order)
    _, values = foreign.as_stored(scales, dtype)
    stands_for = (codes - zeros[:, group_of]) * values[:, group_of].astype(np.float64)
    if scheme == "gptq":
        return foreign.gptq(codes, zeros, scales, group_of, 4, False, dtype), stands_for
    return foreign.compressed(codes, zeros if zero else None, scales, None, 4, dtype), stands_for


def ct_config(symmetric):
    return foreign.ct_config([{"num_bits": 4, "symmetric": symmetric, "strategy": "group", "group_size": 32}])


SCHEMES = {"gptq": (GROUPED, foreign.GPTQ_CONFIG), "ct": (GROUPED, ct_config(True)), "ct_zp": (GROUPED, ct_config(False)),
           "fp8": (BLOCKED, foreign.FP8_CONFIG)}


def shapes(config):
    hidden, inner, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    yield "lm_head.weight", (config["vocab_size"], hidden)
    yield "model.norm.weight", (hidden,)
    for layer in range(config["num_hidden_layers"]):
        for name, shape in [("self_attn.q_proj", (queries, hidden)), ("self_attn.k_proj", (keys, hidden)),
                            ("self_attn.v_proj", (keys, hidden)), ("self_attn.o_proj", (hidden, queries)),
                            ("self_attn.q_norm", (dim,)), ("self_attn.k_norm", (dim,)), ("mlp.gate_proj", (inner, hidden)),
                            ("mlp.up_proj", (inner, hidden)), ("mlp.down_proj", (hidden, inner)),
                            ("input_layernorm", (hidden,)), ("post_attention_layernorm", (hidden,))]:
            yield f"model.layers.{layer}.{name}.weight", shape


def write(folder, scheme):
    sizes, quantization = SCHEMES[scheme]
    config = {**CONFIG, **sizes}
    random = np.random.default_rng(20)
    arrays, weights = {}, {}
    for name, shape in shapes(config):
        drawn = random.normal(size=shape) / shape[-1] ** 0.5 if len(shape) == 2 else 1 + 0.3 * random.normal(size=shape)
        if name.endswith("_proj.weight"):
            parts, weights[name] = pack(scheme, name, drawn, random)
            arrays |= {f"{name.removesuffix('.weight')}.{suffix}": part for suffix, part in parts.items()}
        else:
            stored, values = foreign.as_stored(drawn, "BF16")
            arrays[name], weights[name] = ("BF16", stored), values.astype(np.float64)
    path = os.path.join(folder, "qwen3_" + scheme)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    with open(os.path.join(path, "config.json"), "w") as file:
        file.write(json.dumps({**config, "quantization_config": quantization}, indent=1, sort_keys=True) + "\n")
    foreign.write_safetensors(os.path.join(path, "model.safetensors"), arrays)
    cases = [{"prompt": p, "logits": [[float(f"{x:.8g}") for x in row] for row in logits_of(weights, config, p)],
              "greedy": greedy(weights, config, p)} for p in PROMPTS]
    with open(os.path.join(path, "reference.json"), "w") as file:
        file.write(json.dumps({"numpy": np.__version__, "cases": cases}, separators=(",", ":")) + "\n")
    print(path, sum(os.path.getsize(os.path.join(path, x)) for x in os.listdir(path)))


if __name__ == "__main__":
    check_against_transformers(os.path.join(sys.argv[1], "qwen3"))
    for name in sys.argv[2:] or SCHEMES:
        write(sys.argv[1], name)
