// Sensitivities from a file: of this model, whole, sound, or refused; and bits that are those of the recipe.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "assay/allocation/allocated_recipe.h"
#include "assay/base/checksum.h"
#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/recipes/plan.h"
#include "assay/storage/provenance.h"
#include "tests/quantize/generated_model.h"
#include "tests/support.h"

namespace assay::test {
namespace {

class SensitivityFile : public testing::Test {
 protected:
  void SetUp() override {
    write_model(path, llama_config(64, 128, 96), llama_tensors(64, 128, 96));
    model = open_model(path);
    good.made_from = {content_identity(*model), {"khw3", "khq4"}, true, 4, "a revision", {}};
    for (const Tensor& tensor : model->tensors) {
      if (!is_block_matrix(*classify_tensor(tensor.name))) continue;
      TensorSensitivity entry{tensor.name, tensor.elements(), {"khw3", "khq4"}, {}};
      for (const std::string& format : entry.formats)
        entry.choices.push_back({*packed_bytes(*find_format(format), tensor.shape[0], tensor.shape[1]),
                                 format == "khw3" ? 2e-4 : 1e-5});
      good.tensors.push_back(entry);
    }
  }
  static Sensitivities read_again(const Sensitivities& sensitivities) {
    return Sensitivities::from_json(Json::parse(sensitivities.to_json().dump(1)), "s.json");
  }
  AllocatedRecipe allocate(const Sensitivities& sensitivities, double bits = 4.5) const {
    BudgetTarget target;
    target.bits = bits;
    return allocate_recipe(model, read_again(sensitivities), target);
  }

  TemporaryFolder folder;
  std::string path = folder.file("model");
  CheckpointPtr model;
  Sensitivities good;
};

TEST_F(SensitivityFile, IsReadAsWritten) {
  good.made_from.texts = {{"allocation", "train.txt", "hash", 5, "a tokenizer", {}, {}}};
  const Sensitivities read = read_again(good);
  EXPECT_EQ(read.made_from.model, good.made_from.model);
  EXPECT_EQ(read.made_from.formats, good.made_from.formats);
  EXPECT_EQ(read.made_from.texts, good.made_from.texts);
  EXPECT_EQ(read.made_from.divergence_windows, 4u);
  EXPECT_TRUE(read.made_from.feedback);
  ASSERT_EQ(read.tensors.size(), 7u);
  for (std::size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(read.tensors[i].tensor, good.tensors[i].tensor);
    EXPECT_EQ(read.tensors[i].formats, good.tensors[i].formats);
    EXPECT_EQ(read.tensors[i].choices[1].damage, good.tensors[i].choices[1].damage);
  }
  EXPECT_EQ(allocate(good).recipe.texts, good.made_from.texts);  // and the recipe bears them
  EXPECT_EQ(parse_recipe(Json::parse(recipe_to_json(allocate(good).recipe).dump()), "r.json").texts,
            good.made_from.texts);
}

TEST_F(SensitivityFile, AFileThatDoesNotSayOfWhichModelIsRefused) {
  EXPECT_ERROR(Sensitivities::from_json(Json{{"tensors", Json::array()}}, "s.json"), "s.json",
               "older version", "measure again");
  OrderedJson other = good.to_json();
  other["assay_sensitivities"] = 3;
  EXPECT_ERROR(Sensitivities::from_json(Json::parse(sealed(other).dump()), "s.json"), "schema 3",
               "measure again");
  EXPECT_ERROR(Sensitivities::from_json(Json(3), "s.json"), "s.json");
}

TEST_F(SensitivityFile, WhatWasEditedIsRefused) {
  Json edited = Json::parse(good.to_json().dump());
  edited["tensors"][3]["choices"][0]["damage"] = 0;
  EXPECT_ERROR(Sensitivities::from_json(edited, "s.json"), "s.json", "damaged");
  edited = Json::parse(good.to_json().dump());
  edited["tensors"].erase(2);
  EXPECT_ERROR(Sensitivities::from_json(edited, "s.json"), "s.json", "damaged");
  edited.erase(kSealKey);
  EXPECT_ERROR(Sensitivities::from_json(edited, "s.json"), "s.json");
}

TEST_F(SensitivityFile, AnotherModelIsRefused) {
  EXPECT_NO_THROW(allocate(good));
  write_model(folder.file("other"), llama_config(64, 128, 96), llama_tensors(64, 128, 96), 2);
  model = open_model(folder.file("other"));
  EXPECT_ERROR(allocate(good), folder.file("other"), "another model", "measure again");
}

/// Each with a checksum of its own, as from a program that went wrong.
TEST_F(SensitivityFile, WhatDoesNotFitTheModelIsRefusedByName) {
  const std::string name = good.tensors[2].tensor;
  struct Case {
    std::function<void(Sensitivities&)> harm;
    std::vector<std::string> parts;
  };
  const std::vector<Case> cases = {
      {[](Sensitivities& s) { s.tensors.erase(s.tensors.begin() + 2); }, {name, "no measurement"}},
      {[](Sensitivities& s) { s.tensors.pop_back(); }, {good.tensors.back().tensor, "no measurement"}},
      {[](Sensitivities& s) { s.tensors.push_back(s.tensors[2]); }, {name, "twice"}},
      {[](Sensitivities& s) { s.tensors[2].tensor = "model.layers.9.mlp.up_proj.weight"; },
       {"layers.9", "no such tensor"}},
      {[](Sensitivities& s) {
         s.tensors.push_back(s.tensors[2]);
         s.tensors.back().tensor = "model.norm.weight";
       },
       {"model.norm.weight", "no matrix inside the blocks"}},
      {[](Sensitivities& s) { ++s.tensors[2].weights; }, {name, "weights"}},
      {[](Sensitivities& s) { --s.tensors[2].choices[1].bytes; }, {name, "bytes", "khq4"}},
      {[](Sensitivities& s) { s.tensors[2].choices[0].damage = -1e-9; }, {name, "damage"}},
      {[](Sensitivities& s) { s.tensors[2].choices[0].damage = std::nan(""); }, {"damage"}},
      {[](Sensitivities& s) { s.tensors[2].formats[1] = "khw3"; }, {name, "khw3", "twice"}},
      {[](Sensitivities& s) { s.tensors[2].formats[1] = "khq9"; }, {name, "khq9"}},
      {[](Sensitivities& s) { s.tensors[2].formats[1] = "mxfp4"; }, {name, "mxfp4"}},
      {[](Sensitivities& s) { s.tensors[2].formats.clear(); }, {name, "no choices"}}};
  for (const Case& harmed : cases) {
    Sensitivities bad = good;
    harmed.harm(bad);
    try {
      allocate(bad);
      ADD_FAILURE() << harmed.parts.front() << ": no Error";
    } catch (const Error& problem) {
      for (const std::string& part : harmed.parts)
        EXPECT_NE(std::string(problem.what()).find(part), std::string::npos) << problem.what();
    }
  }
}

TEST_F(SensitivityFile, BitsAreThoseOfTheRecipeOnThisModel) {
  for (const double bits : {4.0, 4.25, 4.5, 5.0, 6.0}) {
    const AllocatedRecipe allocated = allocate(good, bits);
    const SizeSummary size = planned_size(make_plan(model, allocated.recipe, {}));
    EXPECT_EQ(allocated.bits, size.linear_bits());
    EXPECT_LE(allocated.bits, bits);
    EXPECT_GT(allocated.bits, std::min(bits, 5.0) - 0.3);
  }
  EXPECT_ERROR(allocate(good, 3.0), "");  // what even the smallest exceed
}

}  // namespace
}  // namespace assay::test
