// Calibrated models as they are written: sequential inputs, no tokens, threads, kills, stores of earlier
// runs, and what the manifest says.
#include "assay/calibration/calibrated_model.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "assay/base/error.h"
#include "assay/kernels/observed_ops.h"
#include "assay/parallel/threads.h"
#include "assay/quantize/quantize_model.h"
#include "tests/quantize/generated_model.h"
#include "tests/support.h"

namespace assay::test {
namespace {

constexpr std::uint64_t kHidden = 64, kIntermediate = 128, kVocabulary = 96;
constexpr std::size_t kMatrices = 14;  // of two blocks

std::vector<GeneratedTensor> two_block_tensors() {
  auto tensors = llama_tensors(kHidden, kIntermediate, kVocabulary);
  for (const GeneratedTensor& tensor : llama_tensors(kHidden, kIntermediate, kVocabulary))
    if (const auto at = tensor.name.find("layers.0."); at != std::string::npos) {
      tensors.push_back(tensor);
      tensors.back().name.replace(at, 9, "layers.1.");
    }
  return tensors;
}

Json two_block_config() {
  Json config = llama_config(kHidden, kIntermediate, kVocabulary);
  config["num_hidden_layers"] = 2;
  return config;
}

/// Windows of random tokens; the same ones for the same seed.
CalibrationText random_text(unsigned seed = 5) {
  CalibrationText text;
  text.options = {"random.txt", 480, 40, seed};
  text.text_sha256 = "of no file";
  std::mt19937 random(seed);
  for (int i = 0; i < 12; ++i) {
    auto& window = text.windows.emplace_back(40);
    for (TokenId& token : window) token = static_cast<TokenId>(random() % kVocabulary);
  }
  return text;
}

using Planes = std::vector<std::vector<std::byte>>;

struct CalibratedModelTest : testing::Test {
  TemporaryFolder folder;
  std::string source = folder.file("source");

  void SetUp() override { write_model(source, two_block_config(), two_block_tensors()); }

  QuantizeRequest request(const std::string& recipe, const std::string& out,
                          Method method = Method::gptq) const {
    QuantizeRequest request;
    request.source = open_model(source);
    request.recipe = load_recipe(recipe);
    request.plan.method = method;
    request.plan.calibration = true;
    request.out = folder.file(out);
    request.calibration = Calibration{random_text(), {}};
    request.calibration->rounding.search.points = 16;
    return request;
  }
  /// Without any calibration.
  QuantizeRequest plain_request(const std::string& recipe, const std::string& out) const {
    QuantizeRequest plain = request(recipe, out, Method::rtn);
    plain.plan.calibration = false;
    plain.calibration.reset();
    return plain;
  }
  QuantizeResult quantize(const std::string& recipe, const std::string& out,
                          Method method = Method::gptq) const {
    return quantize_model(request(recipe, out, method));
  }
  std::string weights_of(const std::string& out) const {
    return read_bytes(folder.file(out + "/model.safetensors"));
  }

