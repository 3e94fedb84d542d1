#!/usr/bin/env python3
"""Writes a Hugging Face checkpoint of Qwen3 as a GGUF file in F16 (norms in F32), with its tokenizer, by PyPI's
`gguf` package: what llama.cpp's tools start from.

  bench/gguf_f16.py ../shared/models/small out/small-f16.gguf
"""
import json
import os
import struct
import sys

import gguf
import numpy as np

BLOCK_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
OTHER_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name):
    stem = name.removesuffix(".weight")
    if stem in OTHER_NAMES:
        return OTHER_NAMES[stem] + ".weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{BLOCK_NAMES[rest]}.weight"


def read_bf16(path):
    """Every tensor of a safetensors file in f32."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if entry["dtype"] != "BF16":
            sys.exit(f"{path}: {name} is {entry['dtype']}, BF16 expected")
        begin, end = entry["data_offsets"]
        yield name, (np.frombuffer(data[begin:end], np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(
            entry["shape"])


def add_tokenizer(writer, tokenizer):
    tokens = {index: (piece, gguf.TokenType.NORMAL) for piece, index in tokenizer["model"]["vocab"].items()}
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = (added["content"], gguf.TokenType.CONTROL if added["special"]
                               else gguf.TokenType.USER_DEFINED)
    listed = [tokens[index] for index in range(len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([piece for piece, _ in listed])
    writer.add_token_types([kind for _, kind in listed])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge)
                             for merge in tokenizer["model"]["merges"]])
    writer.add_add_bos_token(False)


def write_f16(model, path):
    config = json.load(open(os.path.join(model, "config.json")))
    if config["model_type"] != "qwen3":
        sys.exit(f"{model}: model type {config['model_type']}, qwen3 expected")
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    add_tokenizer(writer, json.load(open(os.path.join(model, "tokenizer.json"))))
    writer.add_eos_token_id(config["eos_token_id"])
    for name, values in read_bf16(os.path.join(model, "model.safetensors")):
        writer.add_tensor(gguf_name(name), values if values.ndim == 1 else values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write_f16(sys.argv[1], sys.argv[2])
