// Sensitivities as they are kept in a file, and what is demanded of them before anything is shared out.
#include <algorithm>
#include <cmath>
#include <set>

#include "assay/allocation/sensitivity.h"
#include "assay/base/checksum.h"
#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/model/roles.h"
#include "assay/recipes/candidate_formats.h"
#include "assay/storage/provenance.h"

namespace assay {
namespace {

constexpr const char* kSchemaKey = "assay_sensitivities";
constexpr int kSensitivitySchema = 2;  // the first had none, and did not say what it was measured on

const Json& list(const Json& object, const char* key, const std::string& origin) {
  if (!object.is_object() || !object.contains(key) || !object.at(key).is_array())
    fail("{}: a list \"{}\" expected", origin, key);
  return object.at(key);
}

TensorSensitivity parse_tensor(const Json& entry, const std::string& origin) {
  TensorSensitivity tensor{json_get<std::string>(entry, "tensor", origin),
                           json_get<std::uint64_t>(entry, "weights", origin),
                           {},
                           {}};
  const std::string where = fmt::format("{}: tensor {}", origin, tensor.tensor);
  tensor.unseen = json_get_or(entry, "unseen", false, where);
  for (const Json& choice : list(entry, "choices", where)) {
    const auto format = json_get<std::string>(choice, "format", where);
    if (std::ranges::find(tensor.formats, format) != tensor.formats.end())
      fail("{}: format {} twice", where, format);
    const FormatPtr known = find_format(format);
    if (known == nullptr || !known->can_encode())
      fail("{}: format {} is none that can be written", where, Json(format).dump());
    const auto damage = json_get<double>(choice, "damage", where);
    if (!std::isfinite(damage) || damage < 0)
      fail("{}: damage of {} as {}; a number that is not negative expected", where, damage, format);
    tensor.formats.push_back(format);
    tensor.choices.push_back({json_get<std::uint64_t>(choice, "bytes", where), damage});
  }
  if (tensor.choices.empty()) fail("{}: no choices", where);
  return tensor;
}

}  // namespace

OrderedJson Sensitivities::to_json() const {
  OrderedJson entries = OrderedJson::array();
  for (const TensorSensitivity& tensor : tensors) {
    OrderedJson choices = OrderedJson::array();
    for (std::size_t f = 0; f < tensor.formats.size(); ++f)
      choices.push_back({{"format", tensor.formats[f]},
                         {"bytes", tensor.choices[f].bytes},
                         {"damage", tensor.choices[f].damage}});
    entries.push_back(
        {{"tensor", tensor.tensor}, {"weights", tensor.weights}, {"choices", std::move(choices)}});
    if (tensor.unseen) entries.back()["unseen"] = true;
  }
  return sealed({{kSchemaKey, kSensitivitySchema},
                 {"revision", made_from.revision},
                 {"model", made_from.model},
                 {"formats", made_from.formats},
                 {"feedback", made_from.feedback},
                 {"divergence_windows", made_from.divergence_windows},
                 {"texts", texts_to_json(made_from.texts)},
                 {"tensors", std::move(entries)}});
}

Sensitivities Sensitivities::from_json(const Json& json, const std::string& origin) {
  if (!json.is_object()) fail("{}: found {}, an object expected", origin, json.type_name());
  if (!json.contains(kSchemaKey))
    fail("{}: no sensitivities, or made by an older version, which did not say of which model: measure again",
         origin);
  if (const int schema = json_get<int>(json, kSchemaKey, origin); schema != kSensitivitySchema)
    fail("{}: sensitivities of schema {}, {} expected: measure again", origin, schema, kSensitivitySchema);
  require_seal(json, origin);
  Sensitivities sensitivities;
  SensitivityOrigin& made_from = sensitivities.made_from;
  made_from.revision = json_get<std::string>(json, "revision", origin);
  made_from.model = json_get<std::string>(json, "model", origin);
  for (const Json& format : list(json, "formats", origin)) {
    if (!format.is_string()) fail("{}: \"formats\" holds {}, a name expected", origin, format.dump());
    made_from.formats.push_back(format.get<std::string>());
  }
  made_from.feedback = json_get<bool>(json, "feedback", origin);
  made_from.divergence_windows = json_get<std::uint64_t>(json, "divergence_windows", origin);
  made_from.texts = texts_from_json(list(json, "texts", origin), origin);
  std::set<std::string> names;
  for (const Json& entry : list(json, "tensors", origin)) {
    sensitivities.tensors.push_back(parse_tensor(entry, origin));
    if (const std::string& name = sensitivities.tensors.back().tensor; !names.insert(name).second)
      fail("{}: tensor {}: measured twice", origin, name);
  }
  return sensitivities;
}

void require_sensitivities_of(const Checkpoint& checkpoint, const Sensitivities& sensitivities,
                              ProgressSink* progress) {
  if (sensitivities.made_from.model != content_identity(checkpoint, progress))
    fail(
        "{}: the sensitivities were measured on another model (other weights or configuration): measure "
        "again",
        checkpoint.path);
  std::set<std::string> measured;
  for (const TensorSensitivity& entry : sensitivities.tensors) {
    const Tensor* tensor = checkpoint.find(entry.tensor);
    const std::string where = fmt::format("{}: tensor {}", checkpoint.path, entry.tensor);
    if (tensor == nullptr)
      fail("{}: has a measurement, but the model has no such tensor: measure again", where);
    if (!is_block_matrix(require_role(tensor->name, checkpoint.path)))
      fail("{}: has a measurement, but is no matrix inside the blocks: measure again", where);
    if (!measured.insert(entry.tensor).second) fail("{}: measured twice", where);
    const MatrixShape shape = as_matrix(tensor->shape);
    if (entry.weights != tensor->elements())
      fail("{}: measured with {} weights, it has {}: measure again", where, entry.weights,
           tensor->elements());
    for (std::size_t f = 0; f < entry.formats.size(); ++f) {
      const FormatPtr format = find_format(entry.formats[f]);
      const auto misfit = format == nullptr ? std::optional<std::string>("it is unknown")
                                            : format->misfit(shape.rows, shape.columns);
      if (misfit) fail("{}: measured as {}, but {}: measure again", where, entry.formats[f], *misfit);
      const auto bytes = packed_bytes(*format, shape.rows, shape.columns);
      if (entry.choices[f].bytes != bytes)
        fail("{}: measured with {} bytes as {}, which takes {}: measure again", where, entry.choices[f].bytes,
             entry.formats[f], bytes.value_or(0));
    }
  }
  for (const Tensor& tensor : checkpoint.tensors)
    if (const Role role = require_role(tensor.name, checkpoint.path);
        is_block_matrix(role) && !measured.contains(tensor.name) &&
        !fitting_formats(tensor, role, sensitivities.made_from.formats).empty())
      fail("{}: tensor {}: has no measurement among the sensitivities: measure again", checkpoint.path,
           tensor.name);
}

}  // namespace assay
