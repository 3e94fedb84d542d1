#include "assay/runtime/expert_store.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <new>
#include <system_error>
#include <utility>

#include "assay/base/checked.h"
#include "assay/base/clock.h"
#include "assay/base/error.h"
#include "assay/model/weights.h"
#include "assay/parallel/threads.h"

namespace assay {
namespace {

// A gap that is shorter is read along: one read costs more than its bytes.
constexpr std::uint64_t kReadAlong = 16384;
// Larger extents are read in pieces, side by side: a disk wants more than one request at a time.
constexpr std::uint64_t kReadSize = 256 << 10;
// Experts on their way at once while others compute; one, when there is nothing to compute yet.
constexpr std::size_t kReadAhead = 2;
// Of extents in memory: direct reads want that of InputFile, which is a multiple.
constexpr std::uint64_t kPlaneAlignment = 64;

std::array<Tensor*, 3> all_of(ExpertTensors& tensors) {
  return {&tensors.gate, &tensors.up, &tensors.down};
}
std::array<const Tensor*, 3> all_of(const ExpertTensors& tensors) {
  return {&tensors.gate, &tensors.up, &tensors.down};
}

/// Lets go of a lock for a while.
class Unlocked {
 public:
  explicit Unlocked(std::unique_lock<std::mutex>& lock) : lock_(lock) { lock_.unlock(); }
  ~Unlocked() { lock_.lock(); }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  std::unique_lock<std::mutex>& lock_;
};

}  // namespace

/// The bytes of one expert.
struct ExpertStore::Memory {
  explicit Memory(std::uint64_t bytes)
      : data(static_cast<std::byte*>(std::aligned_alloc(
                 InputFile::kDirectAlignment,
                 ceil_divide(bytes, InputFile::kDirectAlignment) * InputFile::kDirectAlignment)),
             std::free) {
    if (!data) throw std::bad_alloc();
  }
  std::unique_ptr<std::byte, decltype(&std::free)> data;
};

/// The experts of one layer, as the model sees them.
class ExpertStore::Layer final : public Experts {
 public:
  Layer(ExpertStore& store, int layer) : store_(store), layer_(layer) {}
  void visit(std::span<const std::uint32_t> wanted, const Use& use) const override {
    store_.visit(layer_, wanted, use);
  }

 private:
  ExpertStore& store_;
  int layer_;
};

/// The reads of one pass over one layer. However the pass ends, none is on its way any more when it is over.
/// The store's lock is held by who calls, and let go while it waits.
class ExpertStore::Flight {
 public:
  Flight(ExpertStore& store, std::unique_lock<std::mutex>& lock, int layer)
      : store_(store), lock_(lock), layer_(layer), records_(store.records_.at(layer)) {
    if (store.queues_.empty()) {
      queue_ = make_read_queue();
    } else {
      queue_ = std::move(store.queues_.back());
      store.queues_.pop_back();
    }
  }
  ~Flight() {
    while (!flying_.empty()) {
      auto landed = flying_.begin();
      try {
        const Unlocked meanwhile(lock_);
        landed = flying_.find(queue_->wait().job);
      } catch (const Error&) {  // the queue is broken; nothing can be waited for
      }
      store_.cache_.cancel(records_[landed->second.expert].bytes);
      flying_.erase(landed);
    }
    for (const Landed& landed : ready_) store_.cache_.release({layer_, landed.expert});
    store_.queues_.push_back(std::move(queue_));
    store_.room_.notify_all();
  }
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;

  void add(std::uint32_t expert) { missing_.push_back(expert); }
  bool over() const { return flying_.empty() && missing_.empty() && ready_.empty(); }
  std::uint64_t bytes_read() const { return bytes_read_; }

  /// Starts reading what is missing, as far as the cache has room; at most `ahead` experts are on their way.
  /// Reads share the disk: with all at once the first would arrive hardly before the last.
  void launch(std::size_t ahead) {
    while (!missing_.empty() && flying_.size() < ahead && launch_one(missing_.front())) missing_.pop_front();
  }

  struct Landed {
    std::uint32_t expert;
    std::shared_ptr<const DenseMlp> mlp;
  };
  /// Waits for an expert, which is then in the cache and wanted. A pass that may hold nothing yet, because
  /// others hold everything, waits for them first.
  Landed land() {
    while (ready_.empty() && flying_.empty()) {
      launch(1);
      if (ready_.empty() && flying_.empty()) store_.room_.wait(lock_);
    }
    if (ready_.empty()) wait_for_one();
    Landed landed = std::move(ready_.front());
    ready_.pop_front();
    return landed;
  }

 private:
  struct Read {
    std::uint32_t expert;
    std::shared_ptr<Memory> memory;
  };

  void wait_for_one() {
    ReadOutcome outcome;
    {
      const Unlocked meanwhile(lock_);
      outcome = queue_->wait();
    }
    const auto found = flying_.find(outcome.job);
    const Read read = found->second;
    flying_.erase(found);
    const Record& record = records_[read.expert];
    std::shared_ptr<const DenseMlp> mlp;
    try {
      const Unlocked meanwhile(lock_);
      store_.require_good(record, outcome);
      mlp = store_.assemble(record, read.memory);
    } catch (...) {
      store_.cache_.cancel(record.bytes);
      throw;
    }
    store_.cache_.insert({layer_, read.expert}, std::move(mlp), record.bytes);
    take(read.expert);
    store_.room_.notify_all();
  }

