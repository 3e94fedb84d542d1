#include "assay/model/attention.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>

#include "assay/base/float_buffer.h"
#include "assay/kernels/elementwise.h"
#include "assay/kernels/tasks.h"

namespace assay {

namespace {

constexpr std::size_t kQueryBlock = 128;     // queries per task: causality spares what lies behind the block
constexpr std::size_t kMaxScores = 1 << 20;  // scores a task holds at once; long contexts get smaller blocks

void rotate_heads(const RopeAngles& angles, std::size_t tokens, std::size_t heads, std::size_t head_dim,
                  std::span<float> x) {
  const auto rotate_token = [&](std::size_t token) {
    for (std::size_t h = 0; h < heads; ++h) angles.rotate(token, x.data() + (token * heads + h) * head_dim);
  };
  constexpr std::size_t kTokensPerTask = 32;
  if (tokens <= kTokensPerTask) {
    for (std::size_t token = 0; token < tokens; ++token) rotate_token(token);
    return;
  }
  parallel_for((tokens + kTokensPerTask - 1) / kTokensPerTask, [&](std::size_t task) {
    const std::size_t end = std::min(tokens, (task + 1) * kTokensPerTask);
    for (std::size_t token = task * kTokensPerTask; token < end; ++token) rotate_token(token);
  });
}

}  // namespace

Attention::Attention(const ModelConfig& config, WeightLoader& loader, const std::string& module, int layer)
    : layer_(layer),
      heads_(static_cast<std::size_t>(config.heads)),
      kv_heads_(static_cast<std::size_t>(config.kv_heads)),
      head_dim_(static_cast<std::size_t>(config.head_dim)),
      gated_(config.gated_query),
      epsilon_(config.norm_epsilon) {
  const auto hidden = static_cast<std::uint64_t>(config.hidden);
  const bool bias = config.attention_bias;
  query_ = loader.projection(module + ".q_proj", (gated_ ? 2 : 1) * heads_ * head_dim_, hidden, bias);
  key_ = loader.projection(module + ".k_proj", kv_heads_ * head_dim_, hidden, bias);
  value_ = loader.projection(module + ".v_proj", kv_heads_ * head_dim_, hidden, bias);
  output_ = loader.projection(module + ".o_proj", hidden, heads_ * head_dim_, config.output_bias);
  if (config.query_key_norm) {
    query_norm_ = loader.norm(module + ".q_norm.weight", head_dim_, config.shifted_norms);
    key_norm_ = loader.norm(module + ".k_norm.weight", head_dim_, config.shifted_norms);
  }
}

double Attention::flops_per_token() const {
  return query_.flops_per_token() + key_.flops_per_token() + value_.flops_per_token() +
         output_.flops_per_token();
}

Attention::Queries Attention::project_queries(std::span<const float> x, std::size_t tokens) const {
  const std::size_t width = heads_ * head_dim_;
  Queries made{FloatBuffer(tokens * width), FloatBuffer(gated_ ? tokens * width : 0)};
  if (!gated_) {
    query_.forward(x, tokens, made.queries);
    return made;
  }
  FloatBuffer both(2 * tokens * width);
  query_.forward(x, tokens, both);
  const float* from = both.data();
  for (std::size_t head = 0; head < tokens * heads_; ++head, from += 2 * head_dim_) {
    std::copy_n(from, head_dim_, made.queries.data() + head * head_dim_);
    std::copy_n(from + head_dim_, head_dim_, made.gates.data() + head * head_dim_);
  }
  return made;
}

void Attention::forward(const Batch& batch, std::span<const float> x, std::span<float> out) const {
  const std::size_t tokens = batch.tokens;
  Queries projected = project_queries(x, tokens);
  FloatBuffer& queries = projected.queries;
  FloatBuffer keys(tokens * kv_heads_ * head_dim_), values(tokens * kv_heads_ * head_dim_);
  key_.forward(x, tokens, keys);
  value_.forward(x, tokens, values);
  if (!query_norm_.empty()) {
    rms_norm(queries, query_norm_, epsilon_, queries);
    rms_norm(keys, key_norm_, epsilon_, keys);
  }
  rotate_heads(batch.angles, tokens, heads_, head_dim_, queries);
  rotate_heads(batch.angles, tokens, kv_heads_, head_dim_, keys);
  append_keys_and_values(batch, keys, values);

  FloatBuffer mixed(tokens * heads_ * head_dim_);
  const std::vector<Task> tasks = split(batch);
  std::uint64_t work = 0;  // of scores and of mixing values
  for (const Task& task : tasks)
    work += 2 * task.count * (task.chunk->start + task.first + task.count) * head_dim_;
  for_each_task(tasks.size(), work, [&](std::size_t i) { attend(tasks[i], queries, mixed); });
  if (gated_) sigmoid_multiply(mixed, projected.gates);
  output_.forward(mixed, tokens, out);
}

std::vector<Attention::Task> Attention::split(const Batch& batch) const {
  std::vector<Task> tasks;
  for (const BatchChunk& chunk : batch.chunks) {
    const std::size_t length = chunk.start + chunk.count;
    const std::size_t block = std::clamp<std::size_t>(kMaxScores / length, 1, kQueryBlock);
    // The last queries see most keys: they go first, so that no thread is left with a long one at the end.
    for (std::size_t end = chunk.count; end > 0;) {
      const std::size_t count = std::min(block, end);
      end -= count;
      for (std::size_t head = 0; head < heads_; ++head) tasks.push_back({&chunk, head, end, count});
    }
  }
  return tasks;
}

void Attention::append_keys_and_values(const Batch& batch, std::span<const float> keys,
                                       std::span<const float> values) const {
  const std::size_t width = kv_heads_ * head_dim_;
  for (const BatchChunk& chunk : batch.chunks) {
    const std::size_t from = chunk.first_row * width, to = chunk.start * width, count = chunk.count * width;
    std::copy_n(keys.begin() + static_cast<std::ptrdiff_t>(from), count,
                chunk.state->keys(layer_).subspan(to).begin());
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(from), count,
                chunk.state->values(layer_).subspan(to).begin());
  }
}

