// What a derived model carries of its ancestors, that its bytes are checked wherever they are read, and that
// a source which changes under the work leaves nothing behind.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "assay/audit/audit.h"
#include "assay/base/error.h"
#include "assay/model/roles.h"
#include "assay/quantize/quantize_model.h"
#include "assay/runtime/session.h"
#include "assay/storage/provenance.h"
#include "tests/quantize/generated_model.h"
#include "tests/quantize/moe_config.h"
#include "tests/support.h"

namespace assay::test {
namespace {

namespace fs = std::filesystem;

TextRecord record(const std::string& purpose, unsigned seed) {
  TextRecord text{purpose, purpose + ".txt", "hash", 300, "a tokenizer", {}, {}};
  std::mt19937 random(seed);
  std::vector<TokenId> tokens(300);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 8000);
  text.fingerprint.add(tokens);
  return text;
}

class Provenance : public testing::Test {
 protected:
  void SetUp() override { write_model(source, llama_config(64, 128, 96), llama_tensors(64, 128, 96)); }

  QuantizeRequest request(const CheckpointPtr& from, const std::string& recipe, const std::string& out,
                          Container container = Container::assay) const {
    QuantizeRequest request{from, load_recipe(recipe), {}, folder.file(out), {}, {}, {}, "a test"};
    request.plan.container = container;
    return request;
  }
  std::string quantized(const CheckpointPtr& from, const std::string& recipe, const std::string& out,
                        const TextRecords& texts = {}) const {
    QuantizeRequest wanted = request(from, recipe, out);
    wanted.recipe.texts = texts;
    quantize_model(wanted);
    return wanted.out;
  }
  static std::string bytes_hash(const std::string& path) {
    const std::string bytes = read_bytes(path);
    return sha256_hex(std::as_bytes(std::span(bytes.data(), bytes.size())));
  }