  /// Every calibrated tensor of a run, by its index in the plan; throws after `stop_after` of them.
  struct Tensors {
    std::map<std::size_t, CalibratedTensor> done;
    std::vector<std::size_t> order;
  };
  Tensors calibrate(ResumeStore* store, std::size_t stop_after = kMatrices) const {
    const QuantizeRequest wanted = request("q4", "unused");
    const Plan plan = make_plan(wanted.source, wanted.recipe, wanted.plan);
    Tensors tensors;
    const auto finished = [&](std::size_t index, const CalibratedTensor& tensor) {
      EXPECT_TRUE(tensors.done.emplace(index, tensor).second) << "told twice of " << index;
      tensors.order.push_back(index);
      if (tensors.order.size() == stop_after && stop_after < kMatrices) throw std::runtime_error("killed");
    };
    calibrate_tensors(plan, wanted.calibration->text, wanted.calibration->rounding, store, {}, finished);
    return tensors;
  }
  std::string store_folder() const { return folder.file("store"); }
  OrderedJson store_request() const { return {{"of", "this test"}}; }
  /// Leaves behind what a run has that is killed after so many tensors.
  void kill_after(std::size_t tensors) const {
    ResumeStore store(store_folder(), store_request());
    EXPECT_THROW(calibrate(&store, tensors), std::runtime_error);
  }
  /// Leaves behind a run whose first block is finished.
  void kill_in_second_block() const { kill_after(8); }
  std::string stored_file(const std::string& name) const { return store_folder() + "/" + name; }
  std::size_t plan_index(const std::string& tensor) const {
    const auto model = open_model(source);  // whose tensors the plan lists in the same order
    const auto found = std::ranges::find(model->tensors, tensor, &Tensor::name);
    return static_cast<std::size_t>(found - model->tensors.begin());
  }
  std::string tensor_file(const std::string& tensor) const {
    return "tensor-" + std::to_string(plan_index(tensor));
  }
};

void expect_same(const CalibratedModelTest::Tensors& a, const CalibratedModelTest::Tensors& b) {
  ASSERT_EQ(a.done.size(), kMatrices);
  ASSERT_EQ(b.done.size(), kMatrices);
  for (const auto& [index, tensor] : a.done) {
    const CalibratedTensor& other = b.done.at(index);
    EXPECT_EQ(tensor.planes, other.planes) << index;
    EXPECT_EQ(tensor.report.to_json(), other.report.to_json()) << index;
    EXPECT_EQ(tensor.report.weights, other.report.weights) << index;
    EXPECT_EQ(tensor.error.squared_error, other.error.squared_error) << index;
    EXPECT_EQ(tensor.error.squared_weight, other.error.squared_weight) << index;
    EXPECT_EQ(tensor.error.largest, other.error.largest) << index;
  }
}

// ---- What is stored.

TEST_F(CalibratedModelTest, EveryMatrixOfTheBlocksLosesLessThanPlainRounding) {
  for (const char* recipe : {"q4", "w3", "mlx4", "int6-row"}) {
    const QuantizeResult result = quantize(recipe, recipe);
    std::size_t calibrated = 0;
    for (std::size_t i = 0; i < result.reports.size(); ++i) {
      const TensorReport& report = result.reports[i];
      const TensorPlan& planned = result.plan.tensors[i];
      EXPECT_EQ(report.calibration.has_value(), is_block_matrix(planned.role)) << planned.source->name;
      if (!report.calibration) continue;
      ++calibrated;
      EXPECT_LT(report.calibration->loss, report.calibration->plain_loss)
          << recipe << " " << planned.source->name;
      EXPECT_EQ(report.calibration->rows, planned.source->shape[0]);
      EXPECT_EQ(report.calibration->tokens_per_column, 480.0 / static_cast<double>(planned.source->shape[1]));
      EXPECT_EQ(planned.method, Method::gptq);
    }
    EXPECT_EQ(calibrated, kMatrices);
  }
}

/// What every matrix of a model is given when the windows run through it.
std::map<std::string, std::vector<float>> inputs_of(const std::string& path, const CalibrationText& text) {
  std::map<std::string, std::vector<float>> seen;
  std::map<const Linear*, std::string> names;
  const auto keep = [&](std::span<const Linear* const> group, const Rows& x) {
    for (const Linear* linear : group) {
      std::vector<float>& inputs = seen[names.at(linear)];
      inputs.resize(x.size());
      cpu_ops().read(x, inputs);
    }
  };
  const auto ops = observed_ops(cpu_ops(), {.linear = keep});
  LoadOptions load;
  load.context.ops = ops.get();
  load.factory = [&](const MatrixPlace& place, PackedMatrix matrix) {
    auto linear = make_linear(std::move(matrix), {Residency::decoded});
    names[linear.get()] = place.tensor;
    return linear;
  };
  const ModelPtr model = Model::load(open_model(path), load);
  std::vector<std::unique_ptr<SequenceState>> states;
  std::vector<Chunk> batch;
  for (const auto& window : text.windows) {
    states.push_back(make_sequence_state(*model));
    batch.push_back({states.back().get(), window});
  }
  std::vector<float> hidden;
  forward(*model, batch, hidden);
  return seen;
}

/// The planes of a tensor when it is rounded under these inputs.
Planes rounded_under(const Tensor& original, const Format& format, const std::vector<float>& inputs,
                     const CalibratedRoundingOptions& options) {
  const MatrixShape shape = as_matrix(original.shape);
  const Hessian hessian = make_hessian(inputs, inputs.size() / shape.columns, shape.columns);
  CalibratedRoundingReport report;
  const RoundedMatrix matrix =
      round_calibrated(format, decode_all(original), shape.rows, hessian, options, report);
  Planes planes;
  std::vector<MutableBytes> views;
  const Layout layout = format.layout(shape.columns);
  for (const Plane& plane : layout.planes)
    planes.emplace_back(layout.bytes(plane, unit_count(layout, shape.rows, shape.columns)));
  for (auto& plane : planes) views.emplace_back(plane);
  format.pack(matrix.params, matrix.codes, views);
  return planes;
}

bool same_planes(const Tensor& tensor, const Planes& planes) {
  return std::ranges::equal(tensor.planes, planes,
                            [](const auto& a, const auto& b) { return std::ranges::equal(a, b); });
}

// The inputs of every matrix are those of the model that is stored: not of the original, not of an earlier
// block's, not of a neighbour's.
TEST_F(CalibratedModelTest, EveryMatrixIsRoundedUnderTheInputsOfTheStoredModel) {
  const std::string int4 = folder.file("int4.json");
  write_bytes(int4, R"({"name": "int4", "rules": [{"roles": ["linear"], "format": "int4-row"}]})");
  for (const std::string& recipe : {std::string("w3"), int4}) {
    const std::string out = recipe == int4 ? "int4" : recipe;
    const QuantizeRequest wanted = request(recipe, out);
    quantize_model(wanted);
    const auto original = open_model(source), stored = open_model(folder.file(out));
    const auto inputs = inputs_of(folder.file(out), wanted.calibration->text);
    const auto original_inputs = inputs_of(source, wanted.calibration->text);
    std::size_t checked = 0, moved_on = 0;
    for (const Tensor& tensor : original->tensors) {
      if (!is_block_matrix(*classify_tensor(tensor.name))) continue;
      const Tensor& found = stored->at(tensor.name);
      const auto& rounding = wanted.calibration->rounding;
      EXPECT_TRUE(same_planes(found, rounded_under(tensor, *found.format, inputs.at(tensor.name), rounding)))
          << recipe << " " << tensor.name;
      moved_on += !same_planes(
          found, rounded_under(tensor, *found.format, original_inputs.at(tensor.name), rounding));
      ++checked;
    }
    EXPECT_EQ(checked, kMatrices);
    EXPECT_GT(moved_on, kMatrices / 2) << "the inputs of original and stored model are told apart";
  }
}

TEST_F(CalibratedModelTest, EmbeddingNormsAndHeadAreRoundedPlainly) {
  const QuantizeResult result = quantize("q4", "gptq");
  quantize_model(plain_request("q4", "rtn"));
  const auto calibrated = open_model(folder.file("gptq")), plain = open_model(folder.file("rtn"));
  for (const TensorPlan& planned : result.plan.tensors) {
    const Tensor &a = calibrated->at(planned.source->name), &b = plain->at(planned.source->name);
    const bool same = std::ranges::equal(
        a.planes, b.planes, [](const Bytes& x, const Bytes& y) { return std::ranges::equal(x, y); });
    EXPECT_EQ(same, !is_block_matrix(planned.role)) << planned.source->name;
    if (planned.role == Role::embedding) {
      EXPECT_EQ(planned.method, Method::rtn);
    }
  }
}

TEST_F(CalibratedModelTest, SearchIsWeightedByTheInputsButFeedsNothingBack) {
  const QuantizeResult searched = quantize("w3", "searched", Method::search);
  const QuantizeResult fed = quantize("w3", "fed");
  for (std::size_t i = 0; i < searched.reports.size(); ++i) {
    if (!is_block_matrix(searched.plan.tensors[i].role)) continue;
    ASSERT_TRUE(searched.reports[i].calibration.has_value());
    EXPECT_EQ(searched.plan.tensors[i].method, Method::search);
    EXPECT_EQ(searched.reports[i].calibration->damping, 0);
    EXPECT_EQ(fed.reports[i].calibration->damping, 0.01);
    EXPECT_LT(searched.reports[i].calibration->loss, searched.reports[i].calibration->plain_loss);
    EXPECT_LT(fed.reports[i].calibration->loss, searched.reports[i].calibration->loss);
  }
}

// Weights that are transcoded stand in the prefix as they will be stored, not rounded once more. (MLX's own
// rule fits other parameters to weights that are on such a grid already.)
TEST_F(CalibratedModelTest, TranscodedEmbeddingsAreThoseOfTheStoredModel) {
  const std::string packed = folder.file("packed.json"), mixed = folder.file("mixed.json");
  write_bytes(packed, R"({"name": "packed", "rules": [{"roles": ["ends"], "format": "khq4"}]})");
  write_bytes(mixed, R"({"name": "mixed", "rules": [{"roles": ["ends"], "format": "mlx4-g32-f16"},
                                                    {"roles": ["linear"], "format": "khq4"}]})");
  quantize_model(plain_request(packed, "packed"));
  source = folder.file("packed");
  const QuantizeRequest wanted = request(mixed, "mixed");
  const QuantizeResult result = quantize_model(wanted);
  const auto inputs = inputs_of(folder.file("mixed"), wanted.calibration->text);
  const auto original = open_model(source), stored = open_model(folder.file("mixed"));
  for (std::size_t i = 0; i < result.reports.size(); ++i) {
    const Tensor& tensor = *result.plan.tensors[i].source;
    if (result.plan.tensors[i].role == Role::embedding) {
      EXPECT_EQ(result.plan.tensors[i].method, Method::transcode);
    } else if (is_block_matrix(result.plan.tensors[i].role)) {
      const Tensor& found = stored->at(tensor.name);
      EXPECT_TRUE(same_planes(found, rounded_under(original->at(tensor.name), *found.format,
                                                   inputs.at(tensor.name), wanted.calibration->rounding)))
          << tensor.name;
    }
  }
}

