#include "assay/measure/reference_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/quote.h"
#include "assay/measure/model_facts.h"

namespace assay {
namespace {

/// What tells weight files apart; names do not.
using FileSet = std::multiset<std::pair<std::uint64_t, std::string>>;  // bytes, sha256

struct NamedSource {
  std::string path;
  FileSet files;
};

NamedSource parse_source(const Json& block, const std::string& origin) {
  NamedSource source;
  source.path = json_get_or<std::string>(block, "path", "a source without a name", origin);
  const auto files = block.find("files");
  if (files == block.end() || !files->is_array()) fail("{}: a list \"files\" expected", origin);
  for (const Json& file : *files)
    source.files.emplace(json_get<std::uint64_t>(file, "bytes", origin),
                         json_get<std::string>(file, "sha256", origin));
  return source;
}

/// The direct source first, then those further back, the nearest first.
std::vector<NamedSource> named_sources(const Checkpoint& model) {
  std::vector<NamedSource> sources;
  if (!model.manifest || !model.manifest->is_object()) return sources;
  const std::string origin = model.path + "/assay.json";
  const Json& manifest = *model.manifest;
  if (!manifest.contains("source")) return sources;
  if (!manifest.at("source").is_object()) fail("{}: \"source\" is no object", origin);
  sources.push_back(parse_source(manifest.at("source"), origin + ": source"));
  const auto origins = manifest.find("origins");
  if (origins == manifest.end()) return sources;
  if (!origins->is_array()) fail("{}: \"origins\" is no list", origin);
  for (auto block = origins->rbegin(); block != origins->rend(); ++block) {
    if (!block->is_object()) fail("{}: \"origins\" holds something that is no object", origin);
    sources.push_back(parse_source(*block, origin + ": origins"));
  }
  return sources;
}

std::multiset<std::uint64_t> sizes_on_disk(const Checkpoint& checkpoint) {
  std::multiset<std::uint64_t> sizes;
  for (const std::string& path : checkpoint.files) sizes.insert(MappedFile::open(path)->bytes().size());
  return sizes;
}

std::multiset<std::uint64_t> sizes_of(const FileSet& files) {
  std::multiset<std::uint64_t> sizes;
  for (const auto& [bytes, sha256] : files) sizes.insert(bytes);
  return sizes;
}

FileSet hash(const Checkpoint& checkpoint, ProgressSink* progress) {
  FileSet files;
  for (const FileFact& file : hash_weight_files(checkpoint, progress)) files.emplace(file.bytes, file.sha256);
  return files;
}

bool same_weights(const Checkpoint& model, const Checkpoint& reference, ProgressSink* progress) {
  return !model.files.empty() && sizes_on_disk(model) == sizes_on_disk(reference) &&
         hash(model, progress) == hash(reference, progress);
}

/// Of the largest file.
std::string size_and_hash(const FileSet& files) {
  return files.empty()
             ? "no files"
             : fmt::format("{} bytes, sha256 {:.12}", files.rbegin()->first, files.rbegin()->second);
}

}  // namespace

std::string_view relation_name(ReferenceRelation relation) {
  switch (relation) {
    case ReferenceRelation::source:
      return "source";
    case ReferenceRelation::origin:
      return "earlier source";
    case ReferenceRelation::not_verifiable:
      return "not verifiable";
    case ReferenceRelation::same_files:
      return "the model itself";
    case ReferenceRelation::other:
      return "not the source";
  }
  return "";
}

OrderedJson to_json(const ReferenceCheck& check) {
  return {{"relation", relation_name(check.relation)}, {"sentence", check.sentence}};
}

ReferenceCheck check_reference(const Checkpoint& model, const Checkpoint& reference, ProgressSink* progress) {
  const std::vector<NamedSource> sources = named_sources(model);
  const bool known = !sources.empty();
  if (same_weights(model, reference, progress))
    return {ReferenceRelation::same_files,
            fmt::format("{}: the reference {} is the very same weights", model.path, reference.path), known};
  if (!known)
    return {ReferenceRelation::not_verifiable,
            fmt::format("reference not verifiable: {} has no manifest that names its source", model.path),
            known};
  const auto sizes = sizes_on_disk(reference);
  std::string found = fmt::format("{} bytes", sizes.empty() ? 0 : *sizes.rbegin());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (sizes != sizes_of(sources[i].files)) continue;
    const FileSet files = hash(reference, progress);
    found = size_and_hash(files);
    if (files == sources[i].files)
      return {i == 0 ? ReferenceRelation::source : ReferenceRelation::origin,
              fmt::format("{} is what {} was made from{}: hashes agree", reference.path, model.path,
                          i == 0 ? "" : " in several steps"),
              known};
  }
  return {ReferenceRelation::other,
          fmt::format("{}: made from {} ({}), which the reference {} ({}) is not", model.path,
                      quote(sources[0].path), size_and_hash(sources[0].files), reference.path, found),
          known};
}

void require_source(const ReferenceCheck& check, const ReferenceRules& rules) {
  const bool refused =
      check.relation == ReferenceRelation::other ||
      (check.relation == ReferenceRelation::same_files && (rules.same_is_refused || check.source_known));
  if (refused && !rules.any)
    fail("{}; give its source, or --any-reference to compare all the same", check.sentence);
}

}  // namespace assay
