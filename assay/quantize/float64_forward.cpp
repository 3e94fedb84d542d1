#include "assay/quantize/float64_forward.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <complex>
#include <functional>
#include <string>
#include <utility>

#include "assay/base/error.h"
#include "assay/model/model.h"
#include "assay/model/roles.h"
#include "assay/model/rope.h"
#include "assay/parallel/threads.h"
#include "assay/quantize/rotation_plan.h"
#include "assay/storage/tensor_blocks.h"

namespace assay {
namespace {

/// The activations of a few tokens, feature by feature: [features, tokens].
using Activations = std::vector<double>;

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

class Forward {
 public:
  Forward(const Checkpoint& checkpoint, std::span<const std::int32_t> tokens)
      : checkpoint_(checkpoint),
        config_(model_config_of(checkpoint)),
        convention_(norm_gain(config_)),
        tokens_(tokens),
        frequencies_(rope_frequencies(config_.rotary_dim, config_.rope_theta, config_.rope_scaling)) {}
  Float64Forward run() const;

 private:
  std::size_t width() const { return tokens_.size(); }
  std::string name_of(Role role) const;
  const Tensor& take(const std::string& name, const Shape& shape) const;
  Activations embed(const std::string& name) const;
  Activations linear(const std::string& weight, int rows, int columns, const Activations& x) const;
  /// `module`.weight and its bias.
  Activations project(const std::string& module, int rows, int columns, bool bias,
                      const Activations& x) const;
  /// RMS norm of every run of `size` features.
  Activations norm(const std::string& name, int size, Activations x, NormGain convention) const;
  Activations norm(const std::string& name, int size, Activations x) const {
    return norm(name, size, std::move(x), convention_);
  }
  void rotate_positions(Activations& x) const;
  Activations attend(const Activations& queries, const Activations& keys, const Activations& values) const;
  Activations attention(const std::string& module, const Activations& x) const;
  /// What enters a delta net: q, k and v before the convolution, the output gate, and of each value head what
  /// becomes beta and decay.
  struct DeltaInputs {
    Activations mixed, gate, beta, decay;
  };
  DeltaInputs delta_inputs(const std::string& module, const Activations& x) const;
  Activations convolve(const std::string& name, const Activations& mixed) const;
  Activations delta_net(const std::string& module, const Activations& x) const;
  Activations mlp(const std::string& module, const Activations& x) const;

