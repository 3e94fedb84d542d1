#!/usr/bin/env python3
"""One small random checkpoint of each family, as transformers saves it, and transformers' own logits and greedy
continuations (float32).

  python3 -m venv venv && venv/bin/pip install torch transformers
  venv/bin/python tests/reference/family_checkpoints.py tests/data/families

Sizes are awkward on purpose: heads and widths are no powers of two, MLPs no multiples of 32. Logits are those of the
stored (bfloat16) weights, read back from the folder, config.json included; stepping through the cache must agree with
them before anything is written.
"""
import json
import os
import shutil
import sys

import torch
import transformers

PROMPTS = [[7], [3, 41, 3, 18, 52], [50, 1, 2, 2, 9, 33, 47, 12, 0, 26, 40, 5, 31]]
CONTINUATION = 12
COMMON = dict(vocab_size=53, hidden_size=36, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1,
              max_position_embeddings=96, rms_norm_eps=1e-6, bos_token_id=None, eos_token_id=52, pad_token_id=52)
MIXTURE = dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=14)
SHARED = dict(shared_expert_intermediate_size=22)
DELTA = dict(linear_num_key_heads=3, linear_num_value_heads=6, linear_key_head_dim=10, linear_value_head_dim=6,
             linear_conv_kernel_dim=3, head_dim=24,
             layer_types=["linear_attention", "full_attention", "linear_attention"])


def rope(theta, **more):
    return dict(rope_parameters=dict(rope_type="default", rope_theta=theta, **more))


FAMILIES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, dict(
        intermediate_size=44, attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="llama3", rope_theta=700.0, factor=6.0, low_freq_factor=1.0, high_freq_factor=3.0,
                             original_max_position_embeddings=24))),
    # Heads without a size of their own; written over below as Qwen2.5's older configs are spelled.
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, dict(
        intermediate_size=44, num_attention_heads=3, tie_word_embeddings=True, **rope(900.0))),
    # Heads wider than their share of the model, two of them for each of keys and values.
    "qwen2_untied": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, dict(
        intermediate_size=40, num_attention_heads=4, num_key_value_heads=2, head_dim=14, num_hidden_layers=2,
        tie_word_embeddings=False, **rope(1100.0))),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM, dict(
        intermediate_size=44, head_dim=14, tie_word_embeddings=True, **rope(900.0))),
    "qwen3_moe": (transformers.Qwen3MoeConfig, transformers.Qwen3MoeForCausalLM, dict(
        intermediate_size=44, head_dim=14, mlp_only_layers=[1], norm_topk_prob=True, tie_word_embeddings=False,
        **MIXTURE, **rope(900.0))),
    # Half of each head turns, although the older key beside it says a quarter.
    "qwen3_next": (transformers.Qwen3NextConfig, transformers.Qwen3NextForCausalLM, dict(
        intermediate_size=44, tie_word_embeddings=False, **MIXTURE, **SHARED, **DELTA,
        **rope(900.0, partial_rotary_factor=0.5))),
    "qwen3_5": (transformers.Qwen3_5TextConfig, transformers.Qwen3_5ForCausalLM, dict(
        intermediate_size=44, tie_word_embeddings=True, **DELTA,
        **rope(900.0, partial_rotary_factor=0.25, mrope_section=[1, 1, 1], mrope_interleaved=True))),
    "qwen3_5_moe": (transformers.Qwen3_5MoeTextConfig, transformers.Qwen3_5MoeForCausalLM, dict(
        tie_word_embeddings=False, **MIXTURE, **SHARED, **DELTA,
        **rope(900.0, partial_rotary_factor=0.25, mrope_section=[1, 1, 1], mrope_interleaved=True))),
}


def randomise(model):
    """Every parameter tells: norms off one (or off zero where one is added), biases, decays."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("A_log"):
                parameter.uniform_(0.1, 2.0)
            elif parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)


def logits_of(model, prompt):
    with torch.no_grad():
        whole = model(torch.tensor([prompt])).logits[0]
        cache, steps = None, []
        for token in prompt:
            out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits[0, 0])
    off = (torch.stack(steps) - whole).abs().max().item()
    assert off < 1e-4, off
    return whole


def greedy(model, prompt):
    """What follows the prompt, without a cache. No choice may be near a tie."""
    made = []
    for _ in range(CONTINUATION):
        with torch.no_grad():
            best = model(torch.tensor([prompt + made])).logits[0, -1].topk(2)
        assert best.values[0] - best.values[1] > 1e-3, (prompt, made)
        made.append(best.indices[0].item())
    return made


def write(folder, name):
    config_class, model_class, sizes = FAMILIES[name]
    torch.manual_seed(20)
    model = model_class(config_class(**{**COMMON, **sizes}))
    randomise(model)
    path = os.path.join(folder, name)
    shutil.rmtree(path, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(path)
    for extra in ("generation_config.json",):
        if os.path.exists(os.path.join(path, extra)):
            os.remove(os.path.join(path, extra))
    config_path = os.path.join(path, "config.json")
    with open(config_path) as f:
        config = json.load(f)
    if name == "qwen2":
        for key in ("rope_parameters", "layer_types", "dtype"):
            del config[key]
        assert "head_dim" not in config
        config |= dict(rope_theta=900.0, torch_dtype="bfloat16", use_sliding_window=False, sliding_window=4,
                       max_window_layers=1)
    if name == "qwen3_next":
        config["partial_rotary_factor"] = 0.25
    with open(config_path, "w") as f:
        json.dump(config, f, indent=1, sort_keys=True)
        f.write("\n")
    model = model_class.from_pretrained(path, dtype=torch.float32, attn_implementation="eager",
                                        experts_implementation="eager").eval()
    cases = [{"prompt": p, "logits": [[float(f"{x:.8g}") for x in row] for row in logits_of(model, p).tolist()],
              "greedy": greedy(model, p)} for p in PROMPTS]
    with open(os.path.join(path, "reference.json"), "w") as f:
        f.write(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0],
                            "cases": cases}, separators=(",", ":")) + "\n")
    print(name, sum(os.path.getsize(os.path.join(path, x)) for x in os.listdir(path)), sorted(os.listdir(path)))


if __name__ == "__main__":
    for name in sys.argv[2:] or FAMILIES:
        write(sys.argv[1], name)
