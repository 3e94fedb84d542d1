#pragma once
// Is everything there that config.json says must be there, of the shape it says, and nothing else? Asked of
// every model that is opened: the tensors of a known architecture are listed (and of no other).
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "assay/storage/checkpoint.h"

namespace assay {

/// Takes one tensor; false: enough.
using TellTensor = std::function<bool(ExpectedTensor)>;

/// Tells the tensors of a supported architecture one by one; false, and none, for the others. Where names or
/// layouts differ between containers (prefixes, stacked experts) they are those of `stored`, if given.
bool tell_expected_tensors(const Json& config, const TellTensor& tell, const Checkpoint* stored = nullptr);
/// The first `most` of them (at least one): a config may ask for millions.
std::optional<std::vector<ExpectedTensor>> expected_tensors(const Json& config, std::size_t most);

struct Completeness {
  struct Misshapen {
    std::string tensor;
    Shape found, expected;
  };
  bool known = false;      // the architecture; if not, nothing below was looked for
  std::string model_type;  // "" when config.json has none
  std::string problem;     // why the list ends: what config.json lacks
  std::vector<std::string> missing, surplus;
  std::vector<Misshapen> misshapen;
  bool cut = false;  // so much is missing that the rest was not looked for

  bool whole() const { return problem.empty() && missing.empty() && surplus.empty() && misshapen.empty(); }
  /// One line: what config.json and tensors disagree in, by the first of each kind.
  std::string summary() const;
};
Completeness check_completeness(const Checkpoint& checkpoint);

/// open_model() without the demand that everything be there: for who shows and judges models.
CheckpointPtr open_as_it_lies(const std::string& path, const std::string& config_directory = "");

/// Why this model cannot be run, and so neither measured nor calibrated; nothing when it can, as far as its
/// configuration and tensors tell.
std::optional<std::string> why_not_runnable(const Checkpoint& checkpoint);
/// Throws Error for such a model, unless `anyway`: nothing could run what is written of it.
void require_runnable(const Checkpoint& checkpoint, bool anyway);

}  // namespace assay