  const Checkpoint& checkpoint_;
  ModelConfig config_;
  NormGain convention_;
  std::span<const std::int32_t> tokens_;
  std::vector<double> frequencies_;
};

std::string Forward::name_of(Role role) const {
  for (const Tensor& tensor : checkpoint_.tensors)
    if (classify_tensor(tensor.name) == role) return tensor.name;
  fail("{}: no tensor of role {}", checkpoint_.path, role_name(role));
}

const Tensor& Forward::take(const std::string& name, const Shape& shape) const {
  const Tensor& tensor = checkpoint_.at(name);
  if (tensor.shape != shape)
    fail("{}: tensor {}: shape is {}, the config says {}", tensor.file, name, shape_text(tensor.shape),
         shape_text(shape));
  return tensor;
}

Activations Forward::embed(const std::string& name) const {
  const auto hidden = static_cast<std::uint64_t>(config_.hidden);
  const auto vocabulary = static_cast<std::uint64_t>(config_.vocabulary);
  const Tensor& embedding = take(name, {vocabulary, hidden});
  Activations x(hidden * width());
  for (std::size_t t = 0; t < width(); ++t) {
    const auto row = static_cast<std::uint64_t>(tokens_[t]);
    assert(row < vocabulary);
    const Activations values = row_panel(embedding, row, 1);
    for (std::size_t j = 0; j < hidden; ++j) x[j * width() + t] = values[j];
  }
  return x;
}

Activations Forward::linear(const std::string& weight, int rows, int columns, const Activations& x) const {
  const auto n = static_cast<std::uint64_t>(rows), k = static_cast<std::uint64_t>(columns);
  const Tensor& tensor = take(weight, {n, k});
  Activations y(n * width());
  const auto blocks = row_blocks(*tensor.format, {n, k});
  parallel_for(blocks.size(), [&](std::size_t b) {
    std::vector<float> w(blocks[b].rows * k);
    decode_rows(tensor, blocks[b].first_row, blocks[b].rows, w);
    for (std::uint64_t r = 0; r < blocks[b].rows; ++r) {
      double* out = y.data() + (blocks[b].first_row + r) * width();
      for (std::uint64_t j = 0; j < k; ++j)
        for (std::size_t t = 0; t < width(); ++t)
          out[t] += static_cast<double>(w[r * k + j]) * x[j * width() + t];
    }
  });
  return y;
}

Activations Forward::project(const std::string& module, int rows, int columns, bool bias,
                             const Activations& x) const {
  Activations y = linear(module + ".weight", rows, columns, x);
  if (!bias) return y;
  const std::vector<float> values = decode_all(take(module + ".bias", {static_cast<std::uint64_t>(rows)}));
  for (std::size_t i = 0; i < y.size(); ++i) y[i] += static_cast<double>(values[i / width()]);
  return y;
}

Activations Forward::norm(const std::string& name, int size, Activations x, NormGain convention) const {
  const auto run = static_cast<std::size_t>(size) * width();
  const std::vector<float> weight = decode_all(take(name, {static_cast<std::uint64_t>(size)}));
  for (std::size_t first = 0; first < x.size(); first += run) {
    const std::span<double> part = std::span(x).subspan(first, run);
    for (std::size_t t = 0; t < width(); ++t) {
      double squares = 0;
      for (std::size_t i = t; i < run; i += width()) squares += part[i] * part[i];
      const double factor = 1 / std::sqrt(squares / size + static_cast<double>(config_.norm_epsilon));
      for (std::size_t i = t; i < run; i += width()) part[i] *= factor;
    }
    fuse_norm(part, weight, convention);
  }
  return x;
}

void Forward::rotate_positions(Activations& x) const {
  const std::size_t pairs = frequencies_.size();
  for (std::size_t head = 0; head < x.size(); head += static_cast<std::size_t>(config_.head_dim) * width())
    for (std::size_t j = 0; j < pairs; ++j)
      for (std::size_t t = 0; t < width(); ++t) {
        double &low = x[head + j * width() + t], &high = x[head + (j + pairs) * width() + t];
        const std::complex<double> turned =
            std::complex(low, high) * std::polar(1.0, static_cast<double>(t) * frequencies_[j]);
        low = turned.real();
        high = turned.imag();
      }
}

Activations Forward::attend(const Activations& queries, const Activations& keys,
                            const Activations& values) const {
  const auto dim = static_cast<std::size_t>(config_.head_dim),
             heads = static_cast<std::size_t>(config_.heads);
  const std::size_t shared = heads / static_cast<std::size_t>(config_.kv_heads);
  Activations mixed(queries.size());
  for (std::size_t h = 0; h < heads; ++h) {
    const std::size_t q = h * dim * width(), kv = h / shared * dim * width();
    for (std::size_t t = 0; t < width(); ++t) {
      std::vector<double> shares(t + 1);
      double total = 0;
      for (std::size_t u = 0; u <= t; ++u) {
        double score = 0;
        for (std::size_t i = 0; i < dim; ++i)
          score += queries[q + i * width() + t] * keys[kv + i * width() + u];
        shares[u] = score / std::sqrt(static_cast<double>(dim));
      }
      const double highest = *std::ranges::max_element(shares);
      for (double& share : shares) {
        share = std::exp(share - highest);
        total += share;
      }
      for (std::size_t i = 0; i < dim; ++i)
        for (std::size_t u = 0; u <= t; ++u)
          mixed[q + i * width() + t] += shares[u] / total * values[kv + i * width() + u];
    }
  }
  return mixed;
}

Activations Forward::attention(const std::string& module, const Activations& x) const {
  const int dim = config_.head_dim, q = config_.heads * dim, kv = config_.kv_heads * dim;
  const bool bias = config_.attention_bias;
  Activations queries =
      project(module + "q_proj", (config_.gated_query ? 2 : 1) * q, config_.hidden, bias, x);
  Activations gates;
  if (config_.gated_query) {  // behind each head's query
    const Activations both = std::move(queries);
    const std::size_t run = static_cast<std::size_t>(dim) * width();
    queries.clear();
    for (auto at = both.begin(); at != both.end(); at += static_cast<std::ptrdiff_t>(2 * run)) {
      const auto middle = at + static_cast<std::ptrdiff_t>(run);
      queries.insert(queries.end(), at, middle);
      gates.insert(gates.end(), middle, middle + static_cast<std::ptrdiff_t>(run));
    }
  }
  Activations keys = project(module + "k_proj", kv, config_.hidden, bias, x);
  if (config_.query_key_norm) {
    queries = norm(module + "q_norm.weight", dim, std::move(queries));
    keys = norm(module + "k_norm.weight", dim, std::move(keys));
  }
  rotate_positions(queries);
  rotate_positions(keys);
  Activations mixed = attend(queries, keys, project(module + "v_proj", kv, config_.hidden, bias, x));
  for (std::size_t i = 0; i < gates.size(); ++i) mixed[i] *= sigmoid(gates[i]);
  return project(module + "o_proj", config_.hidden, q, config_.output_bias, mixed);
}

Forward::DeltaInputs Forward::delta_inputs(const std::string& module, const Activations& x) const {
  const DeltaNetConfig& net = config_.delta_net;
  const int hidden = config_.hidden, values = net.value_heads * net.value_dim;
  if (!net.fused_projections)
    return {project(module + "in_proj_qkv", net.channels(), hidden, false, x),
            project(module + "in_proj_z", values, hidden, false, x),
            project(module + "in_proj_b", net.value_heads, hidden, false, x),
            project(module + "in_proj_a", net.value_heads, hidden, false, x)};
  // By key head: q, k, v and z of its value heads; b and a.
  const Activations all = project(module + "in_proj_qkvz", net.channels() + values, hidden, false, x);
  const Activations pairs = project(module + "in_proj_ba", 2 * net.value_heads, hidden, false, x);
  const int ratio = net.value_heads / net.key_heads, group = ratio * net.value_dim;
  Activations q, k, v;
  DeltaInputs made;
  const auto append = [&](Activations& to, const Activations& from, int first, int count) {
    const auto begin = from.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(first) * width());
    to.insert(to.end(), begin,
              begin + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(count) * width()));
  };
  for (int head = 0; head < net.key_heads; ++head) {
    const int at = head * 2 * (net.key_dim + group);
    append(q, all, at, net.key_dim);
    append(k, all, at + net.key_dim, net.key_dim);
    append(v, all, at + 2 * net.key_dim, group);
    append(made.gate, all, at + 2 * net.key_dim + group, group);
    append(made.beta, pairs, 2 * head * ratio, ratio);
    append(made.decay, pairs, (2 * head + 1) * ratio, ratio);
  }
  for (const Activations* piece : {&q, &k, &v})
    made.mixed.insert(made.mixed.end(), piece->begin(), piece->end());
  return made;
}

