// A model quantised in a context: who is told, where activations lie, and what is left when the work is given
// up.
#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/quantize/quantize_model.h"
#include "tests/progress_record.h"
#include "tests/quantize/generated_model.h"
#include "tests/support.h"

namespace assay::test {
namespace {

struct QuantizingContext : testing::Test {
  static constexpr std::uint64_t kHidden = 64, kIntermediate = 128, kVocabulary = 96;
  TemporaryFolder folder;
  std::string source = folder.file("source");

  void SetUp() override {
    write_model(source, llama_config(kHidden, kIntermediate, kVocabulary),
                llama_tensors(kHidden, kIntermediate, kVocabulary));
  }
  QuantizeRequest request(const std::string& out, const Context& context) const {
    QuantizeRequest request;
    request.source = open_model(source);
    request.recipe = load_recipe("q4");
    request.plan.method = Method::gptq;
    request.plan.calibration = true;
    request.out = folder.file(out);
    request.calibration.emplace();
    for (TokenId first = 0; first < 12; ++first)
      for (auto& window = request.calibration->text.windows.emplace_back(40); TokenId & token : window)
        token = static_cast<TokenId>((first * 40 + 7 * (&token - window.data())) % kVocabulary);
    request.context = context;
    return request;
  }
  std::string weights_of(const std::string& out) const {
    return read_bytes(folder.file(out + "/model.safetensors"));
  }
};

TEST_F(QuantizingContext, MemoryThatIsHandedInIsUsedAndNoOther) {
  SpillingMemory memory(folder.path().string(), 1);
  QuantizeRequest wanted = request("brought", {.memory = &memory});
  wanted.calibration->memory = 1;
  EXPECT_EQ(quantize_model(wanted).spilled_bytes, 0u);
  EXPECT_GT(memory.spilled(), 0u);
  quantize_model(request("own", {}));
  EXPECT_EQ(weights_of("brought"), weights_of("own"));
}

TEST_F(QuantizingContext, ItsSinkIsToldOfEveryStep) {
  ProgressRecord record;
  quantize_model(request("out", {.threads = 2, .progress = &record}));
  EXPECT_TRUE(record.all_ended());
  std::set<std::string> labels;
  for (const ProgressRecord::Piece& piece : record.ended()) {
    labels.insert(piece.label.substr(0, piece.label.find(' ')));
    EXPECT_EQ(piece.threads, 2) << piece.label;
    EXPECT_TRUE(piece.label != "calibrate" || piece.done == piece.total);
  }
  EXPECT_THAT(labels, testing::ElementsAre("calibrate", "hash", "quantise"));
}

TEST_F(QuantizingContext, GivenUpByItsSinkItLeavesNothing) {
  struct Impatient final : ProgressRecord {
    void advance(const Progress& work) override {
      ProgressRecord::advance(work);
      if (work.unit() == "weights") fail("enough");
    }
  } sink;
  EXPECT_ERROR(quantize_model(request("out", {.threads = 2, .progress = &sink})), "enough");
  EXPECT_TRUE(sink.all_ended());
  EXPECT_FALSE(std::filesystem::exists(folder.file("out")));
}

}  // namespace
}  // namespace assay::test
