#pragma once
// What a calibration that was killed leaves behind, so that it can go on: finished tensors and the hidden
// rows behind the last finished block. Bound to one request; another one starts over. Nothing is believed:
// each file is held against a checksum, and that against the request and the place that it was written for.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "assay/base/bytes.h"
#include "assay/base/json.h"

namespace assay {

class ResumeStore {
 public:
  /// Opens or creates the folder. `request` describes everything that the result depends on: a folder of
  /// another request is emptied. Throws Error for one that lacks our marker or holds anything else beside it:
  /// it is somebody's own, and stays as it is.
  ResumeStore(std::string folder, const OrderedJson& request);

  const std::string& folder() const { return folder_; }
  int finished_blocks() const { return finished_blocks_; }
  /// Hidden rows behind the last finished block. Throws Error when the file is damaged or not of `size`
  /// values.
  std::vector<float> hidden(std::size_t size) const;

  /// A tensor's planes and report; nothing when it is not there. Throws Error when it is damaged or
  /// another's.
  struct Entry {
    std::vector<std::vector<std::byte>> planes;
    Json report;
  };
  std::optional<Entry> tensor(std::size_t index, const std::vector<std::size_t>& plane_bytes) const;

  void put_tensor(std::size_t index, const std::vector<std::vector<std::byte>>& planes,
                  const OrderedJson& report);
  /// After this the block's tensors count as finished.
  void finish_block(int blocks, std::span<const float> hidden);
  /// Removes our files, and the folder when nothing else lies in it.
  void remove();

 private:
  std::string file(const std::string& name) const { return folder_ + "/" + name; }
  bool is_ours() const;
  /// A small file of the store, which must have been written for `what` of this request.
  Json read_note(const std::string& name, const OrderedJson& what) const;
  void write_note(const std::string& name, OrderedJson what) const;

  std::string folder_;
  std::string request_;  // its checksum
  int finished_blocks_ = 0;
  std::string hidden_checksum_;
};

}  // namespace assay
