#include "assay/storage/lattice_index.h"

#include <algorithm>
#include <initializer_list>
#include <set>
#include <utility>

#include "assay/base/checked.h"
#include "assay/base/error.h"

namespace assay {
namespace {

bool is_ascii_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/// QuaRot's object form is strict: an unknown key may change what the weights mean.
void refuse_unknown_keys(const Json& object, std::initializer_list<std::string_view> known,
                         const std::string& origin) {
  for (const auto& item : object.items())
    if (std::find(known.begin(), known.end(), item.key()) == known.end())
      fail("{}: unknown key \"{}\"", origin, item.key());
}

Shape parse_lattice_shape(const Json& entry, const std::string& origin) {
  const auto found = entry.find("shape");
  if (found == entry.end() || !found->is_array()) fail("{}: key \"shape\" is missing or no array", origin);
  Shape shape;
  for (const Json& dim : *found) {
    if (!dim.is_number_unsigned())
      fail("{}: shape holds {}, a count expected", origin, dim.dump().substr(0, 80));
    shape.push_back(dim.get<std::uint64_t>());
  }
  return shape;
}

LatticeIndexEntry parse_entry(const Json& json, bool strict, const std::string& index_path) {
  if (!json.is_object())
    fail("{}: an entry is {}, an object expected", index_path, json.dump().substr(0, 80));
  LatticeIndexEntry entry;
  entry.name = json_get<std::string>(json, "name", index_path);
  const std::string origin = index_path + ": tensor " + entry.name;
  if (const auto why = lattice_name_misfit(entry.name)) fail("{}: {}", origin, *why);
  if (strict) refuse_unknown_keys(json, {"name", "file", "quantized", "shape", "numel"}, origin);
  entry.file = json_get<std::string>(json, "file", origin);
  entry.format = json_get_or<std::string>(json, "format", "", origin);
  entry.quantized = json_get<bool>(json, "quantized", origin);
  entry.shape = parse_lattice_shape(json, origin);
  const auto stated = json_get<std::uint64_t>(json, "numel", origin);
  const auto elements = checked_product(entry.shape);
  if (!elements || *elements != stated)
    fail("{}: numel is {}, shape {} says otherwise", origin, stated, shape_text(entry.shape));
  return entry;
}

/// The fields that QuaRot's converter adds. Weights that also need a rotation at run time are refused.
void parse_rotation(const Json& json, const std::string& origin, LatticeIndex& index) {
  refuse_unknown_keys(json, {"quarot_seed", "tensors", "online", "artifact_version", "promotion"}, origin);
  const auto seed = json_get<std::uint64_t>(json, "quarot_seed", origin);
  const auto version = json_get_or<std::string>(json, "artifact_version", "v0-residual", origin);
  if (version != "v0-residual")
    fail("{}: artifact_version is {}, v0-residual expected (online rotations are not supported)", origin,
         version);
  const auto online = json.find("online");
  if (online != json.end() && !online->is_null() && *online != Json(false))
    fail("{}: \"online\" is {}: rotations at run time are not supported", origin,
         online->dump().substr(0, 80));
  index.warnings.push_back(fmt::format(
      "{}: weights live in a basis rotated by QuaRot (seed {}); do not compare them with the original "
      "tensor by tensor",
      origin, seed));
  const auto promotion = json.find("promotion");
  if (promotion == json.end() || promotion->is_null()) return;
  const auto state = json_get<std::string>(*promotion, "state", origin + ": promotion");
  if (state != "unpromoted" && state != "promoted" && state != "rejected")
    fail("{}: promotion state is {}, unpromoted, promoted or rejected expected", origin, state);
  if (state == "rejected")
    index.warnings.push_back(
        fmt::format("{}: its own quality gate rejected this model ({})", origin,
                    json_get_or<std::string>(*promotion, "reason", "no reason given", origin)));
}

}  // namespace

std::string lattice_stem(std::string_view tensor_name) {
  std::string stem(tensor_name);
  for (char& c : stem)
    if (!is_ascii_alphanumeric(c) && c != '-') c = '_';
  return stem;
}

std::optional<std::string> lattice_name_misfit(std::string_view tensor_name) {
  if (tensor_name.empty()) return "an empty name gives no file name";
  if (std::any_of(tensor_name.begin(), tensor_name.end(),
                  [](char c) { return static_cast<signed char>(c) <= 0; }))
    return "a name beyond ASCII has no defined file name in a lattice directory";
  if (is_lattice_leftover(lattice_stem(tensor_name) + ".q4"))
    return "its file name would be taken for a cache of merged projections";
  return std::nullopt;
}

bool is_lattice_leftover(std::string_view file_name) {
  return file_name.ends_with(".tmp") || (file_name.starts_with("merged_qkvz_") && file_name.ends_with(".q4"));
}

LatticeIndex parse_lattice_index(std::string_view text, const std::string& origin) {
  const Json json = parse_json(text, origin, {.bytes = kLatticeIndexBytes});
  LatticeIndex index;
  const Json* entries = &json;
  if (json.is_object()) {
    const auto found = json.find("tensors");
    if (found == json.end()) fail("{}: key \"tensors\" is missing", origin);
    parse_rotation(json, origin, index);
    entries = &*found;
  }
  if (!entries->is_array()) fail("{}: the list of tensors is no array", origin);
  std::set<std::string> names;
  for (const Json& entry : *entries) {
    index.tensors.push_back(parse_entry(entry, json.is_object(), origin));
    const std::string& name = index.tensors.back().name;
    if (!names.insert(name).second) fail("{}: tensor {} is listed twice", origin, name);
  }
  return index;
}

std::string lattice_index_text(std::vector<LatticeIndexEntry> entries) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  OrderedJson index = OrderedJson::array();
  for (const LatticeIndexEntry& entry : entries) {
    OrderedJson json = {{"name", entry.name}, {"file", entry.file}};
    if (!entry.format.empty()) json["format"] = entry.format;
    json["quantized"] = entry.quantized;
    json["shape"] = entry.shape;
    json["numel"] = checked_product(entry.shape).value();
    index.push_back(std::move(json));
  }
  return index.dump(2) + "\n";
}

}  // namespace assay
