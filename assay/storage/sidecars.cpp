#include "assay/storage/sidecars.h"

#include <array>
#include <filesystem>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/storage/model_file.h"

namespace assay {
namespace {

constexpr std::size_t kMaxSidecarBytes = 100'000'000;

constexpr std::array kSidecarNames = {
    "config.json",       "generation_config.json", "tokenizer.json",
    "tokenizer.model",   "tokenizer_config.json",  "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja",    "vocab.json",
    "merges.txt"};

}  // namespace

Sidecars read_sidecars(const std::string& directory) {
  Sidecars sidecars;
  for (const char* name : kSidecarNames) {
    // A dangling link does not count as absent: reading it then fails and says so.
    if (has_entry(directory, name))
      sidecars.emplace(name, read_file(model_file(directory, name), kMaxSidecarBytes));
  }
  return sidecars;
}

void write_sidecars(const std::string& directory, const Sidecars& sidecars) {
  for (const auto& [name, content] : sidecars)
    write_file_atomically((std::filesystem::path(directory) / name).string(), content);
}

Json sidecar_config(const Sidecars& sidecars, const std::string& directory) {
  const std::string path = (std::filesystem::path(directory) / "config.json").string();
  const auto found = sidecars.find("config.json");
  if (found == sidecars.end()) fail("{}: missing; a model directory needs its configuration", path);
  Json config = parse_json(found->second, path);
  if (!config.is_object()) fail("{}: holds {}, a JSON object expected", path, config.type_name());
  return config;
}

}  // namespace assay