  /// From the cache, where another pass may have put it meanwhile.
  bool take(std::uint32_t expert) {
    const ExpertKey key{layer_, expert};
    std::shared_ptr<const DenseMlp> mlp = store_.cache_.find(key);
    if (!mlp) return false;
    store_.cache_.want(key);
    ready_.push_back({expert, std::move(mlp)});
    return true;
  }

  bool launch_one(std::uint32_t expert) {
    if (take(expert)) return true;
    const Record& record = records_[expert];
    if (!store_.cache_.reserve(record.bytes)) return false;
    std::shared_ptr<Memory> memory;
    try {
      memory = std::make_shared<Memory>(record.bytes);
    } catch (...) {
      store_.cache_.cancel(record.bytes);
      throw;
    }
    std::vector<ReadRequest> requests;
    for (const Extent& extent : record.extents)
      for (std::uint64_t begin = extent.begin; begin < extent.end; begin += kReadSize) {
        const std::uint64_t end = std::min(begin + kReadSize, extent.end);
        requests.push_back({store_.files_[extent.file]->descriptor(),
                            begin,
                            {memory->data.get() + extent.at + (begin - extent.begin), end - begin},
                            std::min(end, extent.required_end) - begin});
      }
    // Held before it is submitted: from then on the kernel may write there, also when submitting fails
    // halfway.
    const std::uint64_t job = store_.next_job_++;
    flying_.emplace(job, Read{expert, std::move(memory)});
    bytes_read_ += record.bytes;
    queue_->submit(job, requests);
    return true;
  }

