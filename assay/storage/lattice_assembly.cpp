#include "assay/storage/lattice_assembly.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/half.h"
#include "assay/storage/lattice_file.h"
#include "assay/storage/lattice_index.h"
#include "assay/storage/lattice_rules.h"
#include "assay/storage/sidecars.h"

namespace assay {
namespace {

/// A tensor that the directory should hold, and what the index or the architecture says of it.
struct Wanted {
  std::string name;
  std::optional<LatticeIndexEntry> entry;
  std::optional<Shape> expected_shape;
};

/// The tensors by name: from the index where there is one (present but bad is an error), else from the
/// architecture.
std::vector<Wanted> wanted_tensors(const LatticeContents& contents, const Json& config,
                                   const OpenOptions& options, std::vector<std::string>& warnings) {
  std::map<std::string, Shape> expected;
  const auto hint = options.architecture ? options.architecture(config) : std::nullopt;
  if (hint)
    for (const ExpectedTensor& tensor : *hint) expected.emplace(tensor.name, tensor.shape);

  std::vector<Wanted> wanted;
  if (contents.index) {
    LatticeIndex index =
        parse_lattice_index(*contents.index, contents.directory + "/" + std::string(kLatticeIndexName));
    warnings = std::move(index.warnings);
    for (LatticeIndexEntry& entry : index.tensors) {
      const auto found = expected.find(entry.name);
      const auto shape = found == expected.end() ? std::nullopt : std::optional<Shape>(found->second);
      std::string name = entry.name;
      wanted.push_back({std::move(name), std::move(entry), shape});
    }
  } else if (hint) {
    for (auto& [name, shape] : expected) wanted.push_back({name, std::nullopt, shape});
  } else {
    fail(
        "{}: no {}, and the architecture of config.json (model_type {}) is not known: file names cannot be "
        "turned "
        "into tensor names; give the directory its index or a config of a supported model",
        contents.directory, kLatticeIndexName,
        json_get_or<std::string>(config, "model_type", "absent", contents.directory + "/config.json"));
  }
  return wanted;
}

/// The one file that holds a tensor. Two candidates, or none, are errors: nothing stands in for anything.
std::string find_file(const Wanted& wanted, const std::set<std::string>& files, bool w3_directory,
                      const std::string& directory) {
  const std::string stem = lattice_stem(wanted.name);
  std::vector<std::string> candidates;
  for (const LatticeKind& kind : kLatticeKinds) {
    std::string name = stem + std::string(kind.extension);
    if (kind.writable && files.contains(name)) candidates.push_back(std::move(name));
  }
  const bool needs_w3 = w3_directory && is_lattice_w3_name(wanted.name);
  const std::string w3_name = stem + ".w3";
  if (needs_w3 && !files.contains(w3_name))
    fail("{}/{}: missing: tensor {} of a W3 directory must be .w3, no other file stands in", directory,
         w3_name, wanted.name);
  if (candidates.empty())
    fail("{}: tensor {}: no file {}.q4, .w3, .q3 or .f16 holds it", directory, wanted.name, stem);
  if (candidates.size() > 1)
    fail("{}/{}: stray: tensor {} is also held by {}; remove one", directory, candidates.front(), wanted.name,
         candidates.back());
  return candidates.front();
}

void check_against_index(const LatticeIndexEntry& entry, const std::string& file_name,
                         const LatticeKind& kind, const Shape& shape, const std::string& path) {
  const auto disagree = [&](const char* what, const std::string& said, const std::string& is) {
    fail("{}: tensor {}: {} is {}, {} says {}; a stale index? without it the directory is scanned", path,
         entry.name, what, is, kLatticeIndexName, said);
  };
  if (entry.file != file_name) disagree("file name", entry.file, file_name);
  if (entry.quantized != kind.quantized)
    disagree("quantized", entry.quantized ? "true" : "false", kind.quantized ? "true" : "false");
  if (!entry.format.empty() && entry.format != kind.extension.substr(1))
    disagree("format", entry.format, std::string(kind.extension.substr(1)));
  if (entry.shape != shape) disagree("shape", shape_text(entry.shape), shape_text(shape));
}

Tensor make_tensor(const Wanted& wanted, const std::string& file_name, const LatticeBytes& file,
                   const std::string& path) {
  LatticeHeader header = parse_lattice_file(file.bytes, path);
  if (wanted.entry)
    check_against_index(*wanted.entry, file_name, *lattice_kind_of_file(file_name), header.shape, path);
  if (wanted.expected_shape && *wanted.expected_shape != header.shape)
    fail("{}: tensor {}: shape is {}, the architecture says {}", path, wanted.name, shape_text(header.shape),
         shape_text(*wanted.expected_shape));
  Tensor tensor;
  tensor.name = wanted.name;
  tensor.shape = std::move(header.shape);
  tensor.format = std::move(header.format);
  tensor.dtype = tensor.format->layout(as_matrix(tensor.shape).columns).planes.front().dtype;
  tensor.planes = {file.bytes.subspan(header.bytes)};
  tensor.file = path;
  tensor.owners = {file.owner};
  return tensor;
}

/// Whether the first blocks follow the symmetric fit, bias = -(codes / 2) * scale; nothing where no block
/// tells. Files do not record their fit, and no block of an asymmetric fit satisfies this but by accident.
std::optional<bool> symmetric_fit(const Tensor& tensor) {
  constexpr std::size_t kSampledBlocks = 256;  // a page or two of each file: opening stays lazy
  constexpr float kSmallestNormal = 0x1p-14f;
  const auto affine = tensor.format->affine();
  if (!affine || !affine->free_bias) return std::nullopt;
  const std::size_t stride =
      tensor.format->layout(as_matrix(tensor.shape).columns).planes.front().record_bytes;
  const float half_range = static_cast<float>(affine->codes) / 2;
  const Bytes payload = tensor.planes.front();
  std::optional<bool> symmetric;
  for (std::size_t block = 0; block < kSampledBlocks && (block + 1) * stride <= payload.size(); ++block) {
    const auto scale_bits = load<std::uint16_t>(payload.data() + block * stride);
    const auto bias_bits = load<std::uint16_t>(payload.data() + block * stride + 2);
    const float scale = f16_to_f32(scale_bits);
    if (!(scale >= kSmallestNormal)) continue;
    if (bias_bits != f32_to_f16(-half_range * scale)) return false;
    symmetric = true;
  }
  return symmetric;
}

void add_warnings(Checkpoint& checkpoint) {
  std::size_t symmetric = 0, told = 0;
  for (const Tensor& tensor : checkpoint.tensors) {
    const auto fit = symmetric_fit(tensor);
    told += fit ? 1 : 0;
    symmetric += fit.value_or(false) ? 1 : 0;
  }
  if (symmetric > 0)
    checkpoint.warnings.push_back(
        fmt::format("{}: {} of {} quantised tensors use the symmetric fit (judged by their first blocks; the "
                    "files do not say)",
                    checkpoint.path, symmetric, told));
  const auto marked = [](const Json& object) {
    return object.is_object() && object.contains("quarot_rotation_seed");
  };
  const bool nested = checkpoint.config.is_object() && checkpoint.config.contains("text_config") &&
                      marked(checkpoint.config.at("text_config"));
  if (marked(checkpoint.config) || nested)
    checkpoint.warnings.push_back(fmt::format(
        "{}/config.json: quarot_rotation_seed: weights live in a rotated basis; do not compare them with "
        "the original tensor by tensor",
        checkpoint.path));
}

}  // namespace

CheckpointPtr assemble_lattice(const LatticeContents& contents, const OpenOptions& options) {
  const std::string& directory = contents.directory;
  const std::set<std::string>& files = contents.weight_files;
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->path = directory;
  checkpoint->container = Container::lattice;
  checkpoint->sidecars = contents.sidecars;
  checkpoint->config = sidecar_config(checkpoint->sidecars, directory);

  const bool w3_directory =
      std::any_of(files.begin(), files.end(), [](const std::string& name) { return name.ends_with(".w3"); });
  std::set<std::string> unclaimed = files;
  std::vector<LatticeMember> members;
  for (const Wanted& wanted : wanted_tensors(contents, checkpoint->config, options, checkpoint->warnings)) {
    const std::string name = find_file(wanted, files, w3_directory, directory);
    if (unclaimed.erase(name) == 0)
      fail("{}/{}: tensor {} and another one share this file name", directory, name, wanted.name);
    const std::string path = fmt::format("{}/{}", directory, name);
    checkpoint->files.push_back(path);
    checkpoint->tensors.push_back(make_tensor(wanted, name, contents.open(path), path));
    members.push_back({wanted.name, checkpoint->tensors.back().shape, lattice_kind_of_file(name)->extension});
  }
  if (!unclaimed.empty())
    fail("{}/{}: stray: no tensor of the model has this file name", directory, *unclaimed.begin());
  check_lattice_rules(members, checkpoint->config, directory);

  std::sort(checkpoint->files.begin(), checkpoint->files.end());
  std::sort(checkpoint->tensors.begin(), checkpoint->tensors.end(),
            [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  add_warnings(*checkpoint);
  return checkpoint;
}

}  // namespace assay
