#include "assay/recipes/mlx_conventions.h"

#include <algorithm>
#include <map>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/half.h"
#include "assay/formats/table.h"
#include "assay/model/config.h"
#include "assay/model/config_spellings.h"
#include "assay/model/families/families.h"
#include "assay/model/roles.h"
#include "assay/storage/containers.h"

namespace assay {
namespace {

constexpr std::string_view kExperts = ".mlp.experts.";

/// "model.layers.0.mlp.experts.3.up_proj.weight" as stack and number.
struct ExpertName {
  std::string stack;  // "model.layers.0.mlp.switch_mlp.up_proj.weight"
  std::uint64_t expert = 0;
};

std::string stack_name(std::string_view module, std::string_view projection) {
  return fmt::format("{}.mlp.switch_mlp.{}.weight", module, projection);
}

std::optional<ExpertName> parse_expert(const std::string& name) {
  const int expert = expert_of(name);
  if (expert < 0) return std::nullopt;
  const std::size_t at = name.find(kExperts), dot = name.find('.', at + kExperts.size());
  const std::string projection = name.substr(dot + 1, name.rfind(".weight") - dot - 1);
  return ExpertName{stack_name(name.substr(0, at), projection), static_cast<std::uint64_t>(expert)};
}

/// Rows [first, first + rows) of a tensor, which must be whole units.
Tensor slice_rows(const Tensor& tensor, std::uint64_t first, std::uint64_t rows) {
  const MatrixShape shape = as_matrix(tensor.shape);
  const Layout layout = tensor.format->layout(shape.columns);
  if (!is_plainly_stored(tensor) || first * shape.columns % layout.record_run() != 0 ||
      rows * shape.columns % layout.record_run() != 0)
    fail("{}: tensor {}: rows {} to {} are no whole blocks of {}", tensor.file, tensor.name, first,
         first + rows, tensor.format->name());
  Tensor part = tensor;
  if (rows != shape.rows) part.checksum.reset();
  part.shape = {rows, shape.columns};
  for (std::size_t p = 0; p < layout.planes.size(); ++p) {
    const auto bytes_before = [&](std::uint64_t row) {
      return layout.bytes(layout.planes[p], row * shape.columns / layout.run);
    };
    part.planes[p] = tensor.planes[p].subspan(bytes_before(first), bytes_before(rows));
  }
  return part;
}

class Conventions {
 public:
  Conventions(const CheckpointPtr& source, bool exact)
      : source_(source),
        exact_(exact),
        family_(family_of(source->config, source->path)),
        made_(std::make_shared<Checkpoint>(*source)) {
    made_->tensors.clear();
  }

  MlxConventions run() {
    spell_config();
    for (const Tensor& tensor : source_->tensors) add(tensor);
    for (auto& [name, experts] : stacks_) made_->tensors.push_back(stack(name, experts));
    std::ranges::sort(made_->tensors, {}, &Tensor::name);
    if (rounded_ > 0)
      notes_.push_back(fmt::format(
          "{} norms hold 1 + w in their stored type, rounded, as mlx-lm's converter makes them", rounded_));
    if (dropped_ > 0)
      notes_.push_back(
          fmt::format("{} vision or multi-token-prediction tensors are left out, as mlx-lm does", dropped_));
    return {made_, notes_};
  }

 private:
  /// mlx-lm reads the older spellings.
  void spell_config() {
    Json& config = made_->config;
    Json& text =
        config.contains("text_config") && config["text_config"].is_object() ? config["text_config"] : config;
    const auto add_missing = [&](const char* key, const Json& value) {
      if (!text.contains(key) && !value.is_null()) text[key] = value;
    };
    // Where the source says two things, mlx-lm would take the other one: the one that counts is written.
    const RopeSpelling rope = find_rope(text);
    const auto settle = [&](const char* key, const Json* value) {
      if (value != nullptr) text[key] = Json(*value);
    };
    settle("rope_theta", rope.theta);
    settle("partial_rotary_factor", rope.partial_rotary_factor);
    settle("num_experts", find_expert_count(text));
    if (const auto types = text.find("layer_types"); types != text.end() && types->is_array())
      add_interval(*types, add_missing);
    if (&text == &config && family_ != nullptr && !family_->composite_type.empty())
      config["model_type"] = family_->composite_type;
    const auto sidecar = made_->sidecars.find("config.json");
    if (sidecar != made_->sidecars.end()) sidecar->second = config.dump(2) + "\n";
  }

  /// mlx-lm knows no list of layer types, only every how many-th layer attends.
  template <class AddMissing>
  void add_interval(const Json& types, const AddMissing& add_missing) const {
    const Json attention = "full_attention";
    const auto interval = std::ranges::find(types, attention) - types.begin() + 1;
    if (interval == 1) return;  // every layer
    for (std::ptrdiff_t layer = 0; layer < std::ssize(types); ++layer)
      if ((types[static_cast<std::size_t>(layer)] == attention) != ((layer + 1) % interval == 0))
        fail("{}: layer_types: layer {} is {}, but mlx-lm knows only attention in every {}th layer",
             source_->path, layer, types[static_cast<std::size_t>(layer)].dump(), interval);
    add_missing("full_attention_interval", interval);
  }