TEST_F(CalibratedModelTest, NoTokensWriteTheFilesOfPlainRounding) {
  for (const char* recipe : {"q4", "mlx4", "int6-row"}) {
    const std::string name = recipe;
    QuantizeRequest none = request(recipe, "none-" + name);
    none.plan.calibration = false;
    none.calibration->text.windows.clear();
    quantize_model(plain_request(recipe, "rtn-" + name));
    quantize_model(none);
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder.file("rtn-" + name))) {
      const std::string file = entry.path().filename().string();
      EXPECT_EQ(read_bytes(folder.file("none-" + name) + "/" + file), read_bytes(entry.path().string()))
          << recipe << " " << file;
      names.insert(file);
    }
    EXPECT_THAT(names, testing::IsSupersetOf({"model.safetensors", "assay.json", "config.json"}));
    EXPECT_FALSE(std::filesystem::exists(folder.file("none-" + name + ".calibration")));
  }
}

TEST_F(CalibratedModelTest, ThreadsAndRepetitionsChangeNoByte) {
  std::vector<std::pair<std::string, std::string>> written;
  for (const int threads : {1, 2, 1}) {
    set_thread_count(threads);
    quantize("q4", "out");
    written.emplace_back(weights_of("out"), read_bytes(folder.file("out/assay.json")));
    std::filesystem::remove_all(folder.file("out"));
  }
  set_thread_count(0);
  EXPECT_EQ(written[1], written[0]);
  EXPECT_EQ(written[2], written[0]);
}

