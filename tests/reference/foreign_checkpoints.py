#!/usr/bin/env python3
"""Checkpoints as other toolkits write them (GPTQ, compressed-tensors, FP8 by blocks), packed here bit by bit.

  python3 -m venv venv && venv/bin/pip install numpy
  venv/bin/python tests/reference/foreign_checkpoints.py vectors tests/data/foreign
      small folders of random codes, and the weights that they stand for: (q - z) * s of the numbers before packing
  venv/bin/python tests/reference/foreign_checkpoints.py model SOURCE OUT gptq|gptq_v2|act_order|ct|ct_zp|fp8
      a bf16 model folder with its projections rounded to nearest and packed, everything else as it is
  venv/bin/python tests/reference/foreign_checkpoints.py check      (pip install compressed-tensors)
      the packing here against compressed-tensors' own
"""
import json
import os
import shutil
import struct
import sys

import numpy as np

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I32": np.int32, "I64": np.int64, "F8_E4M3": np.uint8}


def write_safetensors(path, arrays):
    header, data = {}, b""
    for name, (dtype, array) in sorted(arrays.items()):
        raw = np.ascontiguousarray(array.astype(DTYPES[dtype], copy=False)).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    raw = open(path, "rb").read()
    length = struct.unpack("<Q", raw[:8])[0]
    for name, entry in json.loads(raw[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        array = np.frombuffer(raw[8 + length + begin:8 + length + end], DTYPES[entry["dtype"]])
        yield name, entry["dtype"], array.reshape(entry["shape"])


def bf16_bits(values):
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def bf16_values(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def pack_rows(codes, bits):
    """[R, C] unsigned codes to int32 words [R, ceil(C * bits / 32)], lowest bits first."""
    rows, columns = codes.shape
    stream = (codes[:, :, None].astype(np.uint32) >> np.arange(bits)) & 1
    stream = stream.reshape(rows, columns * bits)
    stream = np.pad(stream, ((0, 0), (0, -stream.shape[1] % 32))).reshape(rows, -1, 32)
    return (stream.astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(-1).astype(np.uint32).view(np.int32)


def as_stored(scales, dtype):
    """The array to store and the values that it stands for."""
    if dtype == "BF16":
        stored = bf16_bits(scales)
        return stored, bf16_values(stored)
    stored = scales.astype(DTYPES[dtype])
    return stored, stored.astype(np.float32)


def gptq(codes, zeros, scales, group_of, bits, second, dtype):
    """codes [N, K], zeros and scales [N, G], group_of [K]."""
    stored, _ = as_stored(scales, dtype)
    kept = zeros if second else (zeros - 1) % (1 << bits)
    return {"qweight": ("I32", pack_rows(codes, bits).T), "scales": (dtype, stored.T),
            "qzeros": ("I32", pack_rows(kept.T, bits)), "g_idx": ("I32", group_of)}


def compressed(codes, zeros, scales, group_of, bits, dtype):
    stored, _ = as_stored(scales, dtype)
    arrays = {"weight_packed": ("I32", pack_rows(codes, bits)), "weight_scale": (dtype, stored),
              "weight_shape": ("I64", np.array(codes.shape))}
    if zeros is not None:
        arrays["weight_zero_point"] = ("I32", pack_rows(zeros.T, bits).T)
    if group_of is not None:
        arrays["weight_g_idx"] = ("I32", group_of)
    return arrays


def e4m3(codes):
    sign = np.where(codes & 0x80, -1.0, 1.0)
    exponent, mantissa = (codes >> 3 & 15).astype(np.int64), (codes & 7) / 8.0
    return sign * np.where(exponent == 0, mantissa * 2.0 ** -6, (1 + mantissa) * 2.0 ** (exponent - 7.0))


def spread_blocks(scales, shape):
    return np.repeat(np.repeat(scales, 128, 0)[:shape[0]], 128, 1)[:, :shape[1]]


GPTQ_CONFIG = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": False, "lm_head": False}
CT_WEIGHTS = {"type": "int", "dynamic": False, "actorder": None}


def ct_config(groups):
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
            "ignore": ["lm_head", "re:.*router$"],
            "config_groups": {f"group_{i}": {"targets": ["Linear"], "input_activations": None, "output_activations": None,
                                             "weights": {**CT_WEIGHTS, **group}} for i, group in enumerate(groups)}}


FP8_CONFIG = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
              "modules_to_not_convert": ["lm_head", "model.layers.0.mlp.gate"]}


def write_folder(directory, config, arrays, expected):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump({"model_type": "none", "quantization_config": config}, file, indent=1)
    write_safetensors(os.path.join(directory, "model.safetensors"), arrays)
    write_safetensors(os.path.join(directory, "expected.safetensors"), {n: ("F32", w) for n, w in expected.items()})


def vectors(out):
    random = np.random.default_rng(20261130)
    plain = {"model.norm.weight": ("F16", np.ones(8)), "lm_head.weight": ("F16", random.normal(size=(4, 8)))}

    def draw(rows, columns, bits, group, order=False):
        groups = columns // group
        codes = random.integers(0, 1 << bits, (rows, columns))
        zeros = random.integers(0, 1 << bits, (rows, groups))
        scales = random.normal(size=(rows, groups)) * 0.05
        group_of = np.arange(columns) // group
        return codes, zeros, scales, random.permutation(group_of) if order else group_of

    def decoded(codes, zeros, scales, group_of, dtype):
        _, values = as_stored(scales, dtype)
        return (codes - zeros[:, group_of]).astype(np.float32) * values[:, group_of]

    for name, second, cases in [
            ("gptq", False, [("self_attn.q_proj", 16, 96, 4, 32, False, "F16"), ("self_attn.k_proj", 16, 96, 4, 32, True, "F16"),
                             ("self_attn.v_proj", 32, 128, 3, 64, False, "F16"), ("self_attn.o_proj", 8, 96, 8, 96, False, "F16"),
                             ("mlp.up_proj", 16, 64, 2, 32, True, "F16")]),
            ("gptq_v2", True, [("self_attn.q_proj", 16, 96, 4, 32, False, "BF16")])]:
        arrays, expected = dict(plain), {}
        for module, rows, columns, bits, group, order, dtype in cases:
            parts = draw(rows, columns, bits, group, order)
            path = f"model.layers.0.{module}"
            arrays |= {f"{path}.{s}": a for s, a in gptq(*parts, bits, second, dtype).items()}
            expected[f"{path}.weight"] = decoded(*parts, dtype)
        config = {**GPTQ_CONFIG, "checkpoint_format": "gptq_v2" if second else "gptq"}
        if not second:
            config["dynamic"] = {"+:.*v_proj": {"bits": 3, "group_size": 64}, "+:.*o_proj": {"bits": 8, "group_size": -1},
                                 "+:.*up_proj": {"bits": 2}, "-:.*down_proj": {}}
        write_folder(os.path.join(out, name), config, arrays, expected)

    arrays, expected, groups = dict(plain), {}, []
    for module, rows, columns, bits, group, zero, order, dtype in [
            ("self_attn.q_proj", 16, 96, 4, 32, False, False, "BF16"), ("self_attn.k_proj", 20, 96, 4, 32, True, False, "F16"),
            ("self_attn.v_proj", 6, 50, 8, 50, False, False, "F32"), ("self_attn.o_proj", 16, 128, 2, 64, True, True, "BF16")]:
        codes, zeros, scales, group_of = draw(rows, columns, bits, group, order)
        if not zero:
            zeros[:] = 1 << (bits - 1)
        path = f"model.layers.0.{module}"
        arrays |= {f"{path}.{s}": a for s, a in
                   compressed(codes, zeros if zero else None, scales, group_of if order else None, bits, dtype).items()}
        expected[f"{path}.weight"] = decoded(codes, zeros, scales, group_of, dtype)
        groups.append({"num_bits": bits, "symmetric": not zero, "strategy": "channel" if group == columns else "group",
                       "group_size": None if group == columns else group})
    write_folder(os.path.join(out, "compressed_tensors"), ct_config(groups), arrays, expected)

    arrays, expected = dict(plain), {}
    for module, shape, dtype in [("self_attn.q_proj", (129, 136), "F32"), ("self_attn.k_proj", (4, 256), "BF16")]:
        codes = random.integers(0, 256, shape)
        codes[codes & 0x7F == 0x7F] = 0x80
        stored, values = as_stored(random.normal(size=(-(-shape[0] // 128), -(-shape[1] // 128))) * 0.01, dtype)
        path = f"model.layers.0.{module}"
        arrays |= {f"{path}.weight": ("F8_E4M3", codes), f"{path}.weight_scale_inv": (dtype, stored)}
        expected[f"{path}.weight"] = e4m3(codes).astype(np.float32) * spread_blocks(values, shape)
    write_folder(os.path.join(out, "fp8"), FP8_CONFIG, arrays, expected)


def round_groups(weights, group, bits, zero, dtype, order=None):
    """Nearest codes with scales from the extremes: codes, zeros, scales, group_of."""
    rows, columns = weights.shape
    order = np.arange(columns) if order is None else order
    group_of = np.empty(columns, np.int64)
    group_of[order] = np.arange(columns) // group
    grouped = weights[:, order].reshape(rows, -1, group)
    top, middle = (1 << bits) - 1, 1 << (bits - 1)
    low, high = np.minimum(grouped.min(-1), 0), np.maximum(grouped.max(-1), 0)
    scales = (high - low) / top if zero else np.abs(grouped).max(-1) / (middle - 1)
    scales = np.maximum(scales, 1e-6)
    _, values = as_stored(scales, dtype)
    zeros = np.clip(np.rint(-low / values), 0, top).astype(np.int64) if zero else np.full(low.shape, middle)
    codes = np.clip(np.rint(weights / values[:, group_of]) + zeros[:, group_of], 0, top).astype(np.int64)
    return codes, zeros, scales, group_of


def pack_module(weights, scheme, random):
    if scheme in ("gptq", "gptq_v2", "act_order"):
        order = random.permutation(weights.shape[1]) if scheme == "act_order" else None
        return gptq(*round_groups(weights, 64, 4, True, "F16", order), 4, scheme == "gptq_v2", "F16")
    if scheme in ("ct", "ct_zp"):
        codes, zeros, scales, _ = round_groups(weights, 64, 4, scheme == "ct_zp", "BF16")
        return compressed(codes, zeros if scheme == "ct_zp" else None, scales, None, 4, "BF16")
    blocks = [-(-size // 128) for size in weights.shape]
    scales = np.array([[np.abs(weights[i * 128:(i + 1) * 128, j * 128:(j + 1) * 128]).max() / 448
                        for j in range(blocks[1])] for i in range(blocks[0])])
    stored, values = as_stored(scales, "F32")
    grid = np.array([c for c in range(256) if c & 0x7F != 0x7F and c != 0x80])
    grid = grid[np.argsort(e4m3(grid))]
    levels, wanted = e4m3(grid), weights / spread_blocks(values, weights.shape)
    return {"weight": ("F8_E4M3", grid[np.searchsorted((levels[1:] + levels[:-1]) / 2, wanted)]),
            "weight_scale_inv": ("F32", stored)}


def model(source, out, scheme):
    config = json.load(open(os.path.join(source, "config.json")))
    config["quantization_config"] = {
        "gptq": {**GPTQ_CONFIG, "group_size": 64}, "act_order": {**GPTQ_CONFIG, "group_size": 64},
        "gptq_v2": {**GPTQ_CONFIG, "group_size": 64, "checkpoint_format": "gptq_v2"},
        "ct": ct_config([{"num_bits": 4, "symmetric": True, "strategy": "group", "group_size": 64}]),
        "ct_zp": ct_config([{"num_bits": 4, "symmetric": False, "strategy": "group", "group_size": 64}]),
        "fp8": FP8_CONFIG}[scheme]
    shutil.copytree(source, out)
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    random, arrays = np.random.default_rng(1), {}
    for name, dtype, array in read_safetensors(os.path.join(source, "model.safetensors")):
        if not name.endswith("_proj.weight"):
            arrays[name] = (dtype, array)
            continue
        values = bf16_values(array) if dtype == "BF16" else array.astype(np.float32)
        packed = pack_module(values, scheme, random)
        arrays |= {f"{name.removesuffix('.weight')}.{suffix}": part for suffix, part in packed.items()}
    write_safetensors(os.path.join(out, "model.safetensors"), arrays)


def check():
    import torch
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    random = np.random.default_rng(3)
    for bits in (2, 4, 8):
        for shape in ((20, 96), (6, 50), (33, 7)):
            codes = random.integers(0, 1 << bits, shape)
            signed = torch.tensor(codes - (1 << (bits - 1)), dtype=torch.int8)
            assert np.array_equal(pack_to_int32(signed, bits).numpy(), pack_rows(codes, bits)), (bits, shape)
            along_rows = pack_to_int32(signed, bits, packed_dim=0).numpy()
            assert np.array_equal(along_rows, pack_rows(codes.T, bits).T), (bits, shape)
    print("packing agrees with compressed-tensors")
    bytes_ = np.array([c for c in range(256) if c & 0x7F != 0x7F], np.uint8)
    theirs = torch.tensor(bytes_).view(torch.float8_e4m3fn).to(torch.float32).numpy()
    assert np.array_equal(theirs, e4m3(bytes_.astype(np.int64)).astype(np.float32))
    print("E4M3 agrees with torch")


if __name__ == "__main__":
    {"vectors": vectors, "model": model, "check": check}[sys.argv[1]](*sys.argv[2:])
