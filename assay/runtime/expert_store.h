#pragma once
// Experts that stay on disk and are read when a token visits them: in place, from whatever container the
// model has (nine extents of an MLX shard, one of a directory that `assay pack-experts` wrote). Bits and sums
// are those of experts in memory, whatever the budget. Reads go on while experts that are there compute.
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "assay/base/file.h"
#include "assay/base/heap.h"
#include "assay/base/read_queue.h"
#include "assay/model/experts.h"
#include "assay/runtime/expert_cache.h"

namespace assay {

struct ExpertStoreOptions {
  std::uint64_t budget = 0;  // bytes of packed experts in memory, those being read included
  bool direct = false;       // reads past the page cache (O_DIRECT)
};

/// What the visits to one layer took since the statistics were last reset.
struct ExpertLayerStatistics {
  std::uint64_t passes = 0, visits = 0, hits = 0;  // a visit: an expert in a pass, whatever its tokens
  std::uint64_t bytes_read = 0;
  double wait_seconds = 0;     // for reads, with nothing left to compute
  double compute_seconds = 0;  // of the experts
};

class ExpertStore final : public ExpertSource {
 public:
  /// `queue`: who reads; passes that come while it is busy get others of their own. Throws Error.
  explicit ExpertStore(const ExpertStoreOptions& options,
                       std::unique_ptr<ReadQueue> queue = make_read_queue());
  ~ExpertStore() override;

  /// Throws Error when the budget does not hold the largest expert, or the tensors lie in no file.
  std::unique_ptr<Experts> add_layer(const Ops& ops, int layer, std::vector<ExpertTensors> experts) override;

  std::map<int, ExpertLayerStatistics> statistics() const {
    const std::lock_guard lock(mutex_);
    return statistics_;
  }
  void reset_statistics();
  std::uint64_t dropped() const {  // experts that made room for others
    const std::lock_guard lock(mutex_);
    return cache_.dropped();
  }
  /// Bytes that the experts of a layer take in memory, the smallest and the largest, and of all layers.
  struct RecordSizes {
    std::uint64_t smallest = 0, largest = 0, total = 0;
  };
  RecordSizes record_sizes(int layer) const;
  const std::string& reader() const { return reader_; }
  /// Matrices of experts, and those of them that no read can be held against: nobody wrote their checksums.
  std::size_t matrices() const;
  std::size_t unchecked() const;

 private:
  class Layer;
  class Flight;
  /// A run of bytes of a file that is read at once.
  struct Extent {
    std::size_t file = 0;
    std::uint64_t begin = 0, end = 0;  // aligned as direct reads demand
    std::uint64_t required_end = 0;    // where the last byte of the expert ends; the file may end there too
    std::uint64_t at = 0;              // in the record's memory
  };
  struct Record {
    ExpertTensors tensors;  // views of the mapped files, which are never touched
    std::vector<Extent> extents;
    std::vector<std::uint64_t> planes;  // where each plane of each tensor stands in memory
    std::uint64_t bytes = 0;            // in memory
  };
  struct Memory;

  Record make_record(ExpertTensors tensors);
  std::size_t file_of(const MappedFile& mapped);
  void visit(int layer, std::span<const std::uint32_t> wanted, const Experts::Use& use);
  std::shared_ptr<const DenseMlp> assemble(const Record& record, const std::shared_ptr<Memory>& memory) const;
  void require_good(const Record& record, const ReadOutcome& outcome) const;

  KeepFreedMemory keep_freed_memory_;  // an expert takes the pages of the one that made room
  ExpertStoreOptions options_;
  const Ops* ops_ = nullptr;  // of the model
  std::string reader_;
  ExpertCache cache_;
  std::vector<std::unique_ptr<InputFile>> files_;
  std::map<int, std::vector<Record>> records_;
  std::map<int, ExpertLayerStatistics> statistics_;
  std::map<int, std::uint64_t> passes_;
  std::uint64_t next_job_ = 0;
  // Of all that changes after loading. Held neither while experts compute nor while reads are waited for.
  mutable std::mutex mutex_;
  std::condition_variable room_;                    // something was released or given back
  std::vector<std::unique_ptr<ReadQueue>> queues_;  // that no pass uses
};

}  // namespace assay