TEST_F(CalibratedModelTest, SpilledActivationsChangeNoByte) {
  quantize("q4", "memory");
  QuantizeRequest wanted = request("q4", "files");
  wanted.calibration->memory = 1;
  EXPECT_GT(quantize_model(wanted).spilled_bytes, 0u);
  EXPECT_EQ(weights_of("files"), weights_of("memory"));
  EXPECT_EQ(read_bytes(folder.file("files/assay.json")), read_bytes(folder.file("memory/assay.json")));
}

TEST_F(CalibratedModelTest, TensorsAreToldInTheOrderOfTheForwardPass) {
  const QuantizeRequest wanted = request("q4", "unused");
  const Plan plan = make_plan(wanted.source, wanted.recipe, wanted.plan);
  std::vector<std::string> names;
  for (const std::size_t index : calibrate(nullptr).order) names.push_back(plan.tensors[index].source->name);
  std::vector<std::string> expected;
  for (const char* block : {"model.layers.0.", "model.layers.1."})
    for (const char* module : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                               "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"})
      expected.push_back(std::string(block) + module + ".weight");
  EXPECT_EQ(names, expected);
}

TEST_F(CalibratedModelTest, ManifestHoldsTheCalibrationAndWhatItCost) {
  QuantizeRequest wanted = request("q4", "out");
  wanted.calibration->text.windows[0].resize(100, 7);  // long enough for a fingerprint
  wanted.calibration->rounding.damping = 0.02;
  wanted.calibration->rounding.refinements = 1;
  quantize_model(wanted);
  const Json manifest = read_json_file(folder.file("out/assay.json"));
  const Json& calibration = manifest.at("calibration");
  EXPECT_EQ(calibration.at("text"), "random.txt");
  EXPECT_EQ(calibration.at("text_sha256"), "of no file");
  EXPECT_EQ(calibration.at("tokens"), 540);
  EXPECT_EQ(calibration.at("window"), 40);
  EXPECT_EQ(calibration.at("seed"), 5);
  EXPECT_EQ(calibration.at("damping"), 0.02);
  EXPECT_EQ(calibration.at("refinements"), 1);
  EXPECT_EQ(calibration.at("search").at("points"), 16);
  EXPECT_EQ(texts_from_json(manifest.at("texts"), "here"),
            TextRecords{wanted.calibration->text.record("calibration")});
  for (const auto& [name, tensor] : manifest.at("tensors").items()) {
    const bool block_matrix = is_block_matrix(*classify_tensor(name));
    EXPECT_EQ(tensor.contains("calibration"), block_matrix) << name;
    if (!block_matrix) continue;
    EXPECT_EQ(tensor.at("method"), "gptq");
    EXPECT_LT(tensor.at("calibration").at("loss"), tensor.at("calibration").at("plain_loss")) << name;
    EXPECT_EQ(tensor.at("calibration").at("damping"), 0.02) << name;
    EXPECT_GT(tensor.at("calibration").at("predicted_gain"), 0) << name;
    EXPECT_LT(tensor.at("calibration").at("predicted_gain"), 1) << name;
    EXPECT_GT(tensor.at("relative_rms_error"), 0) << name;
  }
}

