#include "assay/kernels/host_layer_state.h"

#include <gtest/gtest.h>

#include <vector>

namespace assay {
namespace {

/// Of a position: head after head, every number another one.
std::vector<float> row(std::size_t position, float first) {
  std::vector<float> values(3 * 4);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = first + static_cast<float>(position * values.size() + i);
  return values;
}

void expect_rows(HostLayerState<float>& state, std::size_t positions) {
  for (std::size_t position = 0; position < positions; ++position)
    for (std::size_t head = 0; head < 3; ++head)
      for (std::size_t i = 0; i < 4; ++i) {
        EXPECT_EQ(state.keys(head)[position * 4 + i], row(position, 0)[head * 4 + i]);
        EXPECT_EQ(state.values(head)[position * 4 + i], row(position, 1000)[head * 4 + i]);
      }
}

// Both backends keep their states so: comparing one with the other cannot find a fault here.
TEST(HostLayerState, EveryHeadStaysWholeAsTheCacheGrowsAndIsCopied) {
  HostLayerState<float> state({3, 4, 0});
  for (std::size_t position = 0; position < 7; ++position) {
    state.reserve(position < 3 ? 3 : 7);
    state.put(position, row(position, 0).data(), row(position, 1000).data());
  }
  expect_rows(state, 7);
  HostLayerState<float> copy({3, 4, 0});
  copy.reserve(9);
  copy.copy_prefix(state, 5);
  expect_rows(copy, 5);
}

}  // namespace
}  // namespace assay