/// The causal convolution of every channel, and silu.
Activations Forward::convolve(const std::string& name, const Activations& mixed) const {
  const std::vector<float> taps = decode_all(checkpoint_.at(name));
  const auto kernel = static_cast<std::size_t>(config_.delta_net.kernel);
  Activations y(mixed.size());
  for (std::size_t channel = 0; channel < mixed.size() / width(); ++channel)
    for (std::size_t t = 0; t < width(); ++t) {
      double sum = 0;
      for (std::size_t lag = 0; lag < kernel && lag <= t; ++lag)
        sum += static_cast<double>(taps[channel * kernel + kernel - 1 - lag]) *
               mixed[channel * width() + t - lag];
      y[channel * width() + t] = sum * sigmoid(sum);
    }
  return y;
}

Activations Forward::delta_net(const std::string& module, const Activations& x) const {
  const DeltaNetConfig& net = config_.delta_net;
  const auto key_dim = static_cast<std::size_t>(net.key_dim),
             value_dim = static_cast<std::size_t>(net.value_dim);
  const auto heads = static_cast<std::size_t>(net.value_heads),
             ratio = heads / static_cast<std::size_t>(net.key_heads);
  const DeltaInputs inputs = delta_inputs(module, x);
  const Activations mixed = convolve(module + "conv1d.weight", inputs.mixed);
  const std::vector<float> rates = decode_all(take(module + "A_log", {heads}));
  const std::vector<float> biases = decode_all(take(module + "dt_bias", {heads}));
  const std::size_t keys = static_cast<std::size_t>(net.key_heads) * key_dim;
  Activations answers(heads * value_dim * width());
  for (std::size_t h = 0; h < heads; ++h) {
    std::vector<double> state(value_dim * key_dim);
    for (std::size_t t = 0; t < width(); ++t) {
      /// Feature `first + j` at this token, divided by the run's length.
      const auto unit = [&](std::size_t first, double scale) {
        std::vector<double> run(key_dim);
        double squares = 1e-6;
        for (std::size_t j = 0; j < key_dim; ++j) {
          run[j] = mixed[(first + j) * width() + t];
          squares += run[j] * run[j];
        }
        for (double& value : run) value *= scale / std::sqrt(squares);
        return run;
      };
      const std::vector<double> query =
          unit(h / ratio * key_dim, 1 / std::sqrt(static_cast<double>(net.key_dim)));
      const std::vector<double> key = unit(keys + h / ratio * key_dim, 1);
      const double beta = sigmoid(inputs.beta[h * width() + t]);
      const double step =
          std::log1p(std::exp(inputs.decay[h * width() + t] + static_cast<double>(biases[h])));
      const double decay = std::exp(-std::exp(static_cast<double>(rates[h])) * step);
      for (std::size_t r = 0; r < value_dim; ++r) {
        double* row = state.data() + r * key_dim;
        double held = 0, answer = 0;
        for (std::size_t j = 0; j < key_dim; ++j) held += (row[j] *= decay) * key[j];
        const double correction = beta * (mixed[(2 * keys + h * value_dim + r) * width() + t] - held);
        for (std::size_t j = 0; j < key_dim; ++j) answer += (row[j] += correction * key[j]) * query[j];
        answers[(h * value_dim + r) * width() + t] = answer;
      }
    }
  }
  answers = norm(module + "norm.weight", net.value_dim, std::move(answers), NormGain::plain);
  for (std::size_t i = 0; i < answers.size(); ++i) answers[i] *= inputs.gate[i] * sigmoid(inputs.gate[i]);
  return project(module + "out_proj", config_.hidden, net.value_heads * net.value_dim, false, answers);
}

