#include <algorithm>
#include <map>
#include <memory>

#include "app/command.h"
#include "app/model_options.h"
#include "app/say.h"
#include "assay/kernels/table.h"
#include "assay/model/completeness.h"
#include "assay/model/config_spellings.h"
#include "assay/model/roles.h"
#include "assay/model/size_summary.h"
#include "assay/storage/assay_directory.h"

namespace assay::app {
namespace {

struct FormatRow {
  std::uint64_t tensors = 0, weights = 0, bytes = 0;
};

std::string format_name(const Tensor& tensor) {
  return tensor.format ? tensor.format->name() : std::string(dtype_name(tensor.dtype));
}

double tensor_bits(const Tensor& tensor) {
  return tensor.elements() == 0
             ? 0
             : 8.0 * static_cast<double>(tensor.stored_bytes()) / static_cast<double>(tensor.elements());
}

std::string kernel_of(const Tensor& tensor, Role role) {
  if (!tensor.format || !(is_block_matrix(role) || role == Role::head || role == Role::embedding)) return "";
  const MatrixShape shape = as_matrix(tensor.shape);
  return kernel_summary({*tensor.format, shape.rows, shape.columns}, {});
}

/// Warnings of the reader, spellings that disagree, and whether everything is there.
std::vector<std::string> warnings_of(const Checkpoint& checkpoint, const Completeness& state) {
  std::vector<std::string> warnings = checkpoint.warnings;
  for (std::string& note : disagreeing_spellings(checkpoint)) warnings.push_back(std::move(note));
  if (!state.known)
    warnings.push_back(
        fmt::format("model_type '{}' is not known: whether all of its tensors are there cannot be checked",
                    state.model_type));
  return warnings;
}

/// Tensors whose bytes can be held against a checksum, and those whose experts cannot when they are read one
/// by one.
struct ChecksumCount {
  std::size_t tensors = 0, experts_unchecked = 0;
};

ChecksumCount count_checksums(const Checkpoint& checkpoint) {
  ChecksumCount count;
  for (const Tensor& tensor : checkpoint.tensors) {
    count.tensors += tensor.checksum ? 1 : 0;
    const auto role = classify_tensor(tensor.name);
    const bool stacked = tensor.shape.size() == 3;
    if (role && is_expert_matrix(*role))
      count.experts_unchecked += tensor.checksum && (!stacked || !tensor.slice_checksums.empty()) ? 0 : 1;
  }
  return count;
}

OrderedJson as_json(const Checkpoint& checkpoint, const Completeness& state, const SizeSummary& size,
                    bool with_tensors) {
  const ChecksumCount checksums = count_checksums(checkpoint);
  OrderedJson json = {
      {"path", checkpoint.path},
      {"container", std::string(container_name(checkpoint.container))},
      {"model_type", json_get_or<std::string>(checkpoint.config, "model_type", "", checkpoint.path)},
      {"tensors", checkpoint.tensors.size()},
      {"bytes", size.file_bytes},
      {"linear_bits_per_weight", size.linear_bits()},
      {"file_bits_per_weight", size.file_bits()},
      {"complete", state.known ? OrderedJson(state.whole()) : OrderedJson(nullptr)},
      {"incomplete", state.summary()},
      {"warnings", warnings_of(checkpoint, state)},
      {"checksums", checksums.tensors},
      {"expert_tensors_unchecked", checksums.experts_unchecked},
      {"formats", OrderedJson::object()}};
  std::uint64_t largest = 0;
  for (const Tensor& tensor : checkpoint.tensors) largest = std::max(largest, tensor.stored_bytes());
  json["largest_tensor_bytes"] = largest;
  std::map<std::string, FormatRow> formats;
  for (const Tensor& tensor : checkpoint.tensors) {
    ++formats[format_name(tensor)].tensors;
    formats[format_name(tensor)].bytes += tensor.stored_bytes();
  }
  for (const auto& [name, row] : formats)
    json["formats"][name] = {{"tensors", row.tensors}, {"bytes", row.bytes}};
  if (checkpoint.manifest && checkpoint.manifest->contains("measurements"))
    json["measurements"] = (*checkpoint.manifest)["measurements"];
  if (!with_tensors) return json;
  if (checkpoint.manifest && checkpoint.manifest->contains("tensors"))
    json["manifest_tensors"] = (*checkpoint.manifest)["tensors"];
  for (const Tensor& tensor : checkpoint.tensors) {
    const auto role = classify_tensor(tensor.name);
    json["tensor_list"].push_back({{"name", tensor.name},
                                   {"shape", tensor.shape},
                                   {"format", format_name(tensor)},
                                   {"role", role ? std::string(role_name(*role)) : "unknown"},
                                   {"bits_per_weight", tensor_bits(tensor)},
                                   {"bytes", tensor.stored_bytes()},
                                   {"kernel", role ? kernel_of(tensor, *role) : ""}});
  }
  return json;
}

void print_tensors(const Checkpoint& checkpoint) {
  say("\n{:<52} {:<16} {:<16} {:<22} {:>6}  {}\n", "tensor", "shape", "format", "role", "bits", "kernel");
  for (const Tensor& tensor : checkpoint.tensors) {
    const auto role = classify_tensor(tensor.name);
    say("{:<52} {:<16} {:<16} {:<22} {:>6.3f}  {}\n", tensor.name, shape_text(tensor.shape),
        format_name(tensor), role ? role_name(*role) : "UNKNOWN", tensor_bits(tensor),
        role ? kernel_of(tensor, *role) : "");
  }
}

/// What calibration did to each tensor, as the manifest has it.
void print_calibration(const Json& manifest, const std::string& origin) {
  const auto tensors = manifest.find("tensors");
  if (tensors == manifest.end() || !tensors->is_object()) return;
  bool headed = false;
  for (const auto& [name, tensor] : tensors->items()) {
    const auto found = tensor.is_object() ? tensor.find("calibration") : tensor.end();
    if (!tensor.is_object() || found == tensor.end()) continue;
    const auto number = [&](const char* key) { return json_get<double>(*found, key, origin); };
    if (!headed)
      say("\n{:<52} {:<8} {:>10} {:>10} {:>7} {:>9} {:>10} {:>8} {:>7}\n", "tensor", "method", "plain loss",
          "loss", "ratio", "predicted", "rows plain", "damping", "n/d");
    headed = true;
    const double plain = number("plain_loss"), loss = number("loss");
    say("{:<52} {:<8} {:>10.4g} {:>10.4g} {:>7.3f} {:>9.3f} {:>5}/{:<4} {:>8.4g} {:>7.1f}\n", name,
        json_get<std::string>(tensor, "method", origin), plain, loss, plain > 0 ? loss / plain : 1.0,
        number("predicted_gain"), json_get<std::uint64_t>(*found, "rows_plain", origin),
        json_get<std::uint64_t>(*found, "rows", origin), number("damping"), number("tokens_per_column"));
  }
}

void print_measurements(const Json& manifest) {
  if (const auto reason = manifest.find("not_measured"); reason != manifest.end())
    say("  not measured: {}\n", json_get<std::string>(manifest, "not_measured", "assay.json"));
  const auto list = manifest.find("measurements");
  if (list == manifest.end()) return;
  for (const Json& measurement : *list) say("  measured: {}\n", json_text(measurement));
}

void print_checksums(const Checkpoint& checkpoint) {
  const ChecksumCount count = count_checksums(checkpoint);
  say("  checksums of {} of {} tensors", count.tensors, checkpoint.tensors.size());
  if (count.experts_unchecked > 0)
    say("; none of single experts in {} tensors: --expert-cache reads those unchecked",
        count.experts_unchecked);
  say("\n");
}

void print_text(const Checkpoint& checkpoint, const Completeness& state, const SizeSummary& size) {
  say("{}: {} container, {}\n", checkpoint.path, container_name(checkpoint.container),
      json_get_or<std::string>(checkpoint.config, "model_type", "unknown architecture", checkpoint.path));
  say("  {} tensors, {} weights, {} bytes\n", checkpoint.tensors.size(), size.file_weights, size.file_bytes);
  say("  bits per weight: {:.3f} linear (matrices inside the blocks), {:.3f} file (everything)\n",
      size.linear_bits(), size.file_bits());
  print_checksums(checkpoint);
  std::map<std::string, FormatRow> formats;
  std::map<std::string, std::uint64_t> kernels;
  for (const Tensor& tensor : checkpoint.tensors) {
    FormatRow& row = formats[format_name(tensor)];
    ++row.tensors;
    row.weights += tensor.elements();
    row.bytes += tensor.stored_bytes();
    const auto role = classify_tensor(tensor.name);
    if (role && !kernel_of(tensor, *role).empty())
      ++kernels[fmt::format("{}: {}", format_name(tensor), kernel_of(tensor, *role))];
    if (!role) say("  UNKNOWN tensor name: {}\n", tensor.name);
  }
  say("\n  {:<20} {:>8} {:>14} {:>14} {:>8}\n", "format", "tensors", "weights", "bytes", "bits");
  for (const auto& [name, row] : formats)
    say("  {:<20} {:>8} {:>14} {:>14} {:>8.3f}\n", name, row.tensors, row.weights, row.bytes,
        8.0 * static_cast<double>(row.bytes) / static_cast<double>(std::max<std::uint64_t>(1, row.weights)));
  say("\n");
  for (const auto& [kernel, count] : kernels) say("  kernel {} ({} matrices)\n", kernel, count);
  if (checkpoint.manifest) print_measurements(*checkpoint.manifest);
  for (const std::string& warning : warnings_of(checkpoint, state)) say("  warning: {}\n", warning);
  if (!state.whole()) say("  INCOMPLETE: {}; `assay audit` names everything\n", state.summary());
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto* command =
      app.add_subcommand("inspect", "Show a model's formats, sizes, roles and the kernels that will run it");
  struct Options : Common {
    std::string model, config_directory;
    bool tensors = false, verify = false;
  };
  auto options = std::make_shared<Options>();
  command->add_option("MODEL", options->model, "Model: a folder of any container, or a GGUF file")
      ->required();
  command->add_flag("--tensors", options->tensors, "One line a tensor");
  command->add_flag("--verify", options->verify, "Recompute the hashes that assay.json names");
  command->add_option("--config-dir", options->config_directory,
                      "Where config and tokenizer lie, for old lattice folders");
  add_common(command, options.get(),
             "  assay inspect my-model\n  assay inspect model.gguf --tensors\n  assay inspect my-model-q4 "
             "--verify --json");
  command->callback([options] {
    const CheckpointPtr checkpoint = open_as_it_lies(options->model, options->config_directory);
    const Completeness state = check_completeness(*checkpoint);
    if (!state.whole()) exit_code() = 1;
    if (options->verify) verify_files(*checkpoint);
    const SizeSummary size = stored_size(*checkpoint);
    if (options->json) {
      say_json(as_json(*checkpoint, state, size, options->tensors));
      return;
    }
    print_text(*checkpoint, state, size);
    if (options->tensors) print_tensors(*checkpoint);
    if (options->tensors && checkpoint->manifest)
      print_calibration(*checkpoint->manifest, checkpoint->path + "/assay.json");
  });
}

}  // namespace assay::app
