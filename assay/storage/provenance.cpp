#include "assay/storage/provenance.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <system_error>

#include "assay/base/file.h"

namespace assay {
namespace {

/// SHA-256 of a file. Kept for files that have not been touched for a while: a younger one may be written to
/// again within the same tick of the file system's clock.
std::string hash_of(const MappedFile& file) {
  struct Known {
    FileIdentity identity;
    std::string sha256;
  };
  static std::mutex mutex;
  static std::map<std::string, Known> known;
  constexpr std::int64_t kSettledNs = 2'000'000'000;
  const std::lock_guard lock(mutex);
  const auto found = known.find(file.path());
  if (found != known.end() && found->second.identity == file.identity()) return found->second.sha256;
  std::string sha256 = sha256_hex(file.bytes());
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  if (std::chrono::nanoseconds(now).count() - file.identity().modified_ns > kSettledNs)
    known[file.path()] = {file.identity(), sha256};
  return sha256;
}

}  // namespace

OrderedJson hash_files(const std::vector<std::string>& paths, ProgressSink* sink) {
  std::uint64_t total = 0;
  for (const std::string& path : paths) {
    std::error_code problem;  // told below, by who opens it
    const std::uint64_t bytes = std::filesystem::file_size(path, problem);
    if (!problem) total += bytes;
  }
  Progress progress(sink, "hash", total, "bytes");
  OrderedJson list = OrderedJson::array();
  for (const std::string& path : paths) {
    const auto file = MappedFile::open(path);
    list.push_back({{"name", std::filesystem::path(path).filename().string()},
                    {"bytes", file->bytes().size()},
                    {"sha256", hash_of(*file)}});
    progress.advance(file->bytes().size());
  }
  return list;
}

std::string content_identity(const Checkpoint& checkpoint, ProgressSink* progress) {
  std::vector<std::string> hashes;
  for (const auto& file : hash_files(checkpoint.files, progress))
    hashes.push_back(file["sha256"].get<std::string>());
  std::ranges::sort(hashes);
  std::string content = checkpoint.config.dump(-1, ' ', false, Json::error_handler_t::replace);
  for (const std::string& hash : hashes) content += "\n" + hash;
  return sha256_hex(std::as_bytes(std::span(content.data(), content.size())));
}

std::optional<Json> inherited_manifest(const Checkpoint& checkpoint) {
  if (!checkpoint.manifest) return std::nullopt;
  Json inherited = Json::object();
  for (const char* key : {"source", "origins", "texts", "calibration"})
    if (const auto found = checkpoint.manifest->find(key); found != checkpoint.manifest->end())
      inherited[key] = *found;
  return inherited;
}

}  // namespace assay