Activations Forward::mlp(const std::string& module, const Activations& x) const {
  const int hidden = config_.hidden, size = config_.intermediate;
  Activations gate = project(module + "gate_proj", size, hidden, config_.mlp_bias, x);
  const Activations up = project(module + "up_proj", size, hidden, config_.mlp_bias, x);
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] * sigmoid(gate[i]);
  return project(module + "down_proj", hidden, size, config_.mlp_bias, gate);
}

Float64Forward Forward::run() const {
  const std::string embedding = name_of(Role::embedding);
  const std::string prefix = embedding.substr(0, embedding.rfind("embed_tokens.weight"));
  const auto add = [](Activations& x, const Activations& delta) {
    std::ranges::transform(x, delta, x.begin(), std::plus());
  };
  Float64Forward result;
  Activations x = embed(embedding);
  result.residual.push_back(x);
  for (int n = 0; n < config_.layers; ++n) {
    const std::string layer = fmt::format("{}layers.{}.", prefix, n);
    const Activations normed = norm(layer + "input_layernorm.weight", config_.hidden, x);
    add(x, config_.blocks[static_cast<std::size_t>(n)].mixer == MixerKind::attention
               ? attention(layer + "self_attn.", normed)
               : delta_net(layer + "linear_attn.", normed));
    add(x, mlp(layer + "mlp.", norm(layer + "post_attention_layernorm.weight", config_.hidden, x)));
    result.residual.push_back(x);
  }
  const Activations normed = norm(prefix + "norm.weight", config_.hidden, x);
  result.logits =
      linear(config_.tied_head ? embedding : name_of(Role::head), config_.vocabulary, config_.hidden, normed);
  return result;
}

}  // namespace

Float64Forward forward_float64(const Checkpoint& checkpoint, std::span<const std::int32_t> tokens) {
  return Forward(checkpoint, tokens).run();
}

}  // namespace assay
