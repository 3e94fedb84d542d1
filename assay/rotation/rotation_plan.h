#pragma once
// What a rotation of the residual stream does to each tensor of a model, and the pieces of doing it: norms
// fused into their readers, and the rotated vectors of a matrix as panels in f64.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/model/config.h"
#include "assay/storage/checkpoint.h"

namespace assay {

inline constexpr const char* kRotationKey = "assay_rotation";  // in config.json

/// What an RMS norm multiplies by: its weight, or one plus its weight.
enum class NormGain { plain, shifted };
NormGain norm_gain(const ModelConfig& config);
/// The stored weight whose gain is 1.
float neutral_norm(NormGain convention);
/// Multiplies row j of x [norm.size(), width] by the gain of norm[j].
void fuse_norm(std::span<double> x, std::span<const float> norm, NormGain convention);

enum class RotationAction {
  keep,           // does not touch the residual stream: stays as stored
  neutral_norm,   // a norm on the residual stream, fused into its readers
  rotate_rows,    // embedding, readers, head: every row <- R row; a writer's bias is one row
  rotate_columns  // writers: every column <- R column
};

/// By the whole name of a tensor; nothing where its use of the residual stream is not known.
std::optional<RotationAction> rotation_action(std::string_view tensor);

struct RotationStep {
  std::string name;    // of the tensor made
  std::string source;  // of the tensor it is made from: the embedding for the head of a tied model
  Shape shape;
  RotationAction action = RotationAction::keep;
  std::string norm;  // fused into the columns before; "" = none
};

/// Every tensor of the rotated model, sorted by name.
struct RotationPlan {
  ModelConfig config;  // of the source
  NormGain convention = NormGain::plain;
  std::vector<RotationStep> steps;
};

/// Throws Error: a model type that is not supported, a missing tensor, a wrong shape, a tensor whose use of
/// the residual stream is not known (auxiliary heads, adapters, vision), a model that is rotated already.
RotationPlan plan_rotation(const Checkpoint& source);

// The vectors that a rotation turns, a few at a time, as the columns of a panel [hidden, width] in f64.

inline constexpr std::uint64_t kPanelWidth = 16;  // a panel of 8192 features is 1 MiB
/// Rows [first, first + width) of a tensor [any, hidden].
std::vector<double> row_panel(const Tensor& tensor, std::uint64_t first, std::uint64_t width);
/// Columns [first, first + width) of a matrix [hidden, columns].
std::vector<double> column_panel(std::span<const float> matrix, std::uint64_t columns, std::uint64_t first,
                                 std::uint64_t width);
/// A whole tensor in f32, for its columns.
std::vector<float> decode_in_parallel(const Tensor& tensor);

}  // namespace assay
