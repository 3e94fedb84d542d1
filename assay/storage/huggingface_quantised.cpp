#include "assay/storage/huggingface_quantised.h"

#include <algorithm>
#include <map>

#include "assay/base/error.h"
#include "assay/formats/stored_scheme.h"

namespace assay {
namespace {

constexpr std::string_view kWeight = "weight";

struct ArrayName {
  std::string module, suffix;
};

ArrayName split_name(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string::npos) return {"", name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

bool is_suffix_of(const StoredScheme& scheme, std::string_view suffix) {
  return std::ranges::find(scheme.suffixes, suffix) != scheme.suffixes.end();
}

const StoredScheme& find_scheme(const Json& quantization, const std::string& directory) {
  const Json& method = quantization.at("quant_method");
  for (const StoredScheme* scheme : all_schemes()) {
    if (method != scheme->method) continue;
    try {
      scheme->check(quantization);
    } catch (const Error& problem) {
      fail("{}: config.json: quantised by {}: {}", directory, method.dump(), problem.what());
    }
    return *scheme;
  }
  fail("{}: config.json: quantised by {}, which Assay does not read; it reads {}; give the unquantised model",
       directory, method.dump(), known_schemes());
}

/// Arrays of a packed module.
using ModuleArrays = std::map<std::string, const StoredArray*>;

Tensor packed_module(const StoredScheme& scheme, const Json& quantization, const std::string& module,
                     const ModuleArrays& members) {
  const StoredArray& marker = *members.at(std::string(scheme.marker));
  const std::string where = fmt::format("{}: tensor {}.{}", marker.file, module, kWeight);
  if (scheme.left_plain(quantization, module).value_or(false))
    fail("{}: packed (there is a .{}), but quantization_config in config.json leaves {} unquantised", where,
         scheme.marker, module);
  SchemeArrays arrays;
  for (const auto& [suffix, array] : members)
    arrays.emplace(suffix, SchemeArray{array->dtype, array->shape, array->bytes});
  SchemeMatrix matrix;
  try {
    matrix = scheme.matrix(quantization, arrays);
  } catch (const Error& problem) {
    fail("{}: {}: {}", where, scheme.method, problem.what());
  }
  if (const auto misfit = matrix.format->misfit(matrix.rows, matrix.columns))
    fail("{}: {}: {}", where, scheme.method, *misfit);
  Tensor tensor;
  tensor.name = fmt::format("{}.{}", module, kWeight);
  tensor.shape = {matrix.rows, matrix.columns};
  tensor.format = matrix.format;
  tensor.stored = std::move(matrix.stored);
  tensor.file = marker.file;
  for (const std::string_view suffix : matrix.arrays) {
    const StoredArray& array = *members.at(std::string(suffix));
    tensor.planes.push_back(array.bytes);
    tensor.owners.push_back(array.owner);
  }
  tensor.dtype = members.at(std::string(matrix.arrays.front()))->dtype;
  return tensor;
}

/// An array of a module that is not packed.
Tensor plain_member(const StoredScheme& scheme, const Json& quantization, const std::string& name,
                    const StoredArray& array) {
  const auto [module, suffix] = split_name(name);
  const bool plain = suffix == kWeight && is_float(array.dtype);
  if (is_suffix_of(scheme, suffix) && !plain && suffix != "bias")
    fail("{}: tensor {}: of a packed module ({}), but there is no {}.{}", array.file, name, scheme.method,
         module, scheme.marker);
  if (plain && array.shape.size() == 2 && !scheme.left_plain(quantization, module).value_or(true))
    fail(
        "{}: tensor {}: stored plain ({}), but quantization_config in config.json ({}) does not leave {} "
        "unquantised",
        array.file, name, dtype_name(array.dtype), scheme.method, module);
  return plain_tensor(name, array);
}

}  // namespace

const Json* foreign_quantization(const Json& config) {
  const auto at_level = [](const Json& level) -> const Json* {
    const auto found = level.find("quantization_config");
    const bool named = found != level.end() && found->is_object() && found->contains("quant_method");
    return named ? &*found : nullptr;
  };
  if (const Json* found = at_level(config)) return found;
  const auto text = config.find("text_config");
  return text != config.end() && text->is_object() ? at_level(*text) : nullptr;
}

std::string known_schemes() {
  std::string text;
  for (const StoredScheme* scheme : all_schemes())
    text += fmt::format("{}{}", text.empty() ? "" : ", ", scheme->reads);
  return text.empty() ? "none" : text;
}

std::vector<Tensor> quantised_tensors(const Json& quantization, const StoredArrays& arrays,
                                      const std::string& directory) {
  const StoredScheme& scheme = find_scheme(quantization, directory);
  std::map<std::string, ModuleArrays> packed;
  for (const auto& [name, array] : arrays) {
    const ArrayName parts = split_name(name);
    if (!parts.module.empty() && parts.suffix == scheme.marker) packed[parts.module];
  }
  std::vector<Tensor> tensors;
  try {
    for (const auto& [name, array] : arrays) {
      const ArrayName parts = split_name(name);
      const auto module = packed.find(parts.module);
      if (module != packed.end() && is_suffix_of(scheme, parts.suffix))
        module->second.emplace(parts.suffix, &array);
      else
        tensors.push_back(plain_member(scheme, quantization, name, array));
    }
    for (const auto& [module, members] : packed)
      tensors.push_back(packed_module(scheme, quantization, module, members));
  } catch (const Error& problem) {
    const std::string what = problem.what();
    if (what.starts_with(directory)) throw;
    fail("{}: config.json: quantization_config: {}", directory, what);
  }
  std::sort(tensors.begin(), tensors.end(), [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(tensors.begin(), tensors.end(),
                                        [](const Tensor& a, const Tensor& b) { return a.name == b.name; });
  if (twice != tensors.end()) fail("{}: tensor {}: stored twice, plain and packed", twice->file, twice->name);
  return tensors;
}

void refuse_packed(const StoredArrays& arrays) {
  const std::vector<const StoredScheme*> schemes = all_schemes();
  for (const auto& [name, array] : arrays) {
    const std::string suffix = split_name(name).suffix;
    for (const StoredScheme* scheme : schemes)
      if (suffix == scheme->marker)
        fail("{}: tensor {}: packed ({}), but config.json has no quantization_config that says how",
             array.file, name, scheme->method);
  }
}

}  // namespace assay
