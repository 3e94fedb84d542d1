#pragma once
// What a calibration that was killed leaves behind, so that it can go on: finished tensors and the hidden
// rows behind the last finished block. Bound to one request; another one starts over.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "assay/base/json.h"

namespace assay {

class ResumeStore {
 public:
  /// Opens or creates the folder. `request` describes everything that the result depends on: a folder of
  /// another request is emptied.
  ResumeStore(std::string folder, const OrderedJson& request);

  int finished_blocks() const { return finished_blocks_; }
  /// Hidden rows behind the last finished block. Throws Error when the file is not of `size` values.
  std::vector<float> hidden(std::size_t size) const;

  /// A tensor's planes and report; nothing when it is not there.
  struct Entry {
    std::vector<std::vector<std::byte>> planes;
    Json report;
  };
  std::optional<Entry> tensor(std::size_t index, const std::vector<std::size_t>& plane_bytes) const;

  void put_tensor(std::size_t index, const std::vector<std::vector<std::byte>>& planes,
                  const OrderedJson& report);
  /// After this the block's tensors count as finished.
  void finish_block(int blocks, std::span<const float> hidden);
  /// Removes the folder.
  void remove();

 private:
  std::string file(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
  int finished_blocks_ = 0;
};

}  // namespace assay
