#include "assay/kernels/cpu/attention.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "assay/kernels/cpu/elementwise.h"
#include "assay/kernels/host_layer_state.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/tasks.h"

namespace assay::cpu {
namespace {

constexpr std::size_t kQueryBlock = 128;     // queries per task: causality spares what lies behind the block
constexpr std::size_t kMaxScores = 1 << 20;  // scores a task holds at once; long contexts get smaller blocks

/// A run of queries of one head of one chunk.
struct AttentionTask {
  const LayerChunk* chunk;
  std::size_t head, first, count;  // queries [first, first + count) of the chunk
};

void split(std::span<const LayerChunk> chunks, std::size_t heads, std::vector<AttentionTask>& tasks) {
  tasks.clear();
  for (const LayerChunk& chunk : chunks) {
    const std::size_t length = chunk.start + chunk.count;
    const std::size_t block = std::clamp<std::size_t>(kMaxScores / length, 1, kQueryBlock);
    // The last queries see most keys: they go first, so that no thread is left with a long one at the end.
    for (std::size_t end = chunk.count; end > 0;) {
      const std::size_t count = std::min(block, end);
      end -= count;
      for (std::size_t head = 0; head < heads; ++head) tasks.push_back({&chunk, head, end, count});
    }
  }
}

void attend(const AttentionTask& task, const AttentionShape& shape, const float* queries, float* out) {
  const LayerChunk& chunk = *task.chunk;
  const std::size_t kv_offset = task.head / (shape.heads / shape.kv_heads) * shape.head_dim;
  const float* keys = host_state<float>(chunk).keys() + kv_offset;
  const float* values = host_state<float>(chunk).values() + kv_offset;
  const std::size_t row =
      (chunk.first_row + task.first) * shape.heads * shape.head_dim + task.head * shape.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));

  const std::size_t length = chunk.start + task.first + task.count;  // keys that the last query sees
  const int m = static_cast<int>(task.count), n = static_cast<int>(length),
            d = static_cast<int>(shape.head_dim);
  const int q_stride = static_cast<int>(shape.heads * shape.head_dim),
            kv_stride = static_cast<int>(shape.kv_heads * shape.head_dim);
  thread_local std::vector<float> scores;  // [count, length]
  scores.resize(task.count * length);

  if (task.count == 1) {
    cblas_sgemv(CblasRowMajor, CblasNoTrans, n, d, 1.0f, keys, kv_stride, queries + row, 1, 0.0f,
                scores.data(), 1);
    scaled_softmax(scores, scale);
    cblas_sgemv(CblasRowMajor, CblasTrans, n, d, 1.0f, values, kv_stride, scores.data(), 1, 0.0f, out + row,
                1);
    return;
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, d, 1.0f, queries + row, q_stride, keys,
              kv_stride, 0.0f, scores.data(), n);
  for (std::size_t i = 0; i < task.count; ++i) {
    const std::span<float> all = std::span(scores).subspan(i * length, length);
    const std::size_t visible = length - (task.count - 1 - i);
    scaled_softmax(all.first(visible), scale);
    std::fill(all.begin() + static_cast<std::ptrdiff_t>(visible), all.end(), 0.0f);
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, d, n, 1.0f, scores.data(), n, values, kv_stride,
              0.0f, out + row, q_stride);
}

}  // namespace

void append(std::span<const LayerChunk> chunks, const Rows& keys, const Rows& values) {
  const std::size_t width = keys.width();
  for (const LayerChunk& chunk : chunks) {
    HostLayerState<float>& state = host_state<float>(chunk);
    const std::size_t from = chunk.first_row * width, to = chunk.start * width, count = chunk.count * width;
    std::copy_n(host_values<float>(keys).data() + from, count, state.keys() + to);
    std::copy_n(host_values<float>(values).data() + from, count, state.values() + to);
  }
}

void attention(std::span<const LayerChunk> chunks, const AttentionShape& shape, const Rows& queries,
               const Rows& out) {
  thread_local std::vector<AttentionTask> tasks;  // kept between calls
  split(chunks, shape.heads, tasks);
  std::uint64_t work = 0;  // of scores and of mixing values
  for (const AttentionTask& task : tasks)
    work += 2 * task.count * (task.chunk->start + task.first + task.count) * shape.head_dim;
  const float* from = host_values<float>(queries).data();
  float* to = host_values<float>(out).data();
  const std::vector<AttentionTask>& all = tasks;  // of this thread, also within the loop's bodies
  for_each_task(all.size(), work, [&](std::size_t i) { attend(all[i], shape, from, to); });
}

}  // namespace assay::cpu
