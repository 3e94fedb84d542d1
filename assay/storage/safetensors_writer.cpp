#include "assay/storage/safetensors_writer.h"

#include <algorithm>
#include <cassert>
#include <set>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/storage/safetensors.h"
#include "assay/storage/sidecars.h"

namespace assay {
namespace {

constexpr std::uint64_t kDataAlignment = 64;
constexpr std::size_t kLengthFieldBytes = 8;

/// Marks [begin, end) in a set of disjoint ranges.
void mark_written(std::map<std::uint64_t, std::uint64_t>& ranges, std::uint64_t begin, std::uint64_t end) {
  auto next = ranges.upper_bound(begin);
  if (next != ranges.begin() && std::prev(next)->second >= begin) --next;
  while (next != ranges.end() && next->first <= end) {
    begin = std::min(begin, next->first);
    end = std::max(end, next->second);
    next = ranges.erase(next);
  }
  ranges.emplace(begin, end);
}

/// The configuration without what an earlier container said about its packing.
Json without_quantization(Json config) {
  const auto erase = [](Json& level) {
    level.erase("quantization");
    level.erase("quantization_config");
  };
  if (config.is_object()) {
    erase(config);
    const auto text = config.find("text_config");
    if (text != config.end() && text->is_object()) erase(*text);
  }
  return config;
}

std::uint64_t tensor_bytes(const std::vector<PlaneArray>& arrays, const std::string& name) {
  std::uint64_t total = 0;
  for (const PlaneArray& array : arrays) {
    const auto sum = checked_add(total, array.bytes);
    if (!sum) fail("tensor {}: its planes overflow 64 bits", name);
    total = *sum;
  }
  return total;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::filesystem::path directory, WriterInput input,
                                     const SafetensorsStyle& style)
    : CheckpointWriter(std::move(directory)), tensors_(std::move(input.tensors)) {
  place_planes();
  assign_shards(input.max_shard_bytes);
  for (Shard& shard : shards_) create_shard(shard, style.format);
  if (style.always_index || shards_.size() > 1) write_index(style.format);
  write_small_files(input, style.quantization);
}

void SafetensorsWriter::place_planes() {
  std::set<std::string> names;
  for (const PlannedTensor& tensor : tensors_) {
    std::vector<PlacedPlane>& placed = planes_.emplace_back();
    for (PlaneArray& array : plane_arrays(tensor.name, tensor.shape, *tensor.format)) {
      if (!names.insert(array.name).second)
        fail("{}: tensor {}: its plane {} is already another tensor's", directory_.string(), tensor.name,
             array.name);
      placed.emplace_back().array = std::move(array);
    }
  }
}

void SafetensorsWriter::assign_shards(std::uint64_t max_shard_bytes) {
  shards_.emplace_back();
  for (std::size_t first = 0, next = 0; first < tensors_.size(); first = next) {
    std::uint64_t bytes = 0;  // of all tensors of a record
    for (next = first; next < tensors_.size(); ++next) {
      if (next > first && (tensors_[first].record.empty() || tensors_[next].record != tensors_[first].record))
        break;
      std::vector<PlaneArray> arrays;
      for (const PlacedPlane& plane : planes_[next]) arrays.push_back(plane.array);
      const auto sum = checked_add(bytes, tensor_bytes(arrays, tensors_[next].name));
      if (!sum) fail("{}: tensor {}: its record overflows 64 bits", directory_.string(), tensors_[next].name);
      bytes = *sum;
    }
    if (shards_.back().data_bytes > 0 &&
        bytes > max_shard_bytes - std::min(shards_.back().data_bytes, max_shard_bytes))
      shards_.emplace_back();
    const auto sum = checked_add(shards_.back().data_bytes, bytes);
    if (!sum) fail("{}: tensor {}: the shard overflows 64 bits", directory_.string(), tensors_[first].name);
    shards_.back().data_bytes = *sum;
    for (std::size_t i = first; i < next; ++i)
      for (PlacedPlane& plane : planes_[i]) {
        plane.shard = shards_.size() - 1;
        // Records keep their order among themselves, behind all else.
        plane.record = tensors_[first].record.empty() ? 0 : first + 1;
        shards_.back().planes.push_back(&plane);
      }
  }
  for (std::size_t i = 0; i < shards_.size(); ++i)
    shards_[i].name = shards_.size() == 1
                          ? kSafetensorsFile
                          : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards_.size());
}

void SafetensorsWriter::create_shard(Shard& shard, const std::string& format) {
  std::stable_sort(shard.planes.begin(), shard.planes.end(), [](const PlacedPlane* a, const PlacedPlane* b) {
    if (a->record != b->record) return a->record < b->record;
    return dtype_size(a->array.dtype) > dtype_size(b->array.dtype);
  });
  OrderedJson header = OrderedJson::object();
  header["__metadata__"] = {{"format", format}};
  std::uint64_t at = 0;
  for (PlacedPlane* plane : shard.planes) {
    plane->begin = at;
    at += plane->array.bytes;
    header[plane->array.name] = {{"dtype", dtype_name(plane->array.dtype)},
                                 {"shape", plane->array.shape},
                                 {"data_offsets", {plane->begin, at}}};
  }
  std::string text = header.dump();
  const std::uint64_t data_begin =
      ceil_divide(kLengthFieldBytes + text.size(), kDataAlignment) * kDataAlignment;
  text.resize(data_begin - kLengthFieldBytes, ' ');
  for (PlacedPlane* plane : shard.planes) plane->begin += data_begin;

  OutputFile& file = files_.emplace_back((directory_ / shard.name).string());
  std::array<std::byte, kLengthFieldBytes> length{};
  store<std::uint64_t>(length.data(), text.size());
  file.write_at(0, length);
  file.write_at(kLengthFieldBytes, std::as_bytes(std::span(text)));
}

void SafetensorsWriter::write_index(const std::string& format) {
  std::uint64_t bytes = 0, parameters = 0;
  std::map<std::string, std::string> weight_map;
  for (const Shard& shard : shards_) {
    bytes += shard.data_bytes;
    for (const PlacedPlane* plane : shard.planes) weight_map.emplace(plane->array.name, shard.name);
  }
  for (const PlannedTensor& tensor : tensors_) parameters += checked_product(tensor.shape).value_or(0);
  OrderedJson index;
  index["metadata"]["total_size"] = bytes;
  if (format == "mlx") index["metadata"]["total_parameters"] = parameters;
  index["weight_map"] = weight_map;
  add_file(kSafetensorsIndex, index.dump(2) + "\n");
}

void SafetensorsWriter::write_small_files(const WriterInput& input, const Json& quantization) {
  Json config = without_quantization(input.config);
  if (!quantization.is_null()) {
    config["quantization"] = quantization;
    config["quantization_config"] = quantization;
  }
  Sidecars sidecars = input.sidecars;
  sidecars["config.json"] = config.dump(2) + "\n";
  write_sidecars(directory_.string(), sidecars);
}

void SafetensorsWriter::write(std::size_t tensor, std::size_t plane, std::uint64_t offset, Bytes bytes) {
  assert(tensor < planes_.size() && plane < planes_[tensor].size());
  PlacedPlane& target = planes_[tensor][plane];
  assert(offset <= target.array.bytes && bytes.size() <= target.array.bytes - offset);
  if (bytes.empty()) return;
  files_[target.shard].write_at(target.begin + offset, bytes);
  const std::lock_guard lock(mutex_);
  mark_written(target.written, offset, offset + bytes.size());
}

void SafetensorsWriter::finish() {
  for (std::size_t i = 0; i < tensors_.size(); ++i)
    for (const PlacedPlane& plane : planes_[i]) {
      const std::uint64_t bytes = plane.array.bytes;
      const bool complete = bytes == 0 || (plane.written.size() == 1 && plane.written.begin()->first == 0 &&
                                           plane.written.begin()->second == bytes);
      if (complete) continue;
      std::uint64_t done = 0;
      for (const auto& [begin, end] : plane.written) done += end - begin;
      fail("{}: tensor {}: plane {} has {} of {} bytes", directory_.string(), tensors_[i].name,
           plane.array.name, done, bytes);
    }
  for (OutputFile& file : files_) file.close();
}

std::vector<std::string> SafetensorsWriter::shard_paths() const {
  std::vector<std::string> paths;
  for (const Shard& shard : shards_) paths.push_back((directory_ / shard.name).string());
  return paths;
}

}  // namespace assay
