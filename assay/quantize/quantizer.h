#pragma once
// The quantise journey's middle: planned tensors, block by block, through their method and format into a
// writer. Memory: a few megabytes a thread, whatever the model's size.
#include <string>
#include <vector>

#include "assay/quantize/plan.h"
#include "assay/quantize/rounding_error.h"
#include "assay/storage/writer.h"

namespace assay {

struct TensorReport {
  std::string method;   // as carried out: "copy", "transcode" (packed source, same weights) or "rtn"
  RoundingError error;  // against the source as stored
};

/// Writes every tensor of the plan (in the plan's order, which must be the writer's). Returns one report a
/// tensor. A packed source that the target format can hold without loss is transcoded, never rounded twice.
std::vector<TensorReport> quantize_tensors(const Plan& plan, CheckpointWriter& writer);

/// Writes a model's tensors unchanged in value under the formats planned (`convert`). Throws if one would
/// change.
void transcode_tensors(const Plan& plan, CheckpointWriter& writer);

}  // namespace assay
