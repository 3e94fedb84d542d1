#include <cassert>
#include <map>
#include <mutex>
#include <utility>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/storage/lattice.h"
#include "assay/storage/lattice_file.h"
#include "assay/storage/lattice_index.h"
#include "assay/storage/lattice_rules.h"
#include "assay/storage/sidecars.h"

namespace assay {
namespace {

struct PlannedFile {
  std::string name;  // of the file
  std::string header;
  std::uint64_t payload_bytes = 0;
  std::uint64_t written_bytes = 0;
  std::optional<OutputFile> output;  // open between the first and the last byte of the payload
};

class LatticeWriter final : public CheckpointWriter {
 public:
  LatticeWriter(std::filesystem::path directory, WriterInput input);
  void write(std::size_t tensor, std::size_t plane, std::uint64_t offset, Bytes bytes) override;
  void finish() override;

 private:
  void plan(const PlannedTensor& tensor);
  OutputFile& output_of(PlannedFile& file);
  std::string index_text() const;
  std::string config_text() const;

  WriterInput input_;
  std::vector<PlannedFile> files_;  // one per tensor, in the plan's order
  std::mutex mutex_;                // guards the files' outputs and counts
};

LatticeWriter::LatticeWriter(std::filesystem::path directory, WriterInput input)
    : CheckpointWriter(std::move(directory)), input_(std::move(input)) {
  // MLX's widths describe the planes of another container.
  if (input_.config.is_object())
    for (const char* key : {"quantization", "quantization_config"}) input_.config.erase(key);
  std::map<std::string, std::string> stems;  // file name without extension -> tensor
  std::vector<LatticeMember> members;
  for (const PlannedTensor& tensor : input_.tensors) {
    plan(tensor);
    const auto [taken, is_new] = stems.emplace(lattice_stem(tensor.name), tensor.name);
    if (!is_new)
      fail("{}: tensors {} and {} would share the file name {}", directory_.string(), taken->second,
           tensor.name, taken->first);
    members.push_back({tensor.name, tensor.shape, lattice_kind_of_format(tensor.format->name())->extension});
  }
  check_lattice_rules(members, input_.config, directory_.string());
}

void LatticeWriter::plan(const PlannedTensor& tensor) {
  if (const auto why = lattice_misfit(tensor))
    fail("{}: tensor {}: {}", directory_.string(), tensor.name, *why);
  const LatticeKind& kind = *lattice_kind_of_format(tensor.format->name());
  const MatrixShape matrix = as_matrix(tensor.shape);
  PlannedFile file;
  file.name = lattice_stem(tensor.name) + std::string(kind.extension);
  file.header = lattice_header(kind, tensor.shape);
  file.payload_bytes = packed_bytes(*tensor.format, matrix.rows, matrix.columns).value();
  files_.push_back(std::move(file));
}

/// Opens the file with its header at the first byte of payload: a model may have more tensors than a process
/// may have open files. The caller holds the mutex.
OutputFile& LatticeWriter::output_of(PlannedFile& file) {
  if (!file.output) {
    file.output.emplace((directory_ / file.name).string());
    file.output->write_at(0, std::as_bytes(std::span(file.header)));
  }
  return *file.output;
}

void LatticeWriter::write(std::size_t tensor, [[maybe_unused]] std::size_t plane, std::uint64_t offset,
                          Bytes bytes) {
  assert(tensor < files_.size() && plane == 0);
  if (bytes.empty()) return;
  PlannedFile& file = files_[tensor];
  assert(offset <= file.payload_bytes && bytes.size() <= file.payload_bytes - offset);
  OutputFile* output = nullptr;
  {
    const std::lock_guard lock(mutex_);
    output = &output_of(file);
  }
  output->write_at(file.header.size() + offset, bytes);
  const std::lock_guard lock(mutex_);
  file.written_bytes += bytes.size();
  if (file.written_bytes < file.payload_bytes) return;
  file.output->close();
  file.output.reset();
}

void LatticeWriter::finish() {
  for (std::size_t i = 0; i < files_.size(); ++i) {
    PlannedFile& file = files_[i];
    if (file.written_bytes != file.payload_bytes)
      fail("{}/{}: tensor {}: {} of {} payload bytes written", directory_.string(), file.name,
           input_.tensors[i].name, file.written_bytes, file.payload_bytes);
    if (file.payload_bytes == 0) output_of(file).close();
  }
  Sidecars sidecars = input_.sidecars;
  sidecars["config.json"] = config_text();
  write_sidecars(directory_.string(), sidecars);
  add_file(std::string(kLatticeIndexName), index_text());
}

/// Says "format" of every tensor as soon as one is .w3 or .q3, as the W3 converter does.
std::string LatticeWriter::index_text() const {
  bool three_bits = false;
  std::vector<LatticeIndexEntry> entries;
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const PlannedTensor& tensor = input_.tensors[i];
    const LatticeKind& kind = *lattice_kind_of_format(tensor.format->name());
    three_bits = three_bits || kind.extension == ".w3" || kind.extension == ".q3";
    entries.push_back(
        {tensor.name, files_[i].name, std::string(kind.extension.substr(1)), kind.quantized, tensor.shape});
  }
  if (!three_bits)
    for (LatticeIndexEntry& entry : entries) entry.format.clear();
  return lattice_index_text(std::move(entries));
}

/// The source's own text where it still says the same, so that a copied config stays byte for byte the same
/// file.
std::string LatticeWriter::config_text() const {
  const auto source = input_.sidecars.find("config.json");
  const bool unchanged =
      source != input_.sidecars.end() && Json::parse(source->second, nullptr, false) == input_.config;
  return unchanged ? source->second : input_.config.dump(2) + "\n";
}

}  // namespace

std::optional<std::string> lattice_misfit(const PlannedTensor& tensor) {
  const LatticeKind* kind = lattice_kind_of_format(tensor.format->name());
  if (kind == nullptr)
    return fmt::format("format {} cannot be in a lattice directory, which holds khq4, khw3, khq3 and khf1",
                       tensor.format->name());
  if (auto why = lattice_name_misfit(tensor.name)) return why;
  if (tensor.shape.empty() || tensor.shape.size() > kLatticeMaximumRank)
    return fmt::format("shape {} has {} dimensions, a lattice file holds 1 to {}", shape_text(tensor.shape),
                       tensor.shape.size(), kLatticeMaximumRank);
  const bool countable = checked_product(tensor.shape).has_value();
  const MatrixShape matrix = countable ? as_matrix(tensor.shape) : MatrixShape{};
  if (!countable || !packed_bytes(*tensor.format, matrix.rows, matrix.columns))
    return fmt::format("shape {} exceeds 2^64 bytes", shape_text(tensor.shape));
  return tensor.format->misfit(matrix.rows, matrix.columns);
}

std::unique_ptr<CheckpointWriter> make_lattice_writer(const std::filesystem::path& directory,
                                                      WriterInput input) {
  return std::make_unique<LatticeWriter>(directory, std::move(input));
}

}  // namespace assay
