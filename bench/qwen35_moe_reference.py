#!/usr/bin/env python3
"""Qwen3.5 with experts against transformers: writes a small checkpoint with random weights, as transformers saves it,
and compares Assay's logits with transformers' own (float32).

  python3 -m venv venv && venv/bin/pip install torch transformers
  venv/bin/python bench/qwen35_moe_reference.py out/qwen35-moe --assay build/assay

Exit 1 when the logits of a prompt differ by more than 1e-4 RMS relative. The tokenizer is the bundled model's.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys

import torch
import transformers

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROMPTS = [[434, 1176, 274, 2305, 317], [10, 200, 3000, 42, 7, 7, 512, 999], list(range(100, 160))]


def make_model():
    config = transformers.Qwen3_5MoeTextConfig(
        vocab_size=8192, hidden_size=128, num_hidden_layers=8, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
        linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=32, linear_value_head_dim=32,
        linear_conv_kernel_dim=4, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=64,
        shared_expert_intermediate_size=96, max_position_embeddings=1024, tie_word_embeddings=False,
        eos_token_id=8189, bos_token_id=None, pad_token_id=8189)
    torch.manual_seed(1)
    model = transformers.Qwen3_5MoeForCausalLM(config).to(torch.float32).eval()
    with torch.no_grad():  # far from the small, near-uniform start of training: routers that choose, gates that gate
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0, 0.08)
            elif "norm" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--assay", default=os.path.join(ROOT, "build/assay"))
    options = parser.parse_args()
    model = make_model()
    shutil.rmtree(options.out, ignore_errors=True)
    model.save_pretrained(options.out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(ROOT, "models/demo", name), options.out)
    worst = 0.0
    for ids in PROMPTS:
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0].double()
        command = [options.assay, "logits", options.out, "--ids", ",".join(map(str, ids)), "--json"]
        ours = torch.tensor(json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["logits"],
                            dtype=torch.float64)
        difference = ((ours - theirs).square().mean() / theirs.square().mean()).sqrt().item()
        same = (ours.argmax(-1) == theirs.argmax(-1)).double().mean().item()
        print(f"{len(ids)} tokens: logits differ by {difference:.2e} RMS relative, same first choice {same:.1%}")
        worst = max(worst, difference)
    sys.exit(worst > 1e-4)


if __name__ == "__main__":
    main()
