#include "assay/quantize/resume_store.h"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>

#include "assay/base/error.h"
#include "assay/base/file.h"

namespace assay {
namespace {

constexpr const char* kRequest = "request.json";
constexpr const char* kProgress = "progress.json";

std::string hidden_name(int blocks) {
  return fmt::format("hidden-{}.f32", blocks);
}

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Names that this class writes, half-written ones of a killed run included.
bool is_our_file(const std::string& name) {
  return name == kRequest || name == kProgress || name.starts_with("hidden-") ||
         name.starts_with("tensor-") || name.find(".assay-tmp-") != std::string::npos;
}

bool holds_only_ours(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder)) return false;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (!entry.is_regular_file() || !is_our_file(entry.path().filename().string())) return false;
  return true;
}

}  // namespace

ResumeStore::ResumeStore(std::string folder, const OrderedJson& request) : folder_(std::move(folder)) {
  const std::string wanted = request.dump(1);
  std::error_code ignored;
  if (std::filesystem::exists(file(kRequest), ignored) && read_file(file(kRequest), 64u << 20) == wanted) {
    if (std::filesystem::exists(file(kProgress), ignored))
      finished_blocks_ = json_get<int>(read_json_file(file(kProgress)), "blocks", file(kProgress));
    if (finished_blocks_ < 0)
      fail("{}: {} finished blocks; remove the folder to start over", file(kProgress), finished_blocks_);
    return;
  }
  // Only what this class writes is removed: the folder may be somebody's own, named by mistake.
  if (std::filesystem::exists(folder_) && !holds_only_ours(folder_))
    fail("{}: exists and is no calibration of ours; remove it or choose another output", folder_);
  std::filesystem::remove_all(folder_, ignored);
  if (!std::filesystem::create_directories(folder_, ignored) || ignored)
    fail("{}: cannot create the folder: {}", folder_, ignored.message());
  write_file_atomically(file(kRequest), wanted);
}

std::vector<float> ResumeStore::hidden(std::size_t size) const {
  const std::string name = file(hidden_name(finished_blocks_));
  const auto mapped = MappedFile::open(name);
  if (mapped->bytes().size() != size * sizeof(float))
    fail("{}: {} bytes, {} expected; remove the folder to start over", name, mapped->bytes().size(),
         size * sizeof(float));
  std::vector<float> hidden(size);
  std::memcpy(hidden.data(), mapped->bytes().data(), mapped->bytes().size());
  return hidden;
}

std::optional<ResumeStore::Entry> ResumeStore::tensor(std::size_t index,
                                                      const std::vector<std::size_t>& plane_bytes) const {
  const std::string name = file(fmt::format("tensor-{}.planes", index));
  const std::string report = file(fmt::format("tensor-{}.json", index));
  if (!std::filesystem::exists(name) || !std::filesystem::exists(report)) return std::nullopt;
  const auto mapped = MappedFile::open(name);
  Entry entry;
  std::size_t at = 0;
  for (const std::size_t bytes : plane_bytes) {
    if (bytes > mapped->bytes().size() - at)
      fail("{}: {} bytes, more expected; remove the folder to start over", name, mapped->bytes().size());
    const Bytes plane = mapped->bytes().subspan(at, bytes);
    entry.planes.emplace_back(plane.begin(), plane.end());
    at += bytes;
  }
  if (at != mapped->bytes().size())
    fail("{}: {} bytes, {} expected; remove the folder to start over", name, mapped->bytes().size(), at);
  entry.report = read_json_file(report);
  return entry;
}

void ResumeStore::put_tensor(std::size_t index, const std::vector<std::vector<std::byte>>& planes,
                             const OrderedJson& report) {
  std::string content;
  for (const auto& plane : planes) content += text_of(plane);
  write_file_atomically(file(fmt::format("tensor-{}.planes", index)), content);
  write_file_atomically(file(fmt::format("tensor-{}.json", index)), report.dump());
}

void ResumeStore::finish_block(int blocks, std::span<const float> hidden) {
  write_file_atomically(file(hidden_name(blocks)), text_of(std::as_bytes(hidden)));
  write_file_atomically(file(kProgress), OrderedJson{{"blocks", blocks}}.dump());
  std::error_code ignored;
  std::filesystem::remove(file(hidden_name(finished_blocks_)), ignored);
  finished_blocks_ = blocks;
}

void ResumeStore::remove() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace assay