/// Overwrites the second norm of block 1, through which all inputs of its feed-forward come.
void overwrite_norm(const std::string& source, char byte) {
  const std::string file = source + "/model.safetensors";
  std::string bytes = read_bytes(file);
  {
    const auto model = open_model(source);
    const Bytes norm = model->at("model.layers.1.post_attention_layernorm.weight").planes[0];
    const std::size_t at =
        bytes.find(std::string_view(reinterpret_cast<const char*>(norm.data()), norm.size()));
    ASSERT_NE(at, std::string::npos);
    bytes.replace(at, norm.size(), std::string(norm.size(), byte));
  }
  write_bytes(file, bytes);
}

TEST_F(CalibratedModelTest, TroubleIsNamedByFileAndTensor) {
  overwrite_norm(source, '\x7e');  // 8e37: finite, but its squares are not
  EXPECT_ERROR(quantize("q4", "out"), source + "/model.safetensors", "model.layers.1.mlp.gate_proj.weight");
  EXPECT_FALSE(std::filesystem::exists(folder.file("out")));
}

TEST_F(CalibratedModelTest, AMatrixWhoseInputsAreZeroIsRoundedByItsWeights) {
  overwrite_norm(source, '\0');
  const QuantizeResult result = quantize("q4", "out");
  const Json& tensors = result.manifest.at("tensors");
  for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
    const Json& calibration = tensors.at(fmt::format("model.layers.1.mlp.{}.weight", name)).at("calibration");
    EXPECT_NE(calibration.at("without_inputs").get<std::string>().find("zero"), std::string::npos) << name;
  }
  EXPECT_FALSE(tensors.at("model.layers.0.mlp.up_proj.weight").at("calibration").contains("without_inputs"));
  ASSERT_TRUE(result.calibration);
  EXPECT_NE(result.calibration->warning().find("zero"), std::string::npos);
}

