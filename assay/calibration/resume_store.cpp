#include "assay/calibration/resume_store.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "assay/base/checksum.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/json_text.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRequest = "request.json";
constexpr const char* kProgress = "progress.json";
constexpr const char* kMarker = "assay_calibration";  // in request.json: what makes a folder ours
constexpr int kResumeSchema = 2;
constexpr std::size_t kNoteLimit = 64u << 20;
constexpr const char* kAdvice = "remove the folder to start over";

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

}  // namespace

/// By its content: the marker as this class writes it, and nothing beside it that it does not.
bool ResumeStore::is_ours() const {
  std::error_code problem;
  if (!fs::is_directory(fs::symlink_status(folder_, problem))) return false;
  try {
    const Json marker = read_json_file(file(kRequest), {.bytes = kNoteLimit});
    require_seal(marker, file(kRequest));
    if (!marker.contains(kMarker)) return false;
  } catch (const Error&) {
    return false;
  }
  for (auto entry = fs::directory_iterator(folder_, problem); entry != fs::directory_iterator();
       entry.increment(problem))
    if (problem || !fs::is_regular_file(entry->symlink_status(problem)) ||
        !is_our_file(entry->path().filename().string()))
      return false;
  return !problem;
}

ResumeStore::ResumeStore(std::string folder, const OrderedJson& request) : folder_(std::move(folder)) {
  const std::string wanted = json_text(sealed({{kMarker, kResumeSchema}, {"request", request}}), 1);
  const Bytes bytes = std::as_bytes(std::span(wanted.data(), wanted.size()));
  request_ = checksum128_hex({&bytes, 1});
  std::error_code ignored;
  const bool exists = fs::exists(fs::symlink_status(folder_, ignored));
  if (exists && !(fs::is_directory(fs::symlink_status(folder_, ignored)) && fs::is_empty(folder_, ignored))) {
    if (!is_ours())
      fail("{}: exists and is no calibration of ours; remove it or choose another output", folder_);
    if (read_file(file(kRequest), kNoteLimit) == wanted) {
      if (!fs::exists(file(kProgress), ignored)) return;
      const Json progress = read_note(kProgress, {{"kind", "progress"}});
      finished_blocks_ = json_get<int>(progress, "blocks", file(kProgress));
      hidden_checksum_ = json_get<std::string>(progress, "hidden", file(kProgress));
      if (finished_blocks_ < 0)
        fail("{}: {} finished blocks; {}", file(kProgress), finished_blocks_, kAdvice);
      return;
    }
    remove();
  }
  const MadeFolders above(parent_folder(folder_));
  AtomicDirectory made(folder_);  // never there without its marker
  write_file_atomically((made.staging() / kRequest).string(), wanted);
  made.commit();
}

Json ResumeStore::read_note(const std::string& name, const OrderedJson& what) const {
  const std::string path = file(name);
  try {
    Json note = read_json_file(path, {.bytes = kNoteLimit});
    require_seal(note, path);
    OrderedJson expected = what;
    expected["request"] = request_;
    for (const auto& [key, value] : expected.items())
      if (!note.contains(key) || note[key] != Json::parse(json_text(value)))
        fail("{}: \"{}\" is {}, {} expected: it belongs elsewhere", path, key,
             note.contains(key) ? json_text(note[key]) : "missing", json_text(value));
    return note;
  } catch (const Error& problem) {
    fail("{}; {}", problem.what(), kAdvice);
  }
}

void ResumeStore::write_note(const std::string& name, OrderedJson what) const {
  what["request"] = request_;
  write_file_atomically(file(name), json_text(sealed(std::move(what))));
}

