#include "assay/kernels/workspace.h"

#include <algorithm>

namespace assay {

std::byte* Workspace::take_bytes(std::size_t bytes) {
  constexpr std::size_t kRowAlignment = 64;
  const std::size_t wanted = (bytes + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
  while (block_ < blocks_.size()) {
    if (wanted <= blocks_[block_].size() - used_) {
      std::byte* data = blocks_[block_].data() + used_;
      used_ += wanted;
      return data;
    }
    if (block_ + 1 == blocks_.size()) break;
    ++block_;
    used_ = 0;
  }
  // Small blocks double, so that a few serve every pass; a large one is as large as what it is for.
  const std::size_t doubled = blocks_.empty() ? kSmallestBlock : std::min(2 * blocks_.back().size(), kKept);
  blocks_.emplace_back(source_, std::max(wanted, doubled));
  ++allocations_;
  block_ = blocks_.size() - 1;
  used_ = wanted;
  return blocks_.back().data();
}

void Workspace::return_to(std::size_t block, std::size_t used) {
  block_ = block;
  used_ = used;
  const std::size_t first = std::min(used == 0 ? block : block + 1, blocks_.size());
  const auto large = [](const MemoryBlock& held) { return held.size() > kKept; };
  blocks_.erase(std::remove_if(blocks_.begin() + static_cast<std::ptrdiff_t>(first), blocks_.end(), large),
                blocks_.end());
}

}  // namespace assay