// ---- Kills.

TEST_F(CalibratedModelTest, KilledRunsGoOnToTheSameBytes) {
  const Tensors whole = calibrate(nullptr);
  // At the first tensor, at the last one of a block (which is not yet finished), behind it, near the end.
  for (const auto& [killed_after, finished] :
       {std::pair{std::size_t{1}, 0}, {std::size_t{7}, 0}, {std::size_t{8}, 1}, {std::size_t{13}, 1}}) {
    kill_after(killed_after);
    ResumeStore store(store_folder(), store_request());
    EXPECT_EQ(store.finished_blocks(), finished) << killed_after;
    expect_same(whole, calibrate(&store));
    EXPECT_EQ(store.finished_blocks(), 2);
    // And once more from the end, where nothing is left to do.
    ResumeStore complete(store_folder(), store_request());
    expect_same(whole, calibrate(&complete));
    complete.remove();
    EXPECT_FALSE(std::filesystem::exists(store_folder()));
  }
}

TEST_F(CalibratedModelTest, FinishedBlocksAreReadAndNotMadeAgain) {
  kill_in_second_block();
  const std::size_t index = plan_index("model.layers.0.self_attn.q_proj.weight");
  ResumeStore store(store_folder(), store_request());
  const std::size_t bytes = std::filesystem::file_size(stored_file(fmt::format("tensor-{}.planes", index)));
  ResumeStore::Entry entry = *store.tensor(index, {bytes});
  entry.planes[0][100] ^= std::byte{0x11};
  store.put_tensor(index, entry.planes, OrderedJson::parse(entry.report.dump()));
  EXPECT_EQ(calibrate(&store).done.at(index).planes, entry.planes);
}

/// Whatever is left of a killed run is taken as it was written, or not at all.
TEST_F(CalibratedModelTest, EveryFlippedBitInAStoreIsRefused) {
  kill_in_second_block();
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(store_folder()))
    names.push_back(entry.path().filename().string());
  EXPECT_GT(names.size(), 16u);  // request, progress, hidden rows, seven tensors of two files and one more
  std::mt19937 random(3);
  for (const std::string& name : names) {
    if (name.starts_with("tensor-" + std::to_string(plan_index("model.layers.1.self_attn.q_proj.weight")) +
                         "."))
      continue;  // of the block that is not finished: made again
    const std::string good = read_bytes(stored_file(name));
    for (int flip = 0; flip < 6; ++flip) {
      std::string bad = good;
      const std::size_t at = flip == 0 ? 0 : random() % bad.size();
      bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
      write_bytes(stored_file(name), bad);
      EXPECT_ERROR(
          {
            ResumeStore store(store_folder(), store_request());
            calibrate(&store);
          },
          store_folder(), "remove");
    }
    write_bytes(stored_file(name), good);
  }
}

