#pragma once
// Builds GGUF files in memory, right or wrong on purpose: an independent writer for the reader's tests.
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace assay::test {

/// The bytes of a number as they lie in memory: little-endian, like the files.
template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

inline std::string gguf_string(std::string_view text) {
  return raw<std::uint64_t>(text.size()) + std::string(text);
}

/// Value types as the files number them.
enum class GgufType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

/// A typed value: its type's number and its bytes.
inline std::string gguf_value(GgufType type, const std::string& bytes) {
  return raw(static_cast<std::uint32_t>(type)) + bytes;
}
inline std::string u32_value(std::uint32_t value) {
  return gguf_value(GgufType::u32, raw(value));
}
inline std::string f32_value(float value) {
  return gguf_value(GgufType::f32, raw(value));
}
inline std::string bool_value(bool value) {
  return gguf_value(GgufType::boolean, raw(static_cast<char>(value)));
}
inline std::string string_value(std::string_view text) {
  return gguf_value(GgufType::string, gguf_string(text));
}

inline std::string array_value(GgufType type, std::uint64_t count, const std::string& bytes) {
  return gguf_value(GgufType::array, raw(static_cast<std::uint32_t>(type)) + raw(count) + bytes);
}
template <class T>
std::string numbers_value(GgufType type, const std::vector<T>& numbers) {
  std::string bytes;
  for (const T number : numbers) bytes += raw(number);
  return array_value(type, numbers.size(), bytes);
}
inline std::string strings_value(const std::vector<std::string>& strings) {
  std::string bytes;
  for (const std::string& text : strings) bytes += gguf_string(text);
  return array_value(GgufType::string, strings.size(), bytes);
}

struct BuiltTensor {
  std::string name;
  std::vector<std::uint64_t> dims;  // fastest first, as in the file
  std::uint32_t type = 0;
  std::string data;
  std::optional<std::uint64_t> offset;  // where it is to lie, if not behind the one before
};

struct GgufBuilder {
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  std::optional<std::uint64_t> tensor_count, key_count;   // what the header claims, if not the truth
  std::vector<std::pair<std::string, std::string>> keys;  // name, typed value
  std::vector<BuiltTensor> tensors;

  /// Sets a key, replacing an earlier value.
  GgufBuilder& set(const std::string& key, std::string value) {
    for (auto& [name, old] : keys)
      if (name == key) return old = std::move(value), *this;
    keys.emplace_back(key, std::move(value));
    return *this;
  }

  GgufBuilder& remove(const std::string& key) {
    std::erase_if(keys, [&](const auto& item) { return item.first == key; });
    return *this;
  }

  GgufBuilder& add(BuiltTensor tensor) {
    tensors.push_back(std::move(tensor));
    return *this;
  }

  BuiltTensor& tensor(const std::string& name) {
    for (BuiltTensor& candidate : tensors)
      if (candidate.name == name) return candidate;
    return add({name, {}, 0, {}, {}}).tensors.back();
  }

  std::string build() const {
    std::string file = magic + raw(version) + raw(tensor_count.value_or(tensors.size())) +
                       raw(key_count.value_or(keys.size()));
    for (const auto& [key, value] : keys) file += gguf_string(key) + value;
    std::string data;
    for (const BuiltTensor& tensor : tensors) {
      data.resize((data.size() + alignment - 1) / alignment * alignment);
      file += gguf_string(tensor.name) + raw(static_cast<std::uint32_t>(tensor.dims.size()));
      for (const std::uint64_t dim : tensor.dims) file += raw(dim);
      file += raw(tensor.type) + raw(tensor.offset.value_or(data.size()));
      data += tensor.data;
    }
    if (!tensors.empty()) file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data;
  }
};

/// `count` f32 values counting up from `first` in steps of 1/64.
inline std::string f32_ramp(std::size_t count, float first = 0) {
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i) bytes += raw(first + static_cast<float>(i) / 64);
  return bytes;
}

/// Blocks of Q8_0, each with scale 1/128 and codes counting up from -16.
inline std::string q8_0_blocks(std::size_t blocks) {
  std::string bytes;
  for (std::size_t block = 0; block < blocks; ++block) {
    bytes += raw(std::uint16_t{0x2000});  // 2^-7
    for (int code = 0; code < 32; ++code) bytes += static_cast<char>(code - 16);
  }
  return bytes;
}

/// A whole Llama model of one layer: width 32, 2 heads of 16, 1 KV head, MLP 64, 8 tokens, tied head.
inline GgufBuilder tiny_gguf() {
  GgufBuilder file;
  file.set("general.architecture", string_value("llama"))
      .set("general.type", string_value("model"))
      .set("general.name", string_value("tiny"))
      .set("llama.block_count", u32_value(1))
      .set("llama.context_length", u32_value(128))
      .set("llama.embedding_length", u32_value(32))
      .set("llama.feed_forward_length", u32_value(64))
      .set("llama.attention.head_count", u32_value(2))
      .set("llama.attention.head_count_kv", u32_value(1))
      .set("llama.attention.layer_norm_rms_epsilon", f32_value(0.5f))
      .set("llama.rope.freq_base", f32_value(50000))
      .set("llama.rope.dimension_count", u32_value(16))
      .set("llama.vocab_size", u32_value(8))
      .set("tokenizer.ggml.model", string_value("gpt2"))
      .set("tokenizer.ggml.pre", string_value("smollm"))
      .set("tokenizer.ggml.tokens",
           strings_value({"<|end|>", "<|user|>", "<tool>", "a", "b", "c", "ab", "abc"}))
      .set("tokenizer.ggml.token_type", numbers_value<std::int32_t>(GgufType::i32, {3, 3, 4, 1, 1, 1, 1, 1}))
      .set("tokenizer.ggml.merges", strings_value({"a b", "ab c"}))
      .set("tokenizer.ggml.bos_token_id", u32_value(1))
      .set("tokenizer.ggml.eos_token_id", u32_value(0))
      .set("tokenizer.ggml.add_bos_token", bool_value(false))
      .set("tokenizer.chat_template", string_value("{{ messages }}"));
  file.add({"token_embd.weight", {32, 8}, 8, q8_0_blocks(8), {}})
      .add({"output_norm.weight", {32}, 0, f32_ramp(32), {}})
      .add({"blk.0.attn_norm.weight", {32}, 0, f32_ramp(32), {}})
      .add({"blk.0.attn_q.weight", {32, 32}, 8, q8_0_blocks(32), {}})
      .add({"blk.0.attn_k.weight", {32, 16}, 0, f32_ramp(512), {}})
      .add({"blk.0.attn_v.weight", {32, 16}, 0, f32_ramp(512), {}})
      .add({"blk.0.attn_output.weight", {32, 32}, 8, q8_0_blocks(32), {}})
      .add({"blk.0.ffn_norm.weight", {32}, 0, f32_ramp(32), {}})
      .add({"blk.0.ffn_gate.weight", {32, 64}, 8, q8_0_blocks(64), {}})
      .add({"blk.0.ffn_up.weight", {32, 64}, 8, q8_0_blocks(64), {}})
      .add({"blk.0.ffn_down.weight", {64, 32}, 8, q8_0_blocks(64), {}});
  return file;
}

}  // namespace assay::test
