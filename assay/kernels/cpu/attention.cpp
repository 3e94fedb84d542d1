#include "assay/kernels/cpu/attention.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "assay/formats/multiversion.h"
#include "assay/kernels/cpu/elementwise.h"
#include "assay/kernels/host_layer_state.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/tasks.h"

namespace assay::cpu {
namespace {

constexpr std::size_t kQueryBlock = 128;     // queries per task: causality spares what lies behind the block
constexpr std::size_t kMaxScores = 1 << 20;  // scores a task holds at once; long contexts get smaller blocks
constexpr std::size_t kFewQueries = 4;       // of a chunk, up to which a product is not worth setting up
// What a multiplication of few queries costs, beside one of a large product: keys and values are read for
// each.
constexpr std::uint64_t kFewQueriesCost = 4;

/// A run of queries of one head of one chunk; of a whole group of heads where there are few.
struct AttentionTask {
  const LayerChunk* chunk;
  std::size_t head, first, count;  // queries [first, first + count) of the chunk

  bool is_few() const { return chunk->count <= kFewQueries; }
  std::size_t length() const { return chunk->start + first + count; }  // keys that the last query sees
};

void split(std::span<const LayerChunk> chunks, const AttentionShape& shape,
           std::vector<AttentionTask>& tasks) {
  tasks.clear();
  const std::size_t group = shape.heads / shape.kv_heads;
  for (const LayerChunk& chunk : chunks) {
    if (chunk.count <= kFewQueries) {
      for (std::size_t head = 0; head < shape.heads; head += group)
        tasks.push_back({&chunk, head, 0, chunk.count});
      continue;
    }
    const std::size_t length = chunk.start + chunk.count;
    const std::size_t block = std::clamp<std::size_t>(kMaxScores / length, 1, kQueryBlock);
    // The last queries see most keys: they go first, so that no thread is left with a long one at the end.
    for (std::size_t end = chunk.count; end > 0;) {
      const std::size_t count = std::min(block, end);
      end -= count;
      for (std::size_t head = 0; head < shape.heads; ++head) tasks.push_back({&chunk, head, end, count});
    }
  }
}

constexpr std::size_t kQueryLanes = 16;

/// scores[i] = query . keys[i], keys [count, dim].
ASSAY_LOOP void score_loop(const float* query, const float* keys, std::size_t count, std::size_t dim,
                           float* scores) {
  for (std::size_t i = 0; i < count; ++i, keys += dim) {
    float lanes[kQueryLanes] = {};
    std::size_t d = 0;
    for (; d + kQueryLanes <= dim; d += kQueryLanes)
      for (std::size_t j = 0; j < kQueryLanes; ++j) lanes[j] += query[d + j] * keys[d + j];
    float rest = 0;
    for (; d < dim; ++d) rest += query[d] * keys[d];
    for (std::size_t half = kQueryLanes / 2; half > 0; half /= 2)
      for (std::size_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
    scores[i] = lanes[0] + rest;
  }
}
constexpr Multiversion<score_loop> score;

/// out[d] = sum over i of shares[i] * values[i][d], values [count, dim].
ASSAY_LOOP void mix_loop(const float* shares, const float* values, std::size_t count, std::size_t dim,
                         float* out) {
  constexpr std::size_t kWide = 2 * kQueryLanes;
  std::size_t d = 0;
  for (; d + kWide <= dim; d += kWide) {
    float lanes[kWide] = {};
    for (std::size_t i = 0; i < count; ++i)
      for (std::size_t j = 0; j < kWide; ++j) lanes[j] += shares[i] * values[i * dim + d + j];
    std::copy_n(lanes, kWide, out + d);
  }
  for (; d < dim; ++d) {
    float sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += shares[i] * values[i * dim + d];
    out[d] = sum;
  }
}
constexpr Multiversion<mix_loop> mix;

/// The queries of the heads that share keys and values, which so stay in a core's cache.
void attend_few(const AttentionTask& task, const AttentionShape& shape, const float* queries, float* out) {
  const std::size_t group = shape.heads / shape.kv_heads, dim = shape.head_dim;
  HostLayerState<float>& state = host_state<float>(*task.chunk);
  const float* keys = state.keys(task.head / group);
  const float* values = state.values(task.head / group);
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  thread_local std::vector<float> scores;
  for (std::size_t i = 0; i < task.count; ++i) {
    const std::size_t length = task.chunk->start + i + 1;
    scores.resize(length);
    for (std::size_t head = task.head; head < task.head + group; ++head) {
      const std::size_t at = ((task.chunk->first_row + i) * shape.heads + head) * dim;
      score(queries + at, keys, length, dim, scores.data());
      scaled_softmax(scores, scale);
      mix(scores.data(), values, length, dim, out + at);
    }
  }
}

void attend_many(const AttentionTask& task, const AttentionShape& shape, const float* queries, float* out) {
  const std::size_t kv_head = task.head / (shape.heads / shape.kv_heads), length = task.length();
  HostLayerState<float>& state = host_state<float>(*task.chunk);
  const std::size_t row =
      (task.chunk->first_row + task.first) * shape.heads * shape.head_dim + task.head * shape.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));

  const int m = static_cast<int>(task.count), n = static_cast<int>(length),
            d = static_cast<int>(shape.head_dim);
  const int stride = static_cast<int>(shape.heads * shape.head_dim);
  thread_local std::vector<float> scores;  // [count, length]
  scores.resize(task.count * length);

  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, d, 1.0f, queries + row, stride,
              state.keys(kv_head), d, 0.0f, scores.data(), n);
  for (std::size_t i = 0; i < task.count; ++i) {
    const std::span<float> all = std::span(scores).subspan(i * length, length);
    const std::size_t visible = length - (task.count - 1 - i);
    scaled_softmax(all.first(visible), scale);
    std::fill(all.begin() + static_cast<std::ptrdiff_t>(visible), all.end(), 0.0f);
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, d, n, 1.0f, scores.data(), n,
              state.values(kv_head), d, 0.0f, out + row, stride);
}

}  // namespace

void append(std::span<const LayerChunk> chunks, const Rows& keys, const Rows& values) {
  const std::size_t width = keys.width();
  for (const LayerChunk& chunk : chunks) {
    HostLayerState<float>& state = host_state<float>(chunk);
    for (std::size_t i = 0; i < chunk.count; ++i) {
      const std::size_t from = (chunk.first_row + i) * width;
      state.put(chunk.start + i, host_values<float>(keys).data() + from,
                host_values<float>(values).data() + from);
    }
  }
}

void attention(std::span<const LayerChunk> chunks, const AttentionShape& shape, const Rows& queries,
               const Rows& out) {
  thread_local std::vector<AttentionTask> tasks;  // kept between calls
  split(chunks, shape, tasks);
  std::uint64_t work = 0;  // of scores and of mixing values
  for (const AttentionTask& task : tasks)
    work += 2 * task.count * task.length() * shape.head_dim *
            (task.is_few() ? kFewQueriesCost * (shape.heads / shape.kv_heads) : 1);
  const float* from = host_values<float>(queries).data();
  float* to = host_values<float>(out).data();
  const std::vector<AttentionTask>& all = tasks;  // of this thread, also within the loop's bodies
  for_each_task(all.size(), work, [&](std::size_t i) {
    (all[i].is_few() ? attend_few : attend_many)(all[i], shape, from, to);
  });
}

}  // namespace assay::cpu
