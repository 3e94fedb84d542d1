#pragma once
// A small random model in memory, and its forward pass written a second time: float64, one token at a time,
// straight from the formulas of docs/formats.md, "Arithmetic of the blocks", sharing no code with the
// program.
#include <algorithm>
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
    for (const Plane& plane : layout.planes) planes.emplace_back(layout.bytes(plane, units));
    const std::vector<MutableBytes> views(planes.begin(), planes.end());
    tensor.format->pack(params, codes, views);
    for (const auto& plane : planes) add_plane(tensor, plane);
  }
};

/// What the layers keep of one sequence: the least that the forward pass needs.
class PlainState final : public SequenceState {
 public:
  explicit PlainState(const Model& model) {
    for (int layer = 0; layer < model.config().layers; ++layer)
      layers_.push_back(model.ops().layer_state(model.config().layer_state(layer)));
  }
  int length() const override { return length_; }
  void reserve(int count) override {
    for (const auto& layer : layers_) layer->reserve(static_cast<std::size_t>(length_ + count));
  }
  void commit(int count) override {
    length_ += count;
    if (count > 0)
      for (const auto& layer : layers_) layer->commit();
  }
  LayerState& layer(int layer) override { return *layers_[static_cast<std::size_t>(layer)]; }

 private:
  std::vector<std::unique_ptr<LayerState>> layers_;
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
      const BlockConfig& kind = c_.blocks[static_cast<std::size_t>(layer)];
      if (kind.mixer == MixerKind::attention)
        attention(block, x);
      else
        delta_net(block, x);
      for (Row& token : x) {
        const Row normed = gain_norm(token, block + "post_attention_layernorm.weight");
        add(token, kind.feed_forward == FeedForwardKind::dense ? mlp(block + "mlp", c_.intermediate, normed)
                                                               : mixture(block + "mlp", normed));
      }
    }
    std::vector<std::vector<double>> out;
    for (const Row& token : x)
      out.push_back(linear(c_.tied_head ? "model.embed_tokens" : "lm_head", c_.vocabulary,
                           gain_norm(token, "model.norm.weight")));
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
  /// A norm that may be stored less one.
  Row gain_norm(const Row& x, const std::string& name) const {
    Row y = norm(x, name);
    if (!c_.shifted_norms) return y;
    const Row w = row_of(name, 0, static_cast<int>(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) y[i] *= (1 + w[i]) / w[i];
    return y;
  }
  static double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }
  Row gated(Row gate, const Row& up) const {
    for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= sigmoid(gate[i]) * up[i];
    return gate;
  }
  Row mlp(const std::string& module, int inner, const Row& x) const {
    return linear(module + ".down_proj", c_.hidden,
                  gated(linear(module + ".gate_proj", inner, x), linear(module + ".up_proj", inner, x)));
  }

  /// Rows [first, first + rows) of a stack of matrices.
  Row stack_rows(const std::string& name, int first, int rows, const Row& x) const {
    Row y;
    for (int r = first; r < first + rows; ++r) {
      const Row w = row_of(name, r, static_cast<int>(x.size()));
      y.push_back(0);
      for (std::size_t k = 0; k < x.size(); ++k) y.back() += w[k] * x[k];
    }
    return y;
  }
  Row expert(const std::string& module, int e, const Row& x) const {
    const int inner = c_.mixture.intermediate;
    if (!model_.values.contains(module + ".experts.gate_up_proj"))
      return mlp(module + ".experts." + std::to_string(e), inner, x);
    const std::string both = module + ".experts.gate_up_proj";
    return stack_rows(
        module + ".experts.down_proj", e * c_.hidden, c_.hidden,
        gated(stack_rows(both, 2 * e * inner, inner, x), stack_rows(both, (2 * e + 1) * inner, inner, x)));
  }
  Row mixture(const std::string& module, const Row& x) const {
    const MixtureConfig& m = c_.mixture;
    Row shares = linear(module + ".gate", m.experts, x);
    double total = 0;
    for (double& share : shares) total += share = std::exp(share);
    Row sum(x.size());
    Row left = shares;
    std::vector<int> chosen;
    double chosen_total = 0;
    for (int i = 0; i < m.active; ++i) {
      const auto best = std::max_element(left.begin(), left.end());
      chosen.push_back(static_cast<int>(best - left.begin()));
      chosen_total += *best;
      *best = -1;
    }
    for (const int e : chosen) {
      const Row y = expert(module, e, x);
      const double share = shares[static_cast<std::size_t>(e)] / (m.normalise ? chosen_total : total);
      for (std::size_t i = 0; i < y.size(); ++i) sum[i] += share * y[i];
    }
    if (m.shared_intermediate > 0) {
      const Row y = mlp(module + ".shared_expert", m.shared_intermediate, x);
      const double share = sigmoid(linear(module + ".shared_expert_gate", 1, x)[0]);
      for (std::size_t i = 0; i < y.size(); ++i) sum[i] += share * y[i];
    }
    return sum;
  }

  static Row part(const Row& x, int first, int count) {
    return {x.begin() + first, x.begin() + first + count};
  }
  /// The l2 norm of queries and keys.
  static Row unit(Row x, double scale) {
    double squares = 0;
    for (const double v : x) squares += v * v;
    for (double& v : x) v *= scale / std::sqrt(squares + 1e-6);
    return x;
  }
  /// What enters a delta net: concatenated q, k, v before the convolution; z, b, a.
  struct DeltaInputs {
    Row mixed, z, b, a;
  };
  DeltaInputs delta_inputs(const std::string& module, const Row& x) const {
    const DeltaNetConfig& n = c_.delta_net;
    const int keys = n.key_heads * n.key_dim, values = n.value_heads * n.value_dim;
    if (!n.fused_projections)
      return {linear(module + ".in_proj_qkv", 2 * keys + values, x), linear(module + ".in_proj_z", values, x),
              linear(module + ".in_proj_b", n.value_heads, x),
              linear(module + ".in_proj_a", n.value_heads, x)};
    const int ratio = n.value_heads / n.key_heads, group = ratio * n.value_dim;
    const Row all = linear(module + ".in_proj_qkvz", 2 * keys + 2 * values, x);
    const Row pairs = linear(module + ".in_proj_ba", 2 * n.value_heads, x);
    Row q, k, v;
    DeltaInputs made;
    const auto append = [](Row& to, const Row& from) { to.insert(to.end(), from.begin(), from.end()); };
    for (int head = 0; head < n.key_heads; ++head) {
      const int at = head * (2 * n.key_dim + 2 * group);
      append(q, part(all, at, n.key_dim));
      append(k, part(all, at + n.key_dim, n.key_dim));
      append(v, part(all, at + 2 * n.key_dim, group));
      append(made.z, part(all, at + 2 * n.key_dim + group, group));
      append(made.b, part(pairs, 2 * head * ratio, ratio));
      append(made.a, part(pairs, (2 * head + 1) * ratio, ratio));
    }
    for (const Row* piece : {&q, &k, &v}) append(made.mixed, *piece);
    return made;
  }

  void delta_net(const std::string& block, std::vector<Row>& x) const {
    const DeltaNetConfig& n = c_.delta_net;
    const std::string module = block + "linear_attn";
    const int keys = n.key_heads * n.key_dim, channels = n.channels();
    std::vector<DeltaInputs> inputs;
    for (const Row& token : x)
      inputs.push_back(delta_inputs(module, gain_norm(token, block + "input_layernorm.weight")));
    std::vector<std::vector<Row>> states(
        static_cast<std::size_t>(n.value_heads),
        std::vector<Row>(static_cast<std::size_t>(n.value_dim), Row(static_cast<std::size_t>(n.key_dim))));
    const Row rates = row_of(module + ".A_log", 0, n.value_heads);
    const Row biases = row_of(module + ".dt_bias", 0, n.value_heads);
    for (std::size_t t = 0; t < x.size(); ++t) {
      Row mixed;
      for (int c = 0; c < channels; ++c) {
        const Row taps = row_of(module + ".conv1d.weight", c, n.kernel);
        double sum = 0;
        for (int i = 0; i < n.kernel; ++i) {
          const std::size_t lag = static_cast<std::size_t>(n.kernel - 1 - i);
          if (lag <= t)
            sum += taps[static_cast<std::size_t>(i)] * inputs[t - lag].mixed[static_cast<std::size_t>(c)];
        }
        mixed.push_back(sum * sigmoid(sum));
      }
      Row answers;
      for (int head = 0; head < n.value_heads; ++head) {
        const auto h = static_cast<std::size_t>(head);
        const int key_head = head / (n.value_heads / n.key_heads);
        const Row q = unit(part(mixed, key_head * n.key_dim, n.key_dim), 1 / std::sqrt(n.key_dim));
        const Row k = unit(part(mixed, keys + key_head * n.key_dim, n.key_dim), 1);
        const Row v = part(mixed, 2 * keys + head * n.value_dim, n.value_dim);
        const double beta = sigmoid(inputs[t].b[h]);
        const double decay = std::exp(-std::exp(rates[h]) * std::log1p(std::exp(inputs[t].a[h] + biases[h])));
        Row answer;
        for (std::size_t r = 0; r < v.size(); ++r) {
          Row& state = states[h][r];
          double held = 0;
          for (std::size_t j = 0; j < k.size(); ++j) held += decay * state[j] * k[j];
          answer.push_back(0);
          for (std::size_t j = 0; j < k.size(); ++j) {
            state[j] = decay * state[j] + beta * (v[r] - held) * k[j];
            answer.back() += state[j] * q[j];
          }
        }
        answer = norm(answer, module + ".norm.weight");
        for (std::size_t r = 0; r < answer.size(); ++r) {
          const double z = inputs[t].z[h * answer.size() + r];
          answers.push_back(answer[r] * z * sigmoid(z));
        }
      }
      add(x[t], linear(module + ".out_proj", c_.hidden, answers));
    }
  }

  static void add(Row& x, const Row& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  double frequency(int j) const {
    const double f = std::pow(c_.rope_theta, -2.0 * j / c_.rotary_dim);
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
  Row head(const Row& x, int offset, int position, const std::string& norm_name) const {
    Row h = part(x, offset, c_.head_dim);
    if (c_.query_key_norm) h = gain_norm(h, norm_name);
    Row y = h;
    for (int j = 0; j < c_.rotary_dim / 2; ++j) {
      const double angle = position * frequency(j);
      const auto low = static_cast<std::size_t>(j), high = static_cast<std::size_t>(j + c_.rotary_dim / 2);
      y[low] = h[low] * std::cos(angle) - h[high] * std::sin(angle);
      y[high] = h[low] * std::sin(angle) + h[high] * std::cos(angle);
    }
    return y;
  }

  void attention(const std::string& block, std::vector<Row>& x) const {
    const int d = c_.head_dim, q_width = c_.gated_query ? 2 * d : d;  // a head's gate lies behind its query
    std::vector<Row> q, k, v;
    for (const Row& token : x) {
      const Row normed = gain_norm(token, block + "input_layernorm.weight");
      q.push_back(linear(block + "self_attn.q_proj", c_.heads * q_width, normed));
      k.push_back(linear(block + "self_attn.k_proj", c_.kv_heads * d, normed));
      v.push_back(linear(block + "self_attn.v_proj", c_.kv_heads * d, normed));
    }
    for (std::size_t t = 0; t < x.size(); ++t) {
      Row mixed;
      for (int h = 0; h < c_.heads; ++h) {
        const int kv = h / (c_.heads / c_.kv_heads);
        const Row query = head(q[t], h * q_width, static_cast<int>(t), block + "self_attn.q_norm.weight");
        Row weights;
        double total = 0;
        for (std::size_t u = 0; u <= t; ++u) {
          const Row key = head(k[u], kv * d, static_cast<int>(u), block + "self_attn.k_norm.weight");
          double score = 0;
          for (std::size_t i = 0; i < key.size(); ++i) score += query[i] * key[i];
          weights.push_back(std::exp(score / std::sqrt(d)));
          total += weights.back();
        }
        for (int i = 0; i < d; ++i) {
          double sum = 0;
          for (std::size_t u = 0; u <= t; ++u)
            sum += weights[u] / total * v[u][static_cast<std::size_t>(kv * d + i)];
          if (c_.gated_query) sum *= sigmoid(q[t][static_cast<std::size_t>(h * q_width + d + i)]);
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