TEST_F(CalibratedModelTest, FilesOfOtherTensorsAndScalesThatAreNoneAreRefused) {
  kill_in_second_block();
  const auto resume = [&] {
    ResumeStore store(store_folder(), store_request());
    calibrate(&store);
  };
  const std::string q = tensor_file("model.layers.0.self_attn.q_proj.weight");
  const std::string o = tensor_file("model.layers.0.self_attn.o_proj.weight");
  const auto swap = [&](const char* part) {
    std::filesystem::rename(stored_file(q + part), stored_file("aside"));
    std::filesystem::rename(stored_file(o + part), stored_file(q + part));
    std::filesystem::rename(stored_file("aside"), stored_file(o + part));
  };
  swap(".planes");
  EXPECT_ERROR(resume(), "damaged", "remove the folder");
  swap(".json");  // now both files of each
  EXPECT_ERROR(resume(), "number", "belongs elsewhere", "remove the folder");
  swap(".planes");
  swap(".json");
  // Sound by its checksum, and yet no weights: a scale that is no number.
  const std::size_t index = plan_index("model.layers.0.self_attn.q_proj.weight");
  ResumeStore store(store_folder(), store_request());
  const std::size_t bytes = std::filesystem::file_size(stored_file(q + ".planes"));
  ResumeStore::Entry entry = *store.tensor(index, {bytes});
  for (std::size_t i = 0; i < 20; ++i) entry.planes[0][i] = std::byte{0xff};
  store.put_tensor(index, entry.planes, OrderedJson::parse(entry.report.dump()));
  EXPECT_ERROR(resume(), "model.layers.0.self_attn.q_proj.weight", "block 0");
}

TEST_F(CalibratedModelTest, JourneysThatEndBeforeTheDirectoryAppearsGoOn) {
  quantize("q4", "whole");
  QuantizeRequest killed = request("q4", "out");
  killed.measure = [](const std::string&) -> OrderedJson { throw std::runtime_error("killed"); };
  EXPECT_THROW(quantize_model(killed), std::runtime_error);
  EXPECT_FALSE(std::filesystem::exists(folder.file("out")));
  ASSERT_TRUE(std::filesystem::exists(folder.file("out.calibration/request.json")));
  EXPECT_TRUE(std::filesystem::exists(folder.file("out.calibration/hidden-2.f32")));
  EXPECT_FALSE(std::filesystem::exists(folder.file("out.calibration/hidden-1.f32")));
  quantize("q4", "out");
  EXPECT_EQ(weights_of("out"), weights_of("whole"));
  EXPECT_EQ(read_bytes(folder.file("out/assay.json")), read_bytes(folder.file("whole/assay.json")));
  EXPECT_FALSE(std::filesystem::exists(folder.file("out.calibration")));
}

