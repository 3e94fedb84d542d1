#pragma once
// Where the experts of a layer come from: memory, or somebody who fetches them when a token visits
// (runtime/expert_store.h).
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "assay/model/mlp.h"
#include "assay/storage/tensor.h"

namespace assay {

/// One expert as it is stored: gate and up [intermediate, hidden], down [hidden, intermediate].
struct ExpertTensors {
  Tensor gate, up, down;
};

/// The experts of one layer.
class Experts {
 public:
  virtual ~Experts() = default;
  using Use = std::function<void(std::uint32_t expert, const DenseMlp& mlp)>;
  /// Calls `use` once for each of `wanted` (no repeats), in any order, on the calling thread. Throws Error
  /// when one cannot be had.
  virtual void visit(std::span<const std::uint32_t> wanted, const Use& use) const = 0;
};

/// Somebody who takes the experts of a model into custody, layer by layer.
class ExpertSource {
 public:
  virtual ~ExpertSource() = default;
  /// `ops` is who computes with them.
  virtual std::unique_ptr<Experts> add_layer(const Ops& ops, int layer,
                                             std::vector<ExpertTensors> experts) = 0;
};

}  // namespace assay