  TemporaryFolder folder;
  std::string source = folder.file("source");
};

// ---- Texts and origins.

TEST_F(Provenance, EveryDerivedModelCarriesTheTextsOfItsAncestors) {
  const TextRecords first = {record("allocation", 1)}, second = {record("routing", 2)};
  const std::string q8 = quantized(open_model(source), "q8", "q8", first);
  EXPECT_EQ(texts_of(*open_model(q8)), first);

  TextRecords both = first;
  add_texts(both, second);
  EXPECT_EQ(texts_of(*open_model(quantized(open_model(q8), "q4", "again", second))), both);

  convert_model(open_model(folder.file("again")), Container::assay, folder.file("converted"));
  EXPECT_EQ(texts_of(*open_model(folder.file("converted"))), both);

  RotationOptions rotation;
  rotation.scratch_directory = folder.path().string();
  const CheckpointPtr rotated = rotate_checkpoint(open_model(folder.file("again")), rotation);
  EXPECT_EQ(texts_of(*open_model(quantized(rotated, "q8", "rotated"))), both);

  QuantizeRequest mlx = request(open_model(folder.file("again")), "mlx4", "mlx", Container::mlx);
  quantize_model(mlx);
  EXPECT_EQ(texts_of(*open_model(mlx.out)), both);
}

TEST_F(Provenance, PackedExpertsCarryThemToo) {
  const std::string moe = folder.file("moe");
  Json config = moe_config("qwen3_moe", 4);
  config.erase("shared_expert_intermediate_size");
  std::vector<GeneratedTensor> tensors;
  const auto expected = expected_tensors(config);
  for (const ExpectedTensor& tensor : *expected) tensors.push_back({tensor.name, tensor.shape});
  write_model(moe, config, tensors);
  const TextRecords texts = {record("routing", 1)};
  const std::string q4 = quantized(open_model(moe), "q4", "moe-q4", texts);
  pack_experts(open_model(q4), folder.file("packed"));
  const CheckpointPtr packed = open_model(folder.file("packed"));
  EXPECT_EQ(texts_of(*packed), texts);
  EXPECT_EQ(packed->manifest->at("origins"), Json::array({open_model(q4)->manifest->at("source")}));
}

TEST_F(Provenance, OriginsNameEveryAncestorOldestFirst) {
  const std::string a = quantized(open_model(source), "q8", "a");
  const std::string b = quantized(open_model(a), "q4", "b");
  convert_model(open_model(b), Container::assay, folder.file("c"));
  const Json of_a = *open_model(a)->manifest, of_b = *open_model(b)->manifest,
             of_c = *open_model(folder.file("c"))->manifest;
  EXPECT_FALSE(of_a.contains("origins"));
  EXPECT_EQ(of_a["source"]["files"][0]["sha256"], bytes_hash(source + "/model.safetensors"));
  EXPECT_EQ(of_b["origins"], Json::array({of_a["source"]}));
  EXPECT_EQ(of_c["origins"], Json::array({of_a["source"], of_b["source"]}));
  EXPECT_EQ(of_c["source"]["path"], b);
}

// ---- Checksums.

TEST_F(Provenance, AFlippedBitInAnyTensorIsAnErrorWhereverItIsRead) {
  const std::string q4 = quantized(open_model(source), "q4", "q4"), file = q4 + "/model.safetensors";
  const std::string good = read_bytes(file);
  std::vector<std::pair<std::string, std::size_t>> places;  // one byte of every plane
  {
    const CheckpointPtr model = open_model(q4);
    std::mt19937 random(1);
    for (const Tensor& tensor : model->tensors)
      for (const Bytes plane : tensor.planes)
        places.emplace_back(tensor.name,
                            static_cast<std::size_t>(plane.data() - mapped_file_of(plane)->bytes().data()) +
                                random() % plane.size());
  }
  ASSERT_GE(places.size(), 11u);
  int number = 0;
  for (const auto& [tensor, place] : places) {
    std::string bad = good;
    bad[place] =
        static_cast<char>(bad[place] ^ 1);  // the lowest bit of a code, a scale, a norm: all are legal
    write_bytes(file, bad);
    EXPECT_ERROR(Model::load(open_model(q4)), file, tensor, "checksum");
    EXPECT_ERROR(convert_model(open_model(q4), Container::lattice, folder.file("l")), tensor, "checksum");
    EXPECT_ERROR(quantized(open_model(q4), "q8", "r"), tensor, "checksum");
    const AuditReport report = audit_checkpoint(*open_model(q4), nullptr);
    for (const TensorAudit& audit : report.tensors)
      EXPECT_EQ(std::ranges::count(audit.suspicions, std::string("damaged"), &Suspicion::kind),
                audit.name == tensor ? 1 : 0)
          << audit.name << " with " << tensor << " damaged, " << number;
    ++number;
  }
  write_bytes(file, good);
  EXPECT_NO_THROW(Model::load(open_model(q4)));
  for (const TensorAudit& audit : audit_checkpoint(*open_model(q4), nullptr).tensors)
    EXPECT_EQ(std::ranges::count(audit.suspicions, std::string("damaged"), &Suspicion::kind), 0);
}

TEST_F(Provenance, EveryContainerWeWriteHasThem) {
  for (const auto& [recipe, container] :
       {std::pair{"q4", Container::assay}, {"mlx4", Container::mlx}, {"q4", Container::lattice}}) {
    const QuantizeRequest wanted =
        request(open_model(source), recipe, std::string(container_name(container)), container);
    quantize_model(wanted);
    const CheckpointPtr model = open_model(wanted.out);
    for (const Tensor& tensor : model->tensors)
      EXPECT_EQ(tensor.checksum, checksum_of(tensor)) << wanted.out << " " << tensor.name;
    EXPECT_NO_THROW(Model::load(model));
  }
}

// ---- A source that changes.

TEST_F(Provenance, ASourceThatChangesLeavesNothingBehind) {
  const std::vector<std::pair<std::string, std::string>> changes = {
      {"model.safetensors", "written to"}, {"model.safetensors", "replaced"},
      {"model.safetensors", "removed"},    {"model.safetensors", "bytes became"},
      {"config.json", "written to"},       {"config.json", "removed"}};
  int number = 0;
  for (const auto& [name, word] : changes) {
    const std::string copy = folder.file("copy" + std::to_string(number)), file = copy + "/" + name;
    const std::string out = "out" + std::to_string(number++);
    fs::copy(source, copy);
    fs::last_write_time(file, fs::last_write_time(file) - std::chrono::seconds(10));
    const auto change = [&, what = word] {
      const std::string content = read_bytes(file);
      if (what == "written to") write_bytes(file, content);
      if (what == "bytes became") write_bytes(file, content + "x");
      if (what != "removed" && what != "replaced") return;
      fs::rename(file, file + ".old");
      if (what == "replaced") write_bytes(file, content);
    };
    QuantizeRequest wanted = request(open_model(copy), "q4", out);
    wanted.measure = [&](const std::string&) {
      change();
      return OrderedJson::object();
    };
    EXPECT_ERROR(quantize_model(wanted), file, word, "run again");
    EXPECT_FALSE(fs::exists(folder.file(out))) << word;
  }
  const CheckpointPtr opened = open_model(source);  // and without a measurement: converted
  fs::last_write_time(source + "/model.safetensors",
                      fs::last_write_time(source + "/model.safetensors") + std::chrono::seconds(1));
  EXPECT_ERROR(convert_model(opened, Container::assay, folder.file("converted")), "written to");
  EXPECT_FALSE(fs::exists(folder.file("converted")));
}

TEST_F(Provenance, OtherFilesOfTheFolderMayChange) {
  write_bytes(source + "/notes.txt", "a");
  QuantizeRequest wanted = request(open_model(source), "q4", "out");
  wanted.measure = [&](const std::string&) {
    write_bytes(source + "/notes.txt", "ab");
    return OrderedJson::object();
  };
  EXPECT_NO_THROW(quantize_model(wanted));
}

TEST_F(Provenance, TheIdentityOfAModelIsItsWeightsAndItsConfiguration) {
  const std::string own = content_identity(*open_model(source));
  EXPECT_EQ(content_identity(*open_model(source)), own);
  fs::copy(source, folder.file("copy"));
  EXPECT_EQ(content_identity(*open_model(folder.file("copy"))), own);
  Json config = llama_config(64, 128, 96);
  config["rms_norm_eps"] = 1e-3;
  write_bytes(folder.file("copy/config.json"), config.dump());
  EXPECT_NE(content_identity(*open_model(folder.file("copy"))), own);
  write_model(folder.file("other"), llama_config(64, 128, 96), llama_tensors(64, 128, 96), 2);
  EXPECT_NE(content_identity(*open_model(folder.file("other"))), own);
}

}  // namespace
}  // namespace assay::test