TEST_F(CalibratedModelTest, EveryPartOfARequestStartsOver) {
  const auto one_matrix = [&](const char* format) {  // calibrating one is enough
    const std::string path = folder.file(std::string(format) + ".json");
    write_bytes(path, R"({"name": "one", "rules": [{"names": ["model.layers.0.self_attn.q_proj.weight"],
                         "format": ")" +
                          std::string(format) + "\"}]}");
    return path;
  };
  const std::string recipe = one_matrix("khq4");
  const auto interrupt = [&](QuantizeRequest request) {
    request.measure = [](const std::string&) -> OrderedJson { throw std::runtime_error("killed"); };
    EXPECT_THROW(quantize_model(request), std::runtime_error);
    return read_bytes(folder.file("out.calibration/request.json"));
  };
  std::set<std::string> seen = {interrupt(request(recipe, "out"))};
  EXPECT_FALSE(seen.insert(interrupt(request(recipe, "out"))).second) << "nothing";
  EXPECT_TRUE(seen.insert(interrupt(request(one_matrix("khw3"), "out"))).second) << "format";
  EXPECT_TRUE(seen.insert(interrupt(request(recipe, "out", Method::search))).second) << "method";
  for (const auto& change : std::vector<std::pair<const char*, std::function<void(Calibration&)>>>{
           {"damping", [](Calibration& c) { c.rounding.damping = 0.05; }},
           {"refinements", [](Calibration& c) { c.rounding.refinements = 3; }},
           {"search", [](Calibration& c) { c.rounding.search.points = 24; }},
           {"text", [](Calibration& c) { c.text.text_sha256 = "of another file"; }},
           {"seed", [](Calibration& c) { c.text = random_text(6); }},
           {"tokens", [](Calibration& c) { c.text.windows.pop_back(); }}}) {
    QuantizeRequest other = request(recipe, "out");
    change.second(*other.calibration);
    EXPECT_TRUE(seen.insert(interrupt(other)).second) << change.first;
  }
  write_model(folder.file("source2"), two_block_config(), two_block_tensors(), 2);
  source = folder.file("source2");
  EXPECT_TRUE(seen.insert(interrupt(request(recipe, "out"))).second) << "weights";
  Json config = two_block_config();
  config["rms_norm_eps"] = 1e-3;  // of the same weights
  write_model(folder.file("source3"), config, two_block_tensors(), 2);
  source = folder.file("source3");
  EXPECT_TRUE(seen.insert(interrupt(request(recipe, "out"))).second) << "config";
}

/// Cuts a file by one byte, or adds one.
void damage(const std::string& path, bool longer) {
  std::string bytes = read_bytes(path);
  ASSERT_FALSE(bytes.empty()) << path;
  longer ? bytes.push_back('x') : bytes.pop_back();
  write_bytes(path, bytes);
}

TEST_F(CalibratedModelTest, DamagedStoresAreErrorsThatNameTheFile) {
  kill_in_second_block();
  const std::string healthy = folder.file("healthy");
  std::filesystem::rename(store_folder(), healthy);
  const auto resume_after = [&](const std::function<void()>& harm) {
    std::filesystem::remove_all(store_folder());
    std::filesystem::copy(healthy, store_folder(), std::filesystem::copy_options::recursive);
    harm();
    ResumeStore store(store_folder(), store_request());
    calibrate(&store);
  };
  const std::string q_name = "model.layers.0.self_attn.q_proj.weight", q = tensor_file(q_name);
  const std::string down = tensor_file("model.layers.0.mlp.down_proj.weight");
  for (const std::string& name : {q + ".planes", down + ".planes", std::string("hidden-1.f32")})
    for (const bool longer : {false, true})
      EXPECT_ERROR(resume_after([&] { damage(stored_file(name), longer); }), stored_file(name), "expected",
                   "remove the folder to start over");
  for (const std::string& name : {q + ".json", std::string("progress.json"), std::string("hidden-1.f32")})
    EXPECT_ERROR(resume_after([&] { write_bytes(stored_file(name), ""); }), stored_file(name));
  for (const std::string& name : {q + ".planes", q + ".json"})
    EXPECT_ERROR(resume_after([&] { std::filesystem::remove(stored_file(name)); }), q_name, "missing",
                 "start over");
  for (const char* progress : {R"({"blocks": 7})", R"({"blocks": -1})", R"({"blocks": "1"})", "{}"})
    EXPECT_ERROR(resume_after([&] { write_bytes(stored_file("progress.json"), progress); }), store_folder());
}

}  // namespace
}  // namespace assay::test
