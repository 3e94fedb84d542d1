#include <algorithm>
#include <cassert>
#include <map>
#include <mutex>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/formats/table.h"
#include "assay/storage/gguf.h"
#include "assay/storage/gguf_config.h"
#include "assay/storage/gguf_config_writer.h"
#include "assay/storage/gguf_names.h"
#include "assay/storage/gguf_tokenizer_writer.h"

namespace assay {
namespace {

constexpr std::uint64_t kQuantizationVersion = 2;  // of the blocks' layouts, as ggml counts them

struct PlacedGgufTensor {
  std::string name;  // as planned
  std::uint64_t rows = 0, begin = 0, bytes = 0, written = 0;
  StoredLayout stored;
};

class GgufWriter final : public CheckpointWriter {
 public:
  GgufWriter(std::filesystem::path directory, const WriterInput& input);
  void write(std::size_t tensor, std::size_t plane, std::uint64_t offset, Bytes bytes) override;
  void finish() override;

 private:
  void place(const PlannedTensor& tensor, const Json& config, GgufHeader& header);

  std::vector<PlacedGgufTensor> tensors_;
  const std::string path_;
  std::optional<OutputFile> file_;  // from the moment that nothing is left to refuse
  std::uint64_t end_ = 0;           // of the file
  std::mutex mutex_;                // guards what tensors_ count as written
};

/// What most weights are in, and whether any are in blocks.
void write_file_type(const std::vector<PlannedTensor>& tensors, GgufHeader& header) {
  std::map<std::uint32_t, std::uint64_t> weights;
  bool quantised = false;
  for (const PlannedTensor& tensor : tensors) {
    const MatrixShape shape = as_matrix(tensor.shape);
    if (const GgufTensorType* type = find_gguf_tensor_type(*tensor.format))
      weights[type->file_type] += shape.rows * shape.columns;
    quantised |= tensor.format->layout(shape.columns).has_params;
  }
  const auto most = std::ranges::max_element(weights, {}, [](const auto& entry) { return entry.second; });
  if (most != weights.end()) header.integer("general.file_type", most->first);
  if (quantised) header.integer("general.quantization_version", kQuantizationVersion);
}

/// Where config and tensors would tell a reader two things, as llama.cpp takes them from the tensors.
void check_ends(const std::vector<PlannedTensor>& tensors, const Json& config, const std::string& path) {
  const auto shape_of = [&](const char* name) -> const Shape* {
    const auto found = std::ranges::find(tensors, name, &PlannedTensor::name);
    return found == tensors.end() ? nullptr : &found->shape;
  };
  const Shape* embedding = shape_of("model.embed_tokens.weight");
  if (embedding == nullptr) fail("{}: tensor model.embed_tokens.weight is missing", path);
  const auto vocabulary = json_get<std::uint64_t>(config, "vocab_size", path);
  if (embedding->front() != vocabulary)
    fail("{}: tensor model.embed_tokens.weight has {} rows, vocab_size is {}", path, embedding->front(),
         vocabulary);
  if (!json_get<bool>(config, "tie_word_embeddings", path) && shape_of("lm_head.weight") == nullptr)
    fail("{}: tensor lm_head.weight is missing, and tie_word_embeddings is false", path);
}

GgufWriter::GgufWriter(std::filesystem::path directory, const WriterInput& input)
    : CheckpointWriter(std::move(directory)), path_((directory_ / kGgufFile).string()) {
  const std::string& source = input.source.empty() ? path_ : input.source;
  GgufHeader header(source);
  check_ends(input.tensors, input.config, source);
  write_gguf_config(input.config, header);
  write_file_type(input.tensors, header);
  write_gguf_tokenizer(input.sidecars, input.config, header);
  for (const PlannedTensor& tensor : input.tensors) place(tensor, input.config, header);
  const auto factors = gguf_rope_factors(input.config, source);
  const std::uint64_t factors_begin =
      factors ? header.tensor(kGgufRopeFactors, {factors->size()}, *find_format("f32")) : 0;
  const std::string head = header.bytes();
  file_.emplace(path_);
  file_->write_at(0, std::as_bytes(std::span(head)));
  for (PlacedGgufTensor& tensor : tensors_) tensor.begin += head.size();
  end_ = head.size() + header.data_bytes();
  if (factors) file_->write_at(head.size() + factors_begin, std::as_bytes(std::span(*factors)));
}

void GgufWriter::place(const PlannedTensor& tensor, const Json& config, GgufHeader& header) {
  if (const auto why = gguf_misfit(tensor)) fail("{}: tensor {}: {}", path_, tensor.name, *why);
  const MatrixShape shape = as_matrix(tensor.shape);
  PlacedGgufTensor placed{.name = tensor.name, .rows = shape.rows, .stored = {}};
  placed.bytes = packed_bytes(*tensor.format, shape.rows, shape.columns).value();
  placed.stored.heads =
      gguf_interleaved_heads(gguf_architecture_for(config, header.path()), tensor.name, tensor.shape, config,
                             header.path() + ": tensor " + tensor.name);
  placed.begin = header.tensor(gguf_name(tensor.name).value(), tensor.shape, *tensor.format);
  tensors_.push_back(std::move(placed));
}

void GgufWriter::write(std::size_t tensor, [[maybe_unused]] std::size_t plane, std::uint64_t offset,
                       Bytes bytes) {
  assert(tensor < tensors_.size() && plane == 0);
  PlacedGgufTensor& placed = tensors_[tensor];
  assert(offset <= placed.bytes && bytes.size() <= placed.bytes - offset);
  {
    const std::lock_guard lock(mutex_);
    placed.written += bytes.size();
  }
  if (placed.stored.heads == 0) {
    file_->write_at(placed.begin + offset, bytes);
    return;
  }
  const std::uint64_t row_bytes = placed.bytes / placed.rows;
  while (!bytes.empty()) {
    const std::uint64_t row = placed.stored.stored_row(offset / row_bytes, placed.rows);
    const std::uint64_t within = offset % row_bytes;
    const Bytes piece = bytes.first(std::min<std::uint64_t>(bytes.size(), row_bytes - within));
    file_->write_at(placed.begin + row * row_bytes + within, piece);
    offset += piece.size();
    bytes = bytes.subspan(piece.size());
  }
}

void GgufWriter::finish() {
  for (const PlacedGgufTensor& tensor : tensors_)
    if (tensor.written != tensor.bytes)
      fail("{}: tensor {}: {} of {} bytes written", path_, tensor.name, tensor.written, tensor.bytes);
  // llama.cpp's own writer pads the last tensor like all others.
  const std::vector<std::byte> padding((kGgufAlignment - end_ % kGgufAlignment) % kGgufAlignment);
  file_->write_at(end_, padding);
  file_->close();
}

}  // namespace

std::optional<std::string> gguf_misfit(const PlannedTensor& tensor) {
  if (!gguf_name(tensor.name)) return "GGUF has no name for it";
  if (find_gguf_tensor_type(*tensor.format) == nullptr)
    return fmt::format("GGUF has no {}; it holds {}", tensor.format->name(), gguf_tensor_type_names());
  if (tensor.shape.empty() || tensor.shape.size() > kGgufMaximumRank)
    return fmt::format("{} dimensions, GGUF holds 1 to {}", tensor.shape.size(), kGgufMaximumRank);
  if (tensor.shape.size() == 1 && tensor.format->name() != kGgufContainer.vector_format)
    return fmt::format("llama.cpp takes vectors as {}, not as {}", kGgufContainer.vector_format,
                       tensor.format->name());
  return std::nullopt;
}

std::unique_ptr<CheckpointWriter> make_gguf_writer(const std::filesystem::path& directory,
                                                   WriterInput input) {
  return std::make_unique<GgufWriter>(directory, input);
}

}  // namespace assay
