#include "assay/quantize/quantize_model.h"

#include <algorithm>

#include "assay/base/checksum.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/heap.h"
#include "assay/base/json_text.h"
#include "assay/base/memory_source.h"
#include "assay/model/checksums.h"
#include "assay/model/config_spellings.h"
#include "assay/quantize/calibration_summary.h"
#include "assay/quantize/expert_coverage.h"
#include "assay/recipes/experts_apart.h"
#include "assay/recipes/mlx_conventions.h"
#include "assay/rounding/transcode.h"
#include "assay/storage/assay_directory.h"
#include "assay/storage/containers.h"
#include "assay/storage/provenance.h"
#include "assay/version.h"

namespace assay {
namespace {

WriterInput writer_input(const Plan& plan, Container container) {
  WriterInput input;
  for (const TensorPlan& tensor : plan.tensors)
    input.tensors.push_back({tensor.source->name, tensor.source->shape, tensor.format});
  input.config = plan.source->config;
  if (container->spelled_config) {
    const std::string origin = plan.source->path + "/config.json";
    const auto generation = generation_config_of(*plan.source);
    input.config = config_json(
        parse_model_config(plan.source->config, generation ? &*generation : nullptr, origin), origin);
  }
  input.sidecars = plan.source->sidecars;
  input.source = plan.source->path;
  return input;
}

std::vector<std::string> weight_files(const std::filesystem::path& directory) {
  std::vector<std::string> files;
  std::error_code problem;
  for (std::filesystem::directory_iterator at(directory, problem), end; !problem && at != end;
       at.increment(problem))
    if (const auto& entry = *at; entry.is_regular_file(problem) && entry.path().extension() != ".json" &&
                                 entry.path().extension() != ".jinja" &&
                                 entry.path().extension() != ".model" && entry.path().extension() != ".txt")
      files.push_back(entry.path().string());
  if (problem) fail("{}: cannot list: {}", directory.string(), problem.message());
  std::ranges::sort(files);
  return files;
}

/// How many matrices are read from a stack, each for itself (an expert store does); 0: it is no such stack.
std::uint64_t slices_of(const Tensor& tensor) {
  const std::optional<Role> role = classify_tensor(tensor.name);
  if (!role || !is_expert_matrix(*role) || tensor.shape.size() != 3) return 0;
  return tensor.shape[0] * (*role == Role::expert_gate_up ? 2 : 1);
}

/// A checksum of every tensor as whoever opens the directory will see it.
void add_checksums(Json& manifest, const std::filesystem::path& directory, Container container) {
  CheckpointPtr written;
  try {
    written = open_model(directory.string());
  } catch (const Error&) {
    if (container->owns_manifest) throw;
    return;  // of an architecture that we do not know: other containers cannot be read back without it
  }
  const auto text = [](std::uint64_t checksum) { return fmt::format("{:016x}", checksum); };
  for (const Tensor& tensor : written->tensors) {
    Json& entry = manifest["tensors"][tensor.name];
    entry[kChecksumKey] = text(checksum_of(tensor));
    for (const std::uint64_t checksum : slice_checksums_of(tensor, slices_of(tensor)))
      entry[kSliceChecksumsKey].push_back(text(checksum));
  }
}

/// Finishes the directory with its manifest, hashes of the written files and tensors included.
Json finish_with_manifest(CheckpointWriter& writer, const std::filesystem::path& directory,
                          const OrderedJson& manifest, const ManifestInput& input) {
  const std::string path = (directory / kManifestFile).string();
  writer.add_file(kManifestFile, json_text(manifest, 1));
  writer.finish();
  Json complete =
      input.container->owns_manifest
          ? read_json_file(path)  // its writer has completed it
          : complete_manifest(Json::parse(json_text(manifest)), input.container,
                              writer_input(input.plan, input.container).tensors, weight_files(directory));
  if (!input.container->owns_manifest) writer.add_file(kManifestFile, json_text(complete, 1));
  add_checksums(complete, directory, input.container);
  writer.add_file(kManifestFile, json_text(complete, 1));
  return complete;
}

OrderedJson describe_calibration(const Calibration& calibration) {
  const CalibratedRoundingOptions& rounding = calibration.rounding;
  OrderedJson json = calibration.text.to_json();
  json["damping"] = rounding.damping;
  json["refinements"] = rounding.refinements;
  json["search"] = {{"smallest", rounding.search.smallest},
                    {"largest", rounding.search.largest},
                    {"points", rounding.search.points},
                    {"refinements", rounding.search.refinements},
                    {"importance_floor", rounding.search.importance_floor}};
  return json;
}

std::string hash_of_windows(const CalibrationText& text) {
  std::vector<Bytes> pieces;
  for (const auto& window : text.windows) pieces.push_back(std::as_bytes(std::span(window)));
  return checksum128_hex(pieces);
}

/// Everything that the calibrated bytes depend on: what a killed run left is good for no other request.
OrderedJson describe_request(const QuantizeRequest& request, const Plan& plan) {
  OrderedJson tensors = OrderedJson::array();
  for (const TensorPlan& tensor : plan.tensors)
    tensors.push_back({tensor.source->name, tensor.format->name(), method_name(tensor.method)});
  return {{"revision", ASSAY_REVISION},
          {"source", hash_files(request.source->files, request.context.progress)},
          {"tensors", std::move(tensors)},
          {"config", request.source->config},  // what weights alone do not say: norms, RoPE, a rotation
          {"windows", hash_of_windows(request.calibration->text)},
          {"calibration", describe_calibration(*request.calibration)}};
}

std::vector<TensorReport> run_quantizer(const QuantizeRequest& request, const Plan& plan,
                                        CheckpointWriter& writer, ResumeStore* store,
                                        std::uint64_t& spilled) {
  Context context = request.context;
  if (store == nullptr) return quantize_tensors(plan, writer, nullptr, nullptr, context);
  const std::uint64_t memory =
      request.calibration->memory > 0 ? request.calibration->memory : available_memory() / 2;
  SpillingMemory activations(parent_folder(request.out), memory);
  if (context.memory == nullptr) context.memory = &activations;
  std::vector<TensorReport> reports = quantize_tensors(plan, writer, &*request.calibration, store, context);
  spilled = activations.spilled();
  return reports;
}

void commit(AtomicDirectory& directory, Container container) {
  if (is_lone_file(container, directory.destination().string()))
    directory.commit_file(std::string(container->lone_file));
  else
    directory.commit();
}

}  // namespace

bool is_lone_file(Container container, const std::string& out) {
  return !container->lone_file.empty() &&
         std::filesystem::path(out).extension() == std::filesystem::path(container->lone_file).extension();
}

TextRecords texts_behind(const QuantizeRequest& request) {
  TextRecords texts = texts_of(*request.source);
  add_texts(texts, request.recipe.texts);
  if (request.plan.calibration && request.calibration)
    add_texts(texts, {request.calibration->text.record("calibration")});
  return texts;
}

QuantizeResult quantize_model(const QuantizeRequest& request) {
  return quantize_model(request, make_plan(request.source, request.recipe, request.plan));
}

QuantizeResult quantize_model(const QuantizeRequest& request, Plan plan) {
  const ThreadScope threads(request.context.threads);
  QuantizeResult result;
  require_checksums(*request.source);
  const Container container = request.plan.container;
  result.plan = std::move(plan);
  AtomicDirectory directory(request.out);
  const auto writer = make_writer(container, directory.staging(), writer_input(result.plan, container));
  std::optional<ResumeStore> store;
  const std::string kept = directory.destination().string() + ".calibration";
  std::optional<InterruptionNote> note;
  if (std::ranges::any_of(result.plan.tensors, &TensorPlan::calibrated)) {
    note.emplace(
        fmt::format("assay: {} keeps what is finished: the same command goes on from there; "
                    "remove it to start over",
                    kept));
    store.emplace(kept, describe_request(request, result.plan));
  }
  result.reports =
      run_quantizer(request, result.plan, *writer, store ? &*store : nullptr, result.spilled_bytes);
  const ManifestInput input{request.recipe, result.plan,           result.reports,
                            container,      texts_behind(request), request.context.progress};
  OrderedJson manifest = make_manifest(input);
  // How well symmetric formats suit embedding and head, whether rotated or not.
  for (const Tensor& tensor : request.source->tensors)
    if (const Role role = require_role(tensor.name, request.source->path);
        role == Role::embedding || role == Role::head)
      manifest["symmetry"][tensor.name] = symmetry_json(symmetry_of(tensor));
  if (request.rotation) manifest["rotation"] = rotation_json(*request.rotation);
  if (store) {
    manifest["calibration"] = describe_calibration(*request.calibration);
    result.calibration = summarise_calibration(request.calibration->text, result.reports);
    manifest["calibration"]["outcome"] = result.calibration->to_json();
  }
  if (const auto coverage = expert_coverage(result.plan, result.reports); !coverage.empty())
    manifest["expert_coverage"] = coverage_json(coverage);
  if (!request.measure) manifest["not_measured"] = request.why_not_measured;
  result.manifest = finish_with_manifest(*writer, directory.staging(), manifest, input);
  if (request.measure) {
    result.manifest["measurements"].push_back(
        Json::parse(json_text(request.measure(directory.staging().string()))));
    writer->add_file(kManifestFile, json_text(result.manifest, 1));
  }
  require_unchanged(*request.source);
  commit(directory, container);
  if (store) store->remove();
  return result;
}

namespace {

Plan lossless_plan(const CheckpointPtr& source, Container container) {
  Plan plan;
  plan.source = source;
  std::size_t vectors = 0;  // that the container wants in another format: one note for all
  for (const Tensor& tensor : source->tensors) {
    TensorPlan planned{&tensor, require_role(tensor.name, source->path), nullptr};
    planned.format = lossless_format(tensor, container, source->path);
    if (planned.format->name() != tensor.format->name()) {
      planned.method = Method::transcode;
      const bool vector = tensor.shape.size() == 1 && planned.format->name() == container->vector_format;
      vectors += vector;
      if (!vector)
        plan.notes.push_back(
            fmt::format("{}: {} stored as {}", tensor.name, tensor.format->name(), planned.format->name()));
    }
    plan.tensors.push_back(std::move(planned));
  }
  if (vectors > 0)
    plan.notes.push_back(fmt::format("{} vectors stored as {}", vectors, container->vector_format));
  return plan;
}

struct LosslessCopy {
  const Plan& plan;
  WriterInput input;
  Container container;
  Recipe recipe;  // a name and a description for the manifest
};

void write_lossless_copy(LosslessCopy copy, const std::string& out, ProgressSink* progress) {
  AtomicDirectory directory(out);
  const auto writer = make_writer(copy.container, directory.staging(), std::move(copy.input));
  transcode_tensors(copy.plan, *writer, progress);
  const std::vector<TensorReport> reports(copy.plan.tensors.size());
  const ManifestInput input{copy.recipe, copy.plan, reports, copy.container, texts_of(*copy.plan.source),
                            progress};
  OrderedJson manifest = make_manifest(input);
  manifest["not_measured"] = "lossless: the source's measurements hold";
  finish_with_manifest(*writer, directory.staging(), manifest, input);
  require_unchanged(*copy.plan.source);
  commit(directory, copy.container);
}

}  // namespace

Plan convert_model(const CheckpointPtr& original, Container container, const std::string& out,
                   const Context& context) {
  const ThreadScope threads(context.threads);
  require_checksums(*original);
  Plan plan = lossless_plan(
      container->mlx_conventions ? with_mlx_conventions(original, true).checkpoint : original, container);
  write_lossless_copy(
      {plan, writer_input(plan, container), container, {"convert", "lossless change of container", {}}}, out,
      context.progress);
  return plan;
}

Plan pack_experts(const CheckpointPtr& original, const std::string& out, const Context& context) {
  const ThreadScope threads(context.threads);
  require_checksums(*original);
  Plan plan = lossless_plan(with_experts_apart(original), Container::assay);
  WriterInput input = writer_input(plan, Container::assay);
  for (PlannedTensor& tensor : input.tensors) tensor.record = expert_record(tensor.name);
  write_lossless_copy(
      {plan, std::move(input), Container::assay, {"pack-experts", "lossless, each expert in one piece", {}}},
      out, context.progress);
  return plan;
}

}  // namespace assay