std::vector<float> ResumeStore::hidden(std::size_t size) const {
  const std::string name = file(hidden_name(finished_blocks_));
  const auto mapped = MappedFile::open(name);
  const Bytes bytes = mapped->bytes();
  if (bytes.size() != size * sizeof(float))
    fail("{}: {} bytes, {} expected; {}", name, bytes.size(), size * sizeof(float), kAdvice);
  if (checksum128_hex({&bytes, 1}) != hidden_checksum_)
    fail("{}: damaged: its bytes do not have the checksum expected; {}", name, kAdvice);
  std::vector<float> hidden(size);
  std::memcpy(hidden.data(), bytes.data(), bytes.size());
  for (const float value : hidden)
    if (!std::isfinite(value)) fail("{}: holds {}, numbers expected; {}", name, value, kAdvice);
  return hidden;
}

std::optional<ResumeStore::Entry> ResumeStore::tensor(std::size_t index,
                                                      const std::vector<std::size_t>& plane_bytes) const {
  const std::string planes = fmt::format("tensor-{}.planes", index),
                    note_name = fmt::format("tensor-{}.json", index);
  const std::string name = file(planes);
  std::error_code ignored;
  if (!fs::exists(name, ignored) || !fs::exists(file(note_name), ignored)) return std::nullopt;
  const Json note = read_note(note_name, {{"kind", "tensor"}, {"number", index}, {"planes", plane_bytes}});
  const auto mapped = MappedFile::open(name);
  const Bytes bytes = mapped->bytes();
  Entry entry;
  std::size_t at = 0;
  for (const std::size_t size : plane_bytes) {
    if (size > bytes.size() - at) fail("{}: {} bytes, more expected; {}", name, bytes.size(), kAdvice);
    const Bytes plane = bytes.subspan(at, size);
    entry.planes.emplace_back(plane.begin(), plane.end());
    at += size;
  }
  if (at != bytes.size()) fail("{}: {} bytes, {} expected; {}", name, bytes.size(), at, kAdvice);
  if (checksum128_hex({&bytes, 1}) != json_get<std::string>(note, "checksum", file(note_name)))
    fail("{}: damaged: its bytes do not have the checksum expected; {}", name, kAdvice);
  entry.report = note.contains("report") ? note["report"] : Json();
  return entry;
}

void ResumeStore::put_tensor(std::size_t index, const std::vector<std::vector<std::byte>>& planes,
                             const OrderedJson& report) {
  std::string content;
  std::vector<std::size_t> sizes;
  for (const auto& plane : planes) {
    content += text_of(plane);
    sizes.push_back(plane.size());
  }
  const Bytes bytes = std::as_bytes(std::span(content.data(), content.size()));
  write_file_atomically(file(fmt::format("tensor-{}.planes", index)), content);
  write_note(fmt::format("tensor-{}.json", index), {{"kind", "tensor"},
                                                    {"number", index},
                                                    {"planes", sizes},
                                                    {"checksum", checksum128_hex({&bytes, 1})},
                                                    {"report", report}});
}

void ResumeStore::finish_block(int blocks, std::span<const float> hidden) {
  const Bytes bytes = std::as_bytes(hidden);
  hidden_checksum_ = checksum128_hex({&bytes, 1});
  write_file_atomically(file(hidden_name(blocks)), text_of(bytes));
  write_note(kProgress, {{"kind", "progress"}, {"blocks", blocks}, {"hidden", hidden_checksum_}});
  std::error_code ignored;
  if (blocks != finished_blocks_) fs::remove(file(hidden_name(finished_blocks_)), ignored);
  finished_blocks_ = blocks;
}

void ResumeStore::remove() {
  // The marker goes last: what is left of a removal that was killed is still known as ours.
  std::error_code ignored;
  std::vector<fs::path> ours;
  for (auto entry = fs::directory_iterator(folder_, ignored); entry != fs::directory_iterator();
       entry.increment(ignored))
    if (const std::string name = entry->path().filename().string(); is_our_file(name) && name != kRequest)
      ours.push_back(entry->path());
  for (const fs::path& path : ours) fs::remove(path, ignored);
  fs::remove(file(kRequest), ignored);
  fs::remove(folder_, ignored);
}

}  // namespace assay
