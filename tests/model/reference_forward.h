#pragma once
// A small random model in memory, and its forward pass written a second time: float64, one token at a time,
// straight from the formulas of FORMATS.md section 7, sharing no code with the program.
#include <cmath>
#include <cstring>
#include <map>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "assay/formats/table.h"
#include "assay/model/model.h"
#include "assay/model/roles.h"

namespace assay::test {

/// A checkpoint whose tensors are f32 arrays in memory.
struct MemoryModel {
  Json config;
  std::map<std::string, std::vector<float>> values;
  std::map<std::string, Shape> shapes;

  /// Random weights for every tensor that the config asks for.
  explicit MemoryModel(Json json, unsigned seed = 1) : config(std::move(json)) {
    std::mt19937 random(seed);
    const auto tensors = expected_tensors(config);
    for (const ExpectedTensor& tensor : *tensors) add(tensor.name, tensor.shape, random);
  }

  void add(const std::string& name, const Shape& shape, std::mt19937& random) {
    const bool norm = shape.size() == 1 && name.ends_with(".weight");
    std::normal_distribution<float> normal(norm ? 1.0f : 0.0f, 0.25f);
    std::uint64_t elements = 1;
    for (const std::uint64_t dim : shape) elements *= dim;
    values[name].resize(elements);
    shapes[name] = shape;
    for (float& value : values[name]) value = normal(random);
  }

  /// The model with its matrices in a format (rounded by the format's own rule), everything else in f32.
  CheckpointPtr checkpoint(const std::string& matrix_format = "f32") const {
    auto made = std::make_shared<Checkpoint>();
    made->path = "memory";
    made->config = config;
    for (const auto& [name, data] : values) {
      Tensor tensor;
      tensor.name = name;
      tensor.shape = shapes.at(name);
      tensor.file = "memory/model";
      tensor.format = find_format(tensor.shape.size() == 2 ? matrix_format : "f32");
      if (tensor.format->name() == "f32")
        add_plane(tensor, std::as_bytes(std::span(data)));
      else
        pack(tensor, data);
      made->tensors.push_back(std::move(tensor));
    }
    return made;
  }

 private:
  static void add_plane(Tensor& tensor, Bytes bytes) {
    const auto owner = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
    tensor.planes.emplace_back(*owner);
    tensor.owners.push_back(owner);
  }
  static void pack(Tensor& tensor, std::span<const float> data) {
    const MatrixShape shape = as_matrix(tensor.shape);
    const Layout layout = tensor.format->layout(shape.columns);
    const std::uint64_t units = unit_count(layout, shape.rows, shape.columns);
    std::vector<Params> params(layout.has_params ? units : 0);
    std::vector<Code> codes(units * layout.run);
    tensor.format->reference(data, params, codes);
    std::vector<std::vector<std::byte>> planes;
    for (const Plane& plane : layout.planes) planes.emplace_back(units * plane.bytes_per_unit);
    const std::vector<MutableBytes> views(planes.begin(), planes.end());
    tensor.format->pack(params, codes, views);
    for (const auto& plane : planes) add_plane(tensor, plane);
  }
};

/// Keys and values of one sequence: the least that the forward pass needs.
class PlainState final : public SequenceState {
 public:
  explicit PlainState(const ModelConfig& config)
      : width_(static_cast<std::size_t>(config.kv_heads * config.head_dim)),
        keys_(static_cast<std::size_t>(config.layers)),
        values_(keys_.size()) {}
  int length() const override { return length_; }
  void reserve(int count) override {
    for (auto* side : {&keys_, &values_})
      for (auto& layer : *side) layer.resize(static_cast<std::size_t>(length_ + count) * width_);
  }
  void commit(int count) override { length_ += count; }
  std::span<float> keys(int layer) override { return keys_[static_cast<std::size_t>(layer)]; }
  std::span<float> values(int layer) override { return values_[static_cast<std::size_t>(layer)]; }

 private:
  std::size_t width_;
  std::vector<std::vector<float>> keys_, values_;
  int length_ = 0;
};

class ReferenceForward {
 public:
  ReferenceForward(const MemoryModel& model, const ModelConfig& config) : model_(model), c_(config) {}

  /// Logits [tokens][vocabulary] of one sequence.
  std::vector<std::vector<double>> logits(const std::vector<std::int32_t>& tokens) const {
    std::vector<Row> x;
    for (const std::int32_t token : tokens)
      x.push_back(row_of("model.embed_tokens.weight", token, c_.hidden));
    for (int layer = 0; layer < c_.layers; ++layer) {
      const std::string block = "model.layers." + std::to_string(layer) + ".";
      attention(block, x);
      for (Row& token : x) {
        const Row normed = norm(token, block + "post_attention_layernorm.weight");
        Row gate = linear(block + "mlp.gate_proj", c_.intermediate, normed);
        const Row up = linear(block + "mlp.up_proj", c_.intermediate, normed);
        for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
        add(token, linear(block + "mlp.down_proj", c_.hidden, gate));
      }
    }
    std::vector<std::vector<double>> out;
    for (const Row& token : x)
      out.push_back(linear(c_.tied_head ? "model.embed_tokens" : "lm_head", c_.vocabulary,
                           norm(token, "model.norm.weight")));
    return out;
  }

