#pragma once
// A recipe held against a checkpoint: which tensor becomes what. Everything that can be refused is refused
// here, before a byte is written.
#include <optional>
#include <string>
#include <vector>

#include "assay/model/size_summary.h"
#include "assay/recipes/recipe.h"
#include "assay/storage/writer.h"

namespace assay {

struct TensorPlan {
  const Tensor* source = nullptr;
  Role role = Role::norm;
  FormatPtr format;  // of the output
  Method method = Method::copy;
  bool calibrated = false;  // search or gptq that looks at the layer's inputs
};

struct PlanOptions {
  Container container = Container::assay;
  std::string embed;            // format for embedding and head, over the recipe; "" = as the recipe says
  Method method = Method::rtn;  // for matrices that the recipe rounds by rtn
  bool calibration = false;     // is there calibration text? Without it gptq is rtn, as with no tokens at all
  std::optional<DType> parameters =
      std::nullopt;        // of format families ("mlx4-g64"); none: as the tensor is stored
  bool size_only = false;  // nothing is read: what could be transcoded is not found out
};

struct Plan {
  CheckpointPtr source;             // what the tensors' views live in
  std::vector<TensorPlan> tensors;  // sorted by name
  std::vector<std::string> notes;  // lines a user must see: floors gone below, formats fallen back to by rule
};

/// A packed source that the target format can hold without loss is transcoded, never rounded twice; to find
/// out, such tensors are read. Throws Error: unknown tensor name, a rule that matches nothing, a matrix that
/// does not fit its format (unless the rule says what then), a format the container cannot hold, a mixture of
/// experts under a dense-only recipe.
Plan make_plan(CheckpointPtr source, const Recipe& recipe, const PlanOptions& options);

/// Whether make_plan() refuses the format for this role: it is below a floor that is no advice (routers).
bool is_refused_for(Role role, const Format& format, const Tensor& tensor);

/// What the plan will weigh.
SizeSummary planned_size(const Plan& plan);

}  // namespace assay
