#include <algorithm>
#include <filesystem>
#include <set>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/json.h"
#include "assay/storage/model_file.h"
#include "assay/storage/safetensors.h"
#include "assay/storage/tensor_planes.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

/// Weights by shard file name, as the index says.
using WeightMap = std::map<std::string, std::string>;

WeightMap read_index(const std::string& path) {
  const Json index = read_json_file(path);
  const auto found = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || found == index.end() || !found->is_object())
    fail("{}: no object \"weight_map\"", path);
  WeightMap weights;
  for (const auto& [tensor, shard] : found->items()) {
    if (!shard.is_string())
      fail("{}: tensor {}: shard is {}, a file name expected", path, tensor, shard.type_name());
    weights.emplace(tensor, shard.get<std::string>());
  }
  if (weights.empty()) fail("{}: \"weight_map\" is empty: the index of no tensor", path);
  return weights;
}

/// The shard's path, proven to lie in the directory.
fs::path shard_path(const std::string& directory, const std::string& shard, const std::string& index) {
  if (!is_plain_file_name(shard))
    fail("{}: shard {} is not a plain file name inside the directory", index, Json(shard).dump());
  if (!has_entry(directory, shard)) fail("{}: shard {} is missing", index, shard);
  return model_file(directory, shard);
}

void add_shard(SafetensorsDirectory& opened, const fs::path& path, const WeightMap* index) {
  const auto file = MappedFile::open(path.string());
  for (SafetensorsEntry& entry : parse_safetensors_header(file->bytes(), file->path())) {
    const auto other = opened.arrays.find(entry.name);
    if (other != opened.arrays.end())
      fail("{}: tensor {}: also in {}", file->path(), entry.name, other->second.file);
    if (index != nullptr) {
      const auto mapped = index->find(entry.name);
      if (mapped == index->end())
        fail("{}: tensor {}: not in the index {}", file->path(), entry.name, kSafetensorsIndex);
      if (mapped->second != path.filename())
        fail("{}: tensor {}: the index says it is in {}", file->path(), entry.name, mapped->second);
    }
    opened.arrays.emplace(std::move(entry.name),
                          StoredArray{.dtype = entry.dtype,
                                      .shape = std::move(entry.shape),
                                      .bytes = file->bytes().subspan(entry.begin, entry.end - entry.begin),
                                      .file = file->path(),
                                      .owner = file});
  }
  opened.files.push_back(file->path());
}

}  // namespace

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

bool has_safetensors(const std::string& directory) {
  return has_entry(directory, kSafetensorsFile) || has_entry(directory, kSafetensorsIndex);
}

SafetensorsDirectory open_safetensors_directory(const std::string& directory) {
  SafetensorsDirectory opened;
  if (!has_entry(directory, kSafetensorsIndex)) {
    add_shard(opened, model_file(directory, kSafetensorsFile), nullptr);
    return opened;
  }
  const std::string index_path = model_file(directory, kSafetensorsIndex);
  const WeightMap index = read_index(index_path);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : index) shards.insert(shard);
  if (has_entry(directory, kSafetensorsFile) && !shards.contains(kSafetensorsFile))
    fail("{}: does not name {}, which lies beside it; remove one of the two models", index_path,
         kSafetensorsFile);
  for (const std::string& shard : shards) add_shard(opened, shard_path(directory, shard, index_path), &index);
  for (const auto& [tensor, shard] : index)
    if (!opened.arrays.contains(tensor))
      fail("{}: tensor {}: not in its shard {}", index_path, tensor, shard);
  return opened;
}

Tensor plain_tensor(const std::string& name, const StoredArray& array) {
  Tensor tensor;
  tensor.name = name;
  tensor.shape = array.shape;
  tensor.dtype = array.dtype;
  tensor.format = plain_float_format(array.dtype);
  tensor.planes = {array.bytes};
  tensor.file = array.file;
  tensor.owners = {array.owner};
  return tensor;
}

}  // namespace assay