  ExpertStore& store_;
  std::unique_lock<std::mutex>& lock_;
  int layer_;
  const std::vector<Record>& records_;
  std::unique_ptr<ReadQueue> queue_;
  std::deque<std::uint32_t> missing_;
  std::deque<Landed> ready_;              // wanted
  std::map<std::uint64_t, Read> flying_;  // by job
  std::uint64_t bytes_read_ = 0;
};

ExpertStore::ExpertStore(const ExpertStoreOptions& options, std::unique_ptr<ReadQueue> queue)
    : options_(options), reader_(queue->name()), cache_(options.budget) {
  queues_.push_back(std::move(queue));
}

ExpertStore::~ExpertStore() = default;

std::size_t ExpertStore::file_of(const MappedFile& mapped) {
  for (std::size_t i = 0; i < files_.size(); ++i)
    if (files_[i]->path() == mapped.path()) return i;
  auto file = std::make_unique<InputFile>(mapped.path(), options_.direct);
  if (file->identity() != mapped.identity()) fail("{}: changed while it was being opened", mapped.path());
  files_.push_back(std::move(file));
  return files_.size() - 1;
}

ExpertStore::Record ExpertStore::make_record(ExpertTensors tensors) {
  const std::uint64_t alignment = options_.direct ? InputFile::kDirectAlignment : 1;
  struct Place {
    std::size_t file;
    std::uint64_t begin, end;
  };
  std::vector<Place> planes;
  for (const Tensor* tensor : all_of(tensors))
    for (const Bytes plane : tensor->planes) {
      const MappedFile* mapped = mapped_file_of(plane);
      if (mapped == nullptr) fail("{}: tensor {}: lies in no file", tensor->file, tensor->name);
      const auto begin = static_cast<std::uint64_t>(plane.data() - mapped->bytes().data());
      planes.push_back({file_of(*mapped), begin, begin + plane.size()});
    }
  std::vector<Place> sorted = planes;
  std::ranges::sort(sorted, {}, [](const Place& place) { return std::pair(place.file, place.begin); });

  Record record;
  for (const Place& place : sorted) {
    const std::uint64_t begin = place.begin / alignment * alignment;
    if (record.extents.empty() || record.extents.back().file != place.file ||
        begin > record.extents.back().end + kReadAlong)
      record.extents.push_back({place.file, begin, begin, begin, 0});
    Extent& extent = record.extents.back();
    extent.required_end = std::max(extent.required_end, place.end);
    extent.end = ceil_divide(extent.required_end, alignment) * alignment;
  }
  for (Extent& extent : record.extents) {
    extent.at = record.bytes;
    record.bytes += ceil_divide(extent.end - extent.begin, kPlaneAlignment) * kPlaneAlignment;
  }
  for (const Place& place : planes) {
    const auto extent = std::ranges::find_if(record.extents, [&](const Extent& e) {
      return e.file == place.file && e.begin <= place.begin && place.end <= e.required_end;
    });
    record.planes.push_back(extent->at + (place.begin - extent->begin));
  }
  record.tensors = std::move(tensors);
  return record;
}

std::unique_ptr<Experts> ExpertStore::add_layer(const Ops& ops, int layer,
                                                std::vector<ExpertTensors> experts) {
  ops_ = &ops;
  std::vector<Record>& records = records_[layer];
  for (ExpertTensors& tensors : experts) {
    records.push_back(make_record(std::move(tensors)));
    const Record& record = records.back();
    if (record.bytes > options_.budget)
      fail(
          "{}: tensor {} and its two companions take {} bytes, the expert cache has {}: at least one expert "
          "must fit",
          record.tensors.gate.file, record.tensors.gate.name, record.bytes, options_.budget);
  }
  statistics_[layer] = {};
  return std::make_unique<Layer>(*this, layer);
}

void ExpertStore::require_good(const Record& record, const ReadOutcome& outcome) const {
  const Tensor& first = record.tensors.gate;
  for (const Extent& extent : record.extents) files_[extent.file]->require_unchanged();
  if (outcome.error != 0)
    fail("{}: tensor {}: its expert cannot be read: {}", first.file, first.name,
         std::generic_category().message(outcome.error));
  if (outcome.ended_early) fail("{}: tensor {}: the file ends within its expert", first.file, first.name);
}

std::shared_ptr<const DenseMlp> ExpertStore::assemble(const Record& record,
                                                      const std::shared_ptr<Memory>& memory) const {
  ExpertTensors tensors = record.tensors;
  auto at = record.planes.begin();
  for (Tensor* tensor : all_of(tensors)) {
    for (Bytes& plane : tensor->planes) plane = {memory->data.get() + *at++, plane.size()};
    tensor->owners = {memory};
  }
  const std::array matrices = all_of(tensors);
  parallel_for(matrices.size(), [&](std::size_t i) { require_checksum(*matrices[i]); });
  const auto projection = [&](const Tensor& tensor) {
    return Projection{ops_->matrix(packed_matrix(tensor), {Residency::stored}), {}};
  };
  return std::make_shared<const DenseMlp>(*ops_, projection(tensors.gate), projection(tensors.up),
                                          projection(tensors.down));
}

void ExpertStore::visit(int layer, std::span<const std::uint32_t> wanted, const Experts::Use& use) {
  std::unique_lock lock(mutex_);
  ExpertLayerStatistics& statistics = statistics_.at(layer);
  const std::uint64_t pass = passes_[layer]++;
  ++statistics.passes;
  statistics.visits += wanted.size();

  Flight flight(*this, lock, layer);
  std::deque<std::pair<std::uint32_t, std::shared_ptr<const DenseMlp>>> there;  // wanted
  // Nothing that is wanted may stay so when `use` throws.
  struct Release {
    ExpertStore& store;
    int layer;
    decltype(there)& held;
    void first() {
      store.cache_.release({layer, held.front().first});
      held.pop_front();
      store.room_.notify_all();
    }
    ~Release() {
      while (!held.empty()) first();
    }
  } release{*this, layer, there};
  const auto compute_first = [&] {
    const auto [expert, mlp] = there.front();
    double seconds = 0;
    {
      const Unlocked meanwhile(lock);
      const auto start = Clock::now();
      use(expert, *mlp);
      seconds = seconds_since(start);
    }
    statistics.compute_seconds += seconds;
    release.first();
    flight.launch(kReadAhead);
  };

  for (const std::uint32_t expert : wanted) {
    const ExpertKey key{layer, expert};
    cache_.note_visit(key, pass);
    std::shared_ptr<const DenseMlp> mlp = cache_.find(key);
    if (!mlp) {
      flight.add(expert);
      continue;
    }
    cache_.want(key);
    there.emplace_back(expert, std::move(mlp));
  }
  statistics.hits += there.size();
  flight.launch(there.empty() ? 1 : kReadAhead);
  while (!there.empty()) compute_first();
  while (!flight.over()) {
    const auto start = Clock::now();
    Flight::Landed landed = flight.land();
    statistics.wait_seconds += seconds_since(start);
    there.emplace_back(landed.expert, std::move(landed.mlp));
    flight.launch(kReadAhead);
    compute_first();
  }
  statistics.bytes_read += flight.bytes_read();
}

void ExpertStore::reset_statistics() {
  const std::lock_guard lock(mutex_);
  for (auto& [layer, statistics] : statistics_) statistics = {};
}

std::size_t ExpertStore::matrices() const {
  std::size_t count = 0;
  for (const auto& [layer, records] : records_) count += 3 * records.size();
  return count;
}

std::size_t ExpertStore::unchecked() const {
  std::size_t count = 0;
  for (const auto& [layer, records] : records_)
    for (const Record& record : records)
      for (const Tensor* tensor : all_of(record.tensors)) count += tensor->checksum ? 0 : 1;
  return count;
}

ExpertStore::RecordSizes ExpertStore::record_sizes(int layer) const {
  RecordSizes sizes;
  for (const Record& record : records_.at(layer)) {
    sizes.smallest = sizes.total == 0 ? record.bytes : std::min(sizes.smallest, record.bytes);
    sizes.largest = std::max(sizes.largest, record.bytes);
    sizes.total += record.bytes;
  }
  return sizes;
}

}  // namespace assay
