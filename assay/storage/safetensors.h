#pragma once
// safetensors files: the header parser and directories of one or several shards. Format: u64 N, N bytes of
// JSON, data (huggingface.co/docs/safetensors). Nothing in a file is trusted; data may lie at any alignment.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "assay/base/bytes.h"
#include "assay/base/dtype.h"
#include "assay/storage/tensor.h"

namespace assay {

/// One array as a header describes it; bounds are proven.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::U8;
  Shape shape;
  std::uint64_t begin = 0, end = 0;  // bytes, from the start of the file
};

/// Parses and checks the header of a whole file; entries come in the order of their data. Throws Error, with
/// `origin` (a path) first.
std::vector<SafetensorsEntry> parse_safetensors_header(Bytes file, const std::string& origin);

/// One array of an opened file.
struct StoredArray {
  DType dtype = DType::U8;
  Shape shape;
  Bytes bytes;                        // any alignment
  std::string file;                   // path
  std::shared_ptr<const void> owner;  // keeps `bytes` alive
};
using StoredArrays = std::map<std::string, StoredArray, std::less<>>;

/// All arrays of a directory, by name.
struct SafetensorsDirectory {
  StoredArrays arrays;
  std::vector<std::string> files;  // paths of the shards, sorted
};

constexpr const char* kSafetensorsFile = "model.safetensors";
constexpr const char* kSafetensorsIndex = "model.safetensors.index.json";

/// Is there a model.safetensors or its index?
bool has_safetensors(const std::string& directory);

/// Opens model.safetensors or the shards of its index, mapped. A shard outside the directory, a missing one,
/// a tensor in two shards, unmapped or mapped but missing: Error.
SafetensorsDirectory open_safetensors_directory(const std::string& directory);

/// The array as a tensor of its own: f32, f16 or bf16, or no format for any other dtype.
Tensor plain_tensor(const std::string& name, const StoredArray& array);

/// Tensor names go into messages of one line: throws Error for one with control characters.
void require_printable(const std::string& tensor, const std::string& origin);

/// Is `name` a file name without any directory part? For names that come out of index and manifest files.
bool is_plain_file_name(const std::string& name);

}  // namespace assay