void Attention::attend(const Task& task, std::span<const float> queries, std::span<float> out) const {
  const BatchChunk& chunk = *task.chunk;
  const std::size_t kv_offset = task.head / (heads_ / kv_heads_) * head_dim_;
  const float* keys = chunk.state->keys(layer_).data() + kv_offset;
  const float* values = chunk.state->values(layer_).data() + kv_offset;
  const std::size_t row = (chunk.first_row + task.first) * heads_ * head_dim_ + task.head * head_dim_;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim_));

  const std::size_t length = chunk.start + task.first + task.count;  // keys that the last query sees
  const int m = static_cast<int>(task.count), n = static_cast<int>(length), d = static_cast<int>(head_dim_);
  const int q_stride = static_cast<int>(heads_ * head_dim_),
            kv_stride = static_cast<int>(kv_heads_ * head_dim_);
  thread_local std::vector<float> scores;  // [count, length]
  scores.resize(task.count * length);

  if (task.count == 1) {
    cblas_sgemv(CblasRowMajor, CblasNoTrans, n, d, 1.0f, keys, kv_stride, queries.data() + row, 1, 0.0f,
                scores.data(), 1);
    scaled_softmax(scores, scale);
    cblas_sgemv(CblasRowMajor, CblasTrans, n, d, 1.0f, values, kv_stride, scores.data(), 1, 0.0f,
                out.data() + row, 1);
    return;
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, d, 1.0f, queries.data() + row, q_stride, keys,
              kv_stride, 0.0f, scores.data(), n);
  for (std::size_t i = 0; i < task.count; ++i) {
    const std::span<float> all = std::span(scores).subspan(i * length, length);
    const std::size_t visible = length - (task.count - 1 - i);
    scaled_softmax(all.first(visible), scale);
    std::fill(all.begin() + static_cast<std::ptrdiff_t>(visible), all.end(), 0.0f);
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, d, n, 1.0f, scores.data(), n, values, kv_stride,
              0.0f, out.data() + row, q_stride);
}

}  // namespace assay
