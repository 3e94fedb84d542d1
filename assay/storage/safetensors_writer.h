#pragma once
// Writes safetensors directories of any flavour: shards, index, config and sidecars. Data starts at a
// multiple of 64 bytes, and planes are ordered by the size of their elements, so that each is naturally
// aligned; those of records (PlannedTensor::record) follow, ordered so within each.
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "assay/base/file.h"
#include "assay/storage/tensor_planes.h"
#include "assay/storage/writer.h"

namespace assay {

struct SafetensorsStyle {
  std::string format = "pt";    // what "__metadata__" says
  bool always_index = false;    // an index even for a single file
  Json quantization = nullptr;  // for config.json, under both keys of MLX; null: none
};

class SafetensorsWriter : public CheckpointWriter {
 public:
  /// Creates every shard with its header, config.json and the sidecars. Throws Error.
  SafetensorsWriter(std::filesystem::path directory, WriterInput input, const SafetensorsStyle& style);
  void write(std::size_t tensor, std::size_t plane, std::uint64_t offset, Bytes bytes) override;
  void finish() override;

 protected:
  const std::vector<PlannedTensor>& tensors() const { return tensors_; }
  std::vector<std::string> shard_paths() const;

 private:
  /// Where one plane goes, and which of its bytes have arrived.
  struct PlacedPlane {
    PlaneArray array;
    std::size_t shard = 0, record = 0;
    std::uint64_t begin = 0;                         // in the shard's data section, then in the file
    std::map<std::uint64_t, std::uint64_t> written;  // disjoint ranges [begin, end)
  };
  struct Shard {
    std::string name;
    std::uint64_t data_bytes = 0;
    std::vector<PlacedPlane*> planes;
  };

  void place_planes();
  void assign_shards(std::uint64_t max_shard_bytes);
  void create_shard(Shard& shard, const std::string& format);
  void write_index(const std::string& format);
  void write_small_files(const WriterInput& input, const Json& quantization);

  std::vector<PlannedTensor> tensors_;
  std::vector<std::vector<PlacedPlane>> planes_;  // by tensor, then plane
  std::vector<Shard> shards_;
  std::vector<OutputFile> files_;  // one a shard
  std::mutex mutex_;               // guards PlacedPlane::written
};

}  // namespace assay
