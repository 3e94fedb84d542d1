#include "assay/measure/reference_check.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/measure/model_facts.h"
#include "tests/support.h"

namespace assay {
namespace {

class ReferenceCheckTest : public testing::Test {
 protected:
  /// A checkpoint of one weight file with this content.
  Checkpoint model(const std::string& name, const std::string& content) const {
    Checkpoint checkpoint;
    checkpoint.path = "models/" + name;
    checkpoint.files = {folder.file(name)};
    test::write_bytes(checkpoint.files[0], content);
    return checkpoint;
  }
  static Json source_block(const Checkpoint& source) {
    Json files = Json::array();
    for (const FileFact& file : hash_weight_files(source))
      files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
    return {{"path", source.path}, {"files", files}};
  }
  test::TemporaryFolder folder;
};

TEST_F(ReferenceCheckTest, TheSourceIsKnownByItsHashes) {
  const Checkpoint source = model("source", "weights"), other = model("other", "WEIGHTS"),
                   longer = model("longer", "weights and more");
  Checkpoint quantised = model("quantised", "w");
  quantised.manifest = Json{{"source", source_block(source)}};
  EXPECT_EQ(check_reference(quantised, source).relation, ReferenceRelation::source);
  EXPECT_EQ(check_reference(quantised, model("copy", "weights")).relation, ReferenceRelation::source)
      << "names do not matter";
  for (const Checkpoint& wrong : {other, longer}) {
    const ReferenceCheck check = check_reference(quantised, wrong);
    EXPECT_EQ(check.relation, ReferenceRelation::other);
    EXPECT_ERROR(require_source(check, {}), quantised.path, source.path, wrong.path, "--any-reference");
    EXPECT_NO_THROW(require_source(check, {.any = true}));
  }
}

TEST_F(ReferenceCheckTest, SeveralStepsLeadBackToTheFirstSource) {
  const Checkpoint first = model("first", "1111"), second = model("second", "2222"),
                   third = model("third", "3333");
  Checkpoint converted = model("converted", "c");
  converted.manifest = Json{{"source", source_block(third)},
                            {"origins", Json::array({source_block(first), source_block(second)})}};
  EXPECT_EQ(check_reference(converted, third).relation, ReferenceRelation::source);
  EXPECT_EQ(check_reference(converted, second).relation, ReferenceRelation::origin);
  EXPECT_EQ(check_reference(converted, first).relation, ReferenceRelation::origin);
  EXPECT_EQ(check_reference(converted, model("fourth", "4444")).relation, ReferenceRelation::other);
}

TEST_F(ReferenceCheckTest, AModelIsNoReferenceOfItself) {
  const Checkpoint source = model("source", "weights");
  Checkpoint quantised = model("quantised", "w");
  for (const bool told : {false, true}) {
    if (told) quantised.manifest = Json{{"source", source_block(source)}};
    const ReferenceCheck check = check_reference(quantised, quantised);
    EXPECT_EQ(check.relation, ReferenceRelation::same_files);
    EXPECT_ERROR(require_source(check, {}), quantised.path, "very same");
    EXPECT_NO_THROW(require_source(check, {.any = true}));
    if (told) {
      EXPECT_ERROR(require_source(check, {.same_is_refused = false}), "very same");
    } else {
      EXPECT_NO_THROW(require_source(check, {.same_is_refused = false}));
    }
  }
}

TEST_F(ReferenceCheckTest, WithoutAManifestItIsSaidThatNothingWasChecked) {
  const Checkpoint source = model("source", "weights");
  Checkpoint model_without = model("mlx", "w");
  for (const auto& manifest :
       {std::optional<Json>(), std::optional<Json>(Json{{"tensors", Json::object()}})}) {
    model_without.manifest = manifest;
    const ReferenceCheck check = check_reference(model_without, source);
    EXPECT_EQ(check.relation, ReferenceRelation::not_verifiable);
    EXPECT_NE(check.sentence.find("not verifiable"), std::string::npos);
    EXPECT_NO_THROW(require_source(check, {}));
  }
}

TEST_F(ReferenceCheckTest, EveryShardCounts) {
  Checkpoint source = model("a", "first shard");
  source.files.push_back(model("b", "second shard").files[0]);
  Checkpoint quantised = model("quantised", "w");
  quantised.manifest = Json{{"source", source_block(source)}};
  EXPECT_EQ(check_reference(quantised, source).relation, ReferenceRelation::source);
  Checkpoint half = source;
  half.files.pop_back();
  EXPECT_EQ(check_reference(quantised, half).relation, ReferenceRelation::other);
  test::write_bytes(source.files[1], "SECOND shard");  // hashes are not kept beyond a change
  EXPECT_EQ(check_reference(quantised, source).relation, ReferenceRelation::other);
}

TEST_F(ReferenceCheckTest, MalformedManifestsAreRefused) {
  Checkpoint quantised = model("quantised", "w");
  const Checkpoint source = model("source", "weights");
  for (const Json& manifest : {Json{{"source", "here"}}, Json{{"source", Json::object()}},
                               Json{{"source", {{"files", Json::array({Json{{"bytes", 7}}})}}}},
                               Json{{"source", source_block(source)}, {"origins", 1}},
                               Json{{"source", source_block(source)}, {"origins", Json::array({1})}}}) {
    quantised.manifest = manifest;
    EXPECT_ERROR(check_reference(quantised, source), quantised.path + "/assay.json");
  }
}

}  // namespace
}  // namespace assay
