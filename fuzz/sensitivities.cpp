// A file of sensitivities, as it is and with checksums that fit, on its way to a recipe for a fixed model.
#include "assay/allocation/allocated_recipe.h"
#include "assay/base/checksum.h"
#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/storage/provenance.h"

namespace {

using namespace assay;

CheckpointPtr fixed_model() {
  static const CheckpointPtr model = [] {
    auto checkpoint = std::make_shared<Checkpoint>();
    checkpoint->path = "model";
    for (const char* name : {"model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.up_proj.weight"}) {
      Tensor& tensor = checkpoint->tensors.emplace_back();
      tensor.name = name;
      tensor.shape = {64, 128};
      tensor.format = find_format("bf16");
      tensor.dtype = DType::BF16;
    }
    return checkpoint;
  }();
  return model;
}

void share_out(const Json& json) {
  try {
    const Sensitivities sensitivities = Sensitivities::from_json(json, "fuzz");
    BudgetTarget target;
    target.bits = 4.5;
    describe(allocate_recipe(fixed_model(), sensitivities, target));
  } catch (const Error&) {
  }
}

Json resealed(Json json) {
  json.erase(kSealKey);
  return Json::parse(sealed(OrderedJson::parse(json.dump())).dump());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    Json json = parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    share_out(json);
    if (!json.is_object()) return 0;
    json["model"] = content_identity(*fixed_model());
    if (const auto texts = json.find("texts"); texts != json.end() && texts->is_array())
      for (Json& text : *texts)
        if (text.is_object()) text = resealed(text);
    share_out(resealed(json));
  } catch (const Error&) {
  }
  return 0;
}
