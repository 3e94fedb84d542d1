#include "assay/model/completeness.h"

#include <fmt/core.h>

#include <filesystem>
#include <memory>

#include "assay/base/error.h"
#include "assay/model/config_spellings.h"
#include "assay/model/model.h"
#include "assay/model/roles.h"

namespace assay {
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMostMissing = 1000;
constexpr std::uint64_t kSmallestTensor = 32;  // bytes of a header that name and place one

/// No more tensors than this can lie below the path: their descriptions take bytes.
std::size_t most_tensors(const std::string& path) {
  std::uint64_t bytes = 0;
  std::error_code problem;
  if (fs::is_directory(path, problem)) {
    for (const auto& entry : fs::directory_iterator(path, problem)) {
      const std::uint64_t size = entry.file_size(problem);
      if (!problem) bytes += size;
    }
  } else if (const std::uint64_t size = fs::file_size(path, problem); !problem) {
    bytes = size;
  }
  return static_cast<std::size_t>(bytes / kSmallestTensor) + 2;
}

/// Parts that a text model may leave out, and a head stored beside the embedding it is tied to (the loader
/// compares the two).
bool may_be_surplus(std::string_view name) {
  const std::optional<Role> role = classify_tensor(name);
  return role == Role::vision || role == Role::multi_token_prediction || role == Role::head;
}

}  // namespace

std::string Completeness::summary() const {
  if (!problem.empty()) return problem;
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : "; ") + part; };
  const auto others = [](std::size_t count) {
    return count > 1 ? fmt::format(" and {} other{}", count - 1, count == 2 ? "" : "s") : std::string();
  };
  if (!missing.empty())
    add(fmt::format("tensor {}{}{} missing", missing[0], others(missing.size()),
                    cut                  ? " at least"
                    : missing.size() > 1 ? " are"
                                         : " is"));
  if (!misshapen.empty())
    add(fmt::format("tensor {}: shape is {}, config.json says {}{}", misshapen[0].tensor,
                    shape_text(misshapen[0].found), shape_text(misshapen[0].expected),
                    misshapen.size() > 1 ? fmt::format(" ({} such)", misshapen.size()) : ""));
  if (!surplus.empty())
    add(fmt::format("tensor {}{}: the architecture in config.json has no such tensor", surplus[0],
                    others(surplus.size())));
  return text;
}

Completeness check_completeness(const Checkpoint& checkpoint) {
  Completeness found;
  const std::vector<Tensor>& tensors = checkpoint.tensors;
  std::vector<bool> asked_for(tensors.size());
  const auto tell = [&](const ExpectedTensor& expected) {
    const Tensor* tensor = checkpoint.find(expected.name);
    if (tensor == nullptr) {
      found.missing.push_back(expected.name);
    } else {
      asked_for[static_cast<std::size_t>(tensor - tensors.data())] = true;
      if (tensor->shape != expected.shape)
        found.misshapen.push_back({tensor->name, tensor->shape, expected.shape});
    }
    found.cut = found.missing.size() >= kMostMissing;
    return !found.cut;
  };
  try {
    const Json& config = checkpoint.config;
    if (config.is_object())
      found.model_type = json_get_or<std::string>(text_config(config), "model_type", "", "config.json");
    found.known = tell_expected_tensors(config, tell, &checkpoint);
  } catch (const Error& problem) {
    found.known = true;
    found.problem = problem.what();
  }
  if (!found.known || !found.problem.empty() || found.cut) return found;
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (!asked_for[i] && !may_be_surplus(tensors[i].name)) found.surplus.push_back(tensors[i].name);
  return found;
}

CheckpointPtr open_as_it_lies(const std::string& path, const std::string& config_directory) {
  const auto hint = [most = most_tensors(path)](const Json& config) {
    return expected_tensors(config, most);
  };
  return open_checkpoint(path, {.architecture = hint, .config_directory = config_directory});
}

CheckpointPtr open_model(const std::string& path, const std::string& config_directory) {
  const CheckpointPtr opened = open_as_it_lies(path, config_directory);
  if (opened->tensors.empty()) fail("{}: holds no tensor", path);
  const Completeness state = check_completeness(*opened);
  if (!state.whole()) {
    for (const std::string& name : state.surplus) require_role(name, path);  // says more of unknown names
    fail("{}: {}; incomplete, or config.json belongs to another model (assay audit names everything)", path,
         state.summary());
  }
  auto checkpoint = std::make_shared<Checkpoint>(*opened);
  if (!state.known)
    checkpoint->warnings.push_back(fmt::format(
        "{}: model_type '{}' is not known: whether all of its tensors are there cannot be checked", path,
        state.model_type));
  for (std::string& note : disagreeing_spellings(*checkpoint))
    checkpoint->warnings.push_back(std::move(note));
  return checkpoint;
}

std::optional<std::string> why_not_runnable(const Checkpoint& checkpoint) {
  try {
    model_config_of(checkpoint);
  } catch (const Error& problem) {
    return problem.what();
  }
  const Completeness state = check_completeness(checkpoint);
  return state.whole() ? std::nullopt : std::optional(checkpoint.path + ": " + state.summary());
}

void require_runnable(const Checkpoint& checkpoint, bool anyway) {
  if (anyway) return;
  if (const auto why = why_not_runnable(checkpoint))
    fail("{}; nothing here could run or measure what would be written (--unknown writes it all the same)",
         *why);
}

}  // namespace assay
