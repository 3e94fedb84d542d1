// An MLX directory described in one JSON object: {"config": {...}, "arrays": {NAME: [DTYPE, [dims]]},
// "expected": {NAME: [dims]}}. Arrays hold zeros; "expected" is what the architecture would say.
#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/storage/huggingface.h"
#include "assay/storage/mlx.h"

namespace {

using assay::Json;

constexpr std::uint64_t kMaxArrayBytes = 1 << 16;

assay::Shape shape_of(const Json& dims) {
  assay::Shape shape;
  for (const Json& dim : dims)
    if (dim.is_number_unsigned()) shape.push_back(dim.get<std::uint64_t>());
  return shape;
}

/// The arrays that a safetensors file could have held: known dtypes, sizes that fit.
assay::StoredArrays arrays_of(const Json& described) {
  static const std::string zeros(kMaxArrayBytes, '\0');
  assay::StoredArrays arrays;
  for (const auto& [name, entry] : described.items()) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string()) continue;
    const auto dtype = assay::parse_dtype(entry[0].get<std::string>());
    if (!dtype) continue;
    const assay::Shape shape = shape_of(entry[1]);
    const auto elements = assay::checked_product(shape);
    if (!elements || *elements > kMaxArrayBytes / assay::dtype_size(*dtype)) continue;
    const std::size_t bytes = *elements * assay::dtype_size(*dtype);
    arrays.emplace(name, assay::StoredArray{.dtype = *dtype,
                                            .shape = shape,
                                            .bytes = std::as_bytes(std::span(zeros)).first(bytes),
                                            .file = "fuzz/model.safetensors",
                                            .owner = nullptr});
  }
  return arrays;
}

Json member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : Json::object();
}

void open(const Json& input) {
  assay::OpenOptions options;
  std::vector<assay::ExpectedTensor> expected;
  const Json expected_shapes = member(input, "expected");
  for (const auto& [name, dims] : expected_shapes.items()) expected.push_back({name, shape_of(dims)});
  if (!expected.empty()) options.architecture = [&](const Json&) { return expected; };

  assay::SafetensorsDirectory weights{.arrays = arrays_of(member(input, "arrays")), .files = {}};
  Json config = member(input, "config");
  const bool mlx = assay::is_mlx(config, weights.arrays);
  const assay::CheckpointPtr opened =
      mlx ? assay::open_mlx("fuzz", std::move(weights), {}, std::move(config), options)
          : assay::open_huggingface("fuzz", std::move(weights), {}, std::move(config));
  for (const assay::Tensor& tensor : opened->tensors)
    if (tensor.format != nullptr) assay::decode_all(tensor);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const Json input = assay::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    if (input.is_object()) open(input);
  } catch (const assay::Error&) {
  }
  return 0;
}