  void add(const Tensor& tensor) {
    const Role role = require_role(tensor.name, source_->path);
    if (role == Role::vision || role == Role::multi_token_prediction) {
      ++dropped_;
      return;
    }
    if (const auto expert = parse_expert(tensor.name)) {
      stacks_[renamed(expert->stack)][expert->expert] = &tensor;
      return;
    }
    if (role == Role::expert_gate_up) {
      split(tensor);
      return;
    }
    Tensor made = tensor;
    made.name = renamed(tensor.name);
    if (role == Role::expert_down && tensor.name.ends_with(".mlp.experts.down_proj"))
      made.name = renamed(stack_name(tensor.name.substr(0, tensor.name.find(kExperts)), "down_proj"));
    if (role == Role::convolution && made.shape.size() == 3) std::swap(made.shape[1], made.shape[2]);
    if (family_ != nullptr && family_->shifted_norms && role == Role::norm &&
        !tensor.name.ends_with(".linear_attn.norm.weight"))
      add_one(made);
    made_->tensors.push_back(std::move(made));
  }

  /// The language part of a multimodal model lies elsewhere in MLX folders.
  std::string renamed(const std::string& name) const {
    if (family_ == nullptr || family_->mlx_prefix.empty()) return name;
    const std::string mlx_prefix(family_->mlx_prefix);
    for (const std::string_view prefix : {"model.language_model.", "model."})
      if (name.starts_with(prefix)) return mlx_prefix + "model." + name.substr(prefix.size());
    return mlx_prefix + name;
  }

  /// gate_up_proj [E, 2I, H] as two stacks [E, I, H].
  void split(const Tensor& tensor) {
    const std::uint64_t experts = tensor.shape.at(0), inner = tensor.shape.at(1) / 2;
    const std::string module = tensor.name.substr(0, tensor.name.find(kExperts));
    for (const std::uint64_t half : {0, 1}) {
      Tensor made = tensor;
      made.name = renamed(stack_name(module, half == 0 ? "gate_proj" : "up_proj"));
      made.shape = {experts, inner, tensor.shape.at(2)};
      made.planes.clear();
      made.checksum.reset();
      for (std::uint64_t e = 0; e < experts; ++e)
        made.parts.push_back(slice_rows(tensor, (2 * e + half) * inner, inner));
      made_->tensors.push_back(std::move(made));
    }
  }

  Tensor stack(const std::string& name, const std::map<std::uint64_t, const Tensor*>& experts) const {
    const Tensor& first = *experts.begin()->second;
    Tensor made = first;
    made.name = name;
    made.planes.clear();
    made.checksum.reset();
    made.shape.insert(made.shape.begin(), experts.size());
    std::uint64_t expected = 0;
    for (const auto& [number, tensor] : experts) {
      if (number != expected++)
        fail("{}: tensor {}: expert {} is missing beside it", tensor->file, tensor->name, expected - 1);
      if (tensor->shape != first.shape || tensor->format->name() != first.format->name())
        fail("{}: tensor {}: {} {} cannot be stacked with expert 0's {} {}", tensor->file, tensor->name,
             tensor->format->name(), shape_text(tensor->shape), first.format->name(),
             shape_text(first.shape));
      made.parts.push_back(slice_rows(*tensor, 0, as_matrix(tensor->shape).rows));
    }
    return made;
  }

  void add_one(Tensor& norm) {
    std::vector<float> gain = decode_all(norm);
    for (float& value : gain) value += 1.0f;
    const bool widened = exact_ || !is_float(norm.dtype) || norm.format->layout(1).has_params;
    if (widened) norm.format = find_format("f32");
    const std::vector<Params> none;
    std::vector<Code> codes(gain.size());
    norm.format->reference(gain, {}, codes);
    const auto bytes = std::make_shared<std::vector<std::byte>>(
        gain.size() * norm.format->layout(gain.size()).planes[0].record_bytes);
    norm.format->pack({}, codes, std::vector<MutableBytes>{*bytes});
    norm.dtype = norm.format->layout(gain.size()).planes[0].dtype;
    norm.planes = {*bytes};
    norm.checksum.reset();
    norm.owners = {bytes};
    if (decode_all(norm) != gain) ++rounded_;
  }

  CheckpointPtr source_;
  bool exact_;
  const Family* family_;  // null: not known, so nothing is done to names and norms
  std::shared_ptr<Checkpoint> made_;
  std::map<std::string, std::map<std::uint64_t, const Tensor*>> stacks_;
  std::vector<std::string> notes_;
  std::size_t rounded_ = 0, dropped_ = 0;
};

/// Stacked experts or turned convolutions: mlx-lm was here.
bool follows_already(const Checkpoint& source) {
  return std::ranges::any_of(source.tensors, [](const Tensor& tensor) {
    return tensor.name.find(".switch_mlp.") != std::string::npos || is_turned_convolution(tensor);
  });
}

}  // namespace

MlxConventions with_mlx_conventions(const CheckpointPtr& source, bool exact) {
  if (source->container->mlx_conventions || follows_already(*source)) return {source, {}};
  return Conventions(source, exact).run();
}

}  // namespace assay