 private:
  using Row = std::vector<double>;

  Row row_of(const std::string& name, int index, int width) const {
    const auto& data = model_.values.at(name);
    return {data.begin() + index * width, data.begin() + (index + 1) * width};
  }
  Row linear(const std::string& module, int rows, const Row& x) const {
    const auto& w = model_.values.at(module + ".weight");
    Row y(static_cast<std::size_t>(rows));
    for (std::size_t r = 0; r < y.size(); ++r)
      for (std::size_t k = 0; k < x.size(); ++k) y[r] += static_cast<double>(w[r * x.size() + k]) * x[k];
    const auto bias = model_.values.find(module + ".bias");
    if (bias != model_.values.end())
      for (std::size_t r = 0; r < y.size(); ++r) y[r] += static_cast<double>(bias->second[r]);
    return y;
  }
  Row norm(const Row& x, const std::string& name) const {
    const auto& w = model_.values.at(name);
    double squares = 0;
    for (const double v : x) squares += v * v;
    const double factor =
        1 / std::sqrt(squares / static_cast<double>(x.size()) + static_cast<double>(c_.norm_epsilon));
    Row y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = x[i] * factor * static_cast<double>(w[i]);
    return y;
  }
  static void add(Row& x, const Row& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  double frequency(int j) const {
    const double f = std::pow(c_.rope_theta, -2.0 * j / c_.head_dim);
    if (!c_.rope_scaling) return f;
    const auto& s = *c_.rope_scaling;
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength > s.original_length / s.low_frequency_factor) return f / s.factor;
    if (wavelength < s.original_length / s.high_frequency_factor) return f;
    const double t = (s.original_length / wavelength - s.low_frequency_factor) /
                     (s.high_frequency_factor - s.low_frequency_factor);
    return (1 - t) * f / s.factor + t * f;
  }
  /// The head of `x` that starts at `offset`, normed where the model does and rotated to `position`.
  Row head(const Row& x, int index, int position, const std::string& norm_name) const {
    const int d = c_.head_dim;
    Row h(x.begin() + index * d, x.begin() + (index + 1) * d);
    if (c_.query_key_norm) h = norm(h, norm_name);
    Row y = h;
    for (int j = 0; j < d / 2; ++j) {
      const double angle = position * frequency(j);
      const auto low = static_cast<std::size_t>(j), high = static_cast<std::size_t>(j + d / 2);
      y[low] = h[low] * std::cos(angle) - h[high] * std::sin(angle);
      y[high] = h[low] * std::sin(angle) + h[high] * std::cos(angle);
    }
    return y;
  }

  void attention(const std::string& block, std::vector<Row>& x) const {
    const int d = c_.head_dim;
    std::vector<Row> q, k, v;
    for (const Row& token : x) {
      const Row normed = norm(token, block + "input_layernorm.weight");
      q.push_back(linear(block + "self_attn.q_proj", c_.heads * d, normed));
      k.push_back(linear(block + "self_attn.k_proj", c_.kv_heads * d, normed));
      v.push_back(linear(block + "self_attn.v_proj", c_.kv_heads * d, normed));
    }
    for (std::size_t t = 0; t < x.size(); ++t) {
      Row mixed;
      for (int h = 0; h < c_.heads; ++h) {
        const int kv = h / (c_.heads / c_.kv_heads);
        const Row query = head(q[t], h, static_cast<int>(t), block + "self_attn.q_norm.weight");
        Row weights;
        double total = 0;
        for (std::size_t u = 0; u <= t; ++u) {
          const Row key = head(k[u], kv, static_cast<int>(u), block + "self_attn.k_norm.weight");
          double score = 0;
          for (std::size_t i = 0; i < key.size(); ++i) score += query[i] * key[i];
          weights.push_back(std::exp(score / std::sqrt(d)));
          total += weights.back();
        }
        for (int i = 0; i < d; ++i) {
          double sum = 0;
          for (std::size_t u = 0; u <= t; ++u)
            sum += weights[u] / total * v[u][static_cast<std::size_t>(kv * d + i)];
          mixed.push_back(sum);
        }
      }
      add(x[t], linear(block + "self_attn.o_proj", c_.hidden, mixed));
    }
  }

  const MemoryModel& model_;
  const ModelConfig& c_;
};

}  // namespace assay::test
