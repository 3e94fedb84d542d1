// Experts read from disk: bits, budgets, what is read, and what happens when reading fails.
#include "assay/runtime/expert_store.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "assay/base/error.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/observed_ops.h"
#include "assay/quantize/quantize_model.h"
#include "assay/recipes/experts_apart.h"
#include "assay/runtime/session.h"
#include "tests/quantize/generated_model.h"
#include "tests/quantize/moe_config.h"
#include "tests/support.h"

namespace assay::test {
namespace {

constexpr std::uint64_t kEverything = std::uint64_t{1} << 30;
const std::vector<TokenId> kPrompt = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8};

Json config_of(const std::string& type) {
  Json config = moe_config(type, 8);
  if (type == "qwen3_moe") config.erase("shared_expert_intermediate_size");
  return config;
}

/// Logits of the prompt and eight greedy tokens.
struct Output {
  std::vector<float> logits;
  std::vector<TokenId> tokens;
  bool operator==(const Output&) const = default;
};

Output output_of(const Model& model) {
  Output output{compute_logits(model, kPrompt, 0), {}};
  GenerateOptions options;
  options.max_tokens = 8;
  options.stop_at_end_token = false;
  for (const GeneratedToken& token : generate(model, kPrompt, options)) output.tokens.push_back(token.id);
  return output;
}

// What streamed experts multiply with, for all matrices: the same bits can be asked for.
const LinearOptions kStored{Residency::stored};

ModelPtr load_streamed(const CheckpointPtr& checkpoint, const std::shared_ptr<ExpertStore>& store) {
  LoadOptions options{.linear = kStored};
  options.experts = store;
  return Model::load(checkpoint, options);
}

ModelPtr load_in_memory(const CheckpointPtr& checkpoint) {
  return Model::load(checkpoint, {.linear = kStored});
}

class Stores : public testing::Test {
 protected:
  TemporaryFolder folder_;

  /// A random model in bf16, experts apart or, for Qwen3.5, fused.
  std::string huggingface(const std::string& type) {
    std::string path = folder_.file(type);
    std::vector<GeneratedTensor> tensors;
    const auto expected = expected_tensors(config_of(type));
    for (const ExpectedTensor& tensor : *expected) tensors.push_back({tensor.name, tensor.shape});
    write_model(path, config_of(type), tensors);
    return path;
  }
  std::string quantized(const std::string& source, const std::string& recipe, Container container) {
    QuantizeRequest request{open_model(source), load_recipe(recipe), {}, {}, {}, {}, {}, {}};
    request.plan.container = container;
    request.out = source + "-" + recipe + "-" + std::string(container_name(container));
    quantize_model(request);
    return request.out;
  }
  std::string packed(const std::string& source) {
    pack_experts(open_model(source), source + "-packed");
    return source + "-packed";
  }
};

TEST_F(Stores, TheBitsOfExpertsInMemoryForEveryBudget) {
  const std::string moe = huggingface("qwen3_moe"), next = huggingface("qwen3_next"),
                    fused = huggingface("qwen3_5_moe_text");
  const std::string mlx = quantized(moe, "mlx4", Container::mlx);
  for (const std::string& path : {moe, next, fused, mlx, quantized(next, "mlx4", Container::mlx), packed(mlx),
                                  packed(fused), quantized(moe, "w3-experts", Container::assay)}) {
    const CheckpointPtr checkpoint = open_model(path);
    const Output truth = output_of(*load_in_memory(checkpoint));
    // Two layers: sizes of one expert, of some, of all.
    auto probe = std::make_shared<ExpertStore>(ExpertStoreOptions{kEverything});
    load_streamed(checkpoint, probe);
    const std::uint64_t one = std::max(probe->record_sizes(0).largest, probe->record_sizes(1).largest);
    std::uint64_t visited = 0;  // bytes of all experts that are visited at all
    for (std::uint64_t experts = 16; experts > 0; --experts) {
      auto store = std::make_shared<ExpertStore>(ExpertStoreOptions{experts * one});
      EXPECT_EQ(output_of(*load_streamed(checkpoint, store)), truth) << path << ", " << experts << " experts";
      std::uint64_t read = 0, hits = 0;
      for (const auto& [layer, took] : store->statistics()) {
        read += took.bytes_read;
        hits += took.hits;
      }
      if (experts == 16) {
        visited = read;
        EXPECT_LE(read, 16 * one) << "each expert once";
        EXPECT_GT(hits, 0u);
      }
      EXPECT_GE(read, visited);
      EXPECT_GT(read, 0u);
      EXPECT_EQ(store->dropped() > 0, experts * one < visited) << path << ", " << experts << " experts";
    }
    EXPECT_ERROR(load_streamed(checkpoint, std::make_shared<ExpertStore>(ExpertStoreOptions{one - 1})),
                 ".mlp.", std::to_string(one), "at least one expert must fit");
  }
}

// With a budget of one expert passes wait for one another's room.
TEST_F(Stores, PassesAtOnceGiveTheSame) {
  const CheckpointPtr checkpoint = open_model(quantized(huggingface("qwen3_moe"), "mlx4", Container::mlx));
  const Output truth = output_of(*load_in_memory(checkpoint));
  auto probe = std::make_shared<ExpertStore>(ExpertStoreOptions{kEverything});
  load_streamed(checkpoint, probe);
  const std::uint64_t one = std::max(probe->record_sizes(0).largest, probe->record_sizes(1).largest);
  for (const std::uint64_t budget : {one, 3 * one, kEverything}) {
    const ModelPtr model =
        load_streamed(checkpoint, std::make_shared<ExpertStore>(ExpertStoreOptions{budget}));
    std::vector<Output> outputs(4);
    std::vector<std::thread> threads;
    for (Output& output : outputs)
      threads.emplace_back([&] {
        for (int i = 0; i < 5; ++i) output = output_of(*model);
      });
    for (std::thread& thread : threads) thread.join();
    for (const Output& output : outputs) EXPECT_EQ(output, truth) << budget;
  }
}

TEST_F(Stores, ExpertsOfTwoPassesComputeSideBySide) {
  const CheckpointPtr checkpoint = open_model(huggingface("qwen3_moe"));
  std::mutex mutex;
  std::condition_variable changed;
  int inside = 0;
  bool met = false, given_up = false;
  const auto wait = [&](std::span<const Linear* const> group, const Rows&) {
    if (group.front()->kernel().find("at every call") == std::string::npos)
      return;  // experts stay as they are stored
    std::unique_lock lock(mutex);
    ++inside;
    met = met || inside == 2;
    changed.notify_all();
    given_up = !changed.wait_for(lock, std::chrono::seconds(given_up ? 0 : 10), [&] { return met; });
    --inside;
  };
  const auto ops = observed_ops(cpu_ops(), {.linear = wait});
  LoadOptions options;
  options.context.ops = ops.get();
  options.experts = std::make_shared<ExpertStore>(ExpertStoreOptions{kEverything});
  const ModelPtr model = Model::load(checkpoint, options);
  std::thread other([&] { output_of(*model); });
  output_of(*model);
  other.join();
  EXPECT_TRUE(met);
}

TEST_F(Stores, DirectReadsGiveTheSame) {
  const CheckpointPtr checkpoint = open_model(quantized(huggingface("qwen3_moe"), "mlx4", Container::mlx));
  const Output truth = output_of(*load_in_memory(checkpoint));
  for (const ReadBackend backend : {ReadBackend::automatic, ReadBackend::threads}) {
    std::shared_ptr<ExpertStore> store;
    ModelPtr model;
    try {
      store = std::make_shared<ExpertStore>(ExpertStoreOptions{200000, true}, make_read_queue(backend));
      model = load_streamed(checkpoint, store);
    } catch (const Error& problem) {
      ASSERT_NE(std::string(problem.what()).find("past the page cache"), std::string::npos) << problem.what();
      GTEST_SKIP() << "this file system has no direct reads: " << problem.what();
    }
    EXPECT_EQ(output_of(*model), truth);
    EXPECT_GT(store->dropped(), 0u);
  }
}

TEST_F(Stores, PrefillReadsEachNeededExpertOnce) {
  const CheckpointPtr checkpoint = open_model(packed(huggingface("qwen3_moe")));
  std::map<int, std::set<std::uint32_t>> needed;
  const auto keep = [&](int layer, std::span<const float>, std::span<const Visit> visits) {
    for (const Visit& visit : visits) needed[layer].insert(visit.expert);
  };
  const auto ops = observed_ops(cpu_ops(), {.route = keep});
  LoadOptions options;
  options.context.ops = ops.get();
  auto probe = std::make_shared<ExpertStore>(ExpertStoreOptions{kEverything});
  options.experts = probe;
  std::vector<TokenId> tokens(512);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i * i % 50);
  compute_logits(*Model::load(checkpoint, options), tokens, 1);
  const std::uint64_t one = probe->record_sizes(0).largest;
  auto store = std::make_shared<ExpertStore>(ExpertStoreOptions{one});
  compute_logits(*load_streamed(checkpoint, store), tokens, 1);
  for (const auto& [layer, took] : store->statistics()) {
    EXPECT_EQ(took.passes, 1u);
    EXPECT_EQ(took.visits, needed[layer].size());
    EXPECT_EQ(took.bytes_read, needed[layer].size() * one);
  }
}

TEST_F(Stores, PackedExpertsLieInOnePieceAndEveryWeightIsTheSame) {
  const std::string mlx = quantized(huggingface("qwen3_next"), "mlx4", Container::mlx);
  const CheckpointPtr source = with_experts_apart(open_model(mlx)), packed_model = open_model(packed(mlx));
  ASSERT_EQ(source->tensors.size(), packed_model->tensors.size());
  std::map<std::string, std::pair<const std::byte*, const std::byte*>> extents;
  std::map<std::string, std::uint64_t> sizes;
  for (const Tensor& tensor : packed_model->tensors) {
    EXPECT_EQ(decode_all(tensor), decode_all(source->at(tensor.name))) << tensor.name;
    const std::string record = expert_record(tensor.name);
    EXPECT_EQ(tensor.checksum, checksum_of(tensor)) << tensor.name;
    if (record.empty()) continue;
    auto& [begin, end] =
        extents.try_emplace(record, tensor.planes[0].data(), tensor.planes[0].data()).first->second;
    for (const Bytes plane : tensor.planes) {
      begin = std::min(begin, plane.data());
      end = std::max(end, plane.data() + plane.size());
    }
    sizes[record] += tensor.stored_bytes();
  }
  EXPECT_EQ(extents.size(), 16u);
  for (const auto& [record, extent] : extents)
    EXPECT_EQ(static_cast<std::uint64_t>(extent.second - extent.first), sizes[record]) << record;
  EXPECT_ERROR(pack_experts(open_model(demo_model()), folder_.file("dense")), "dense");
  EXPECT_FALSE(std::filesystem::exists(folder_.file("dense")));
}

/// A queue whose job number `bad` fails.
class FailingQueue final : public ReadQueue {
 public:
  explicit FailingQueue(std::uint64_t bad) : bad_(bad) {}
  void submit(std::uint64_t job, std::span<const ReadRequest> requests) override {
    queue_->submit(job, requests);
  }
  ReadOutcome wait() override {
    ReadOutcome outcome = queue_->wait();
    if (outcome.job == bad_) outcome.error = EIO;
    return outcome;
  }
  std::string name() const override { return "failing"; }

 private:
  std::unique_ptr<ReadQueue> queue_ = make_read_queue();
  std::uint64_t bad_;
};

class Faults : public Stores {
 protected:
  void SetUp() override {
    path_ = packed(quantized(huggingface("qwen3_moe"), "mlx4", Container::mlx));
    file_ = path_ + "/model.safetensors";
    truth_ = output_of(*load_in_memory(open_model(path_))).tokens;
  }
  /// Generates until `damage`, which happens after token number `after`; the tokens made until the error.
  std::vector<TokenId> generate_until_error(const Model& model, std::size_t after,
                                            const std::function<void()>& damage, std::string* message) {
    std::vector<TokenId> made;
    GenerateOptions options;
    options.max_tokens = 8;
    options.stop_at_end_token = false;
    try {
      generate(model, kPrompt, options, [&](const GeneratedToken& token) {
        made.push_back(token.id);
        if (made.size() == after) damage();
        return true;
      });
      ADD_FAILURE() << "no error";
    } catch (const Error& problem) {
      *message = problem.what();
    }
    return made;
  }
  std::vector<TokenId> first(std::size_t count) const {
    return {truth_.begin(), truth_.begin() + static_cast<std::ptrdiff_t>(count)};
  }
  std::uint64_t one_expert() {
    ExpertStore probe({kEverything});
    LoadOptions options;
    options.experts = std::shared_ptr<ExpertSource>(std::shared_ptr<void>(), &probe);
    Model::load(open_model(path_), options);
    return probe.record_sizes(0).largest;
  }

  std::string path_, file_;
  std::vector<TokenId> truth_;
};

TEST_F(Faults, AReadErrorInTheMiddleOfAToken) {
  const std::uint64_t budget = one_expert();
  for (const std::uint64_t bad : {0u, 9u, 17u, 25u, 30u}) {
    auto store =
        std::make_shared<ExpertStore>(ExpertStoreOptions{budget}, std::make_unique<FailingQueue>(bad));
    const ModelPtr model = load_streamed(open_model(path_), store);
    std::string message;
    const std::vector<TokenId> made = generate_until_error(
        *model, 99, [] {}, &message);
    EXPECT_EQ(made, first(made.size())) << "a wrong token before the error";
    EXPECT_NE(message.find("experts."), std::string::npos) << message;
    EXPECT_NE(message.find("Input/output error"), std::string::npos) << message;
    // The disk has recovered: nothing of the failed pass is left in the way.
    EXPECT_EQ(output_of(*model).tokens, truth_) << bad;
  }
}

TEST_F(Faults, FilesThatChangeWhileTheyAreInUse) {
  const std::uint64_t budget = one_expert();
  const std::string content = read_bytes(file_);
  const std::vector<std::pair<std::string, std::function<void()>>> damages = {
      {"bytes became", [&] { std::filesystem::resize_file(file_, content.size() - 1); }},
      {"written to", [&] { write_bytes(file_, content); }},
      {"replaced",
       [&] {
         write_bytes(path_ + "/new", content);
         std::filesystem::rename(path_ + "/new", file_);
       }},
      {"removed", [&] { std::filesystem::remove(file_); }}};
  for (const auto& [word, damage] : damages) {
    std::filesystem::remove(file_);
    write_bytes(file_, content);
    std::filesystem::last_write_time(file_,
                                     std::filesystem::last_write_time(file_) - std::chrono::seconds(10));
    const ModelPtr model =
        load_streamed(open_model(path_), std::make_shared<ExpertStore>(ExpertStoreOptions{budget}));
    std::string message;
    EXPECT_EQ(generate_until_error(*model, 3, damage, &message), first(3)) << word;
    EXPECT_NE(message.find(word), std::string::npos) << message;
    EXPECT_NE(message.find(file_), std::string::npos) << message;
    EXPECT_ERROR(compute_logits(*model, kPrompt, 1), word);  // and it stays refused
  }
}

TEST_F(Faults, DamageOnDiskShowsByTheChecksumOrByWhatIsNoWeight) {
  const auto place = [](Bytes plane) {
    return static_cast<std::size_t>(plane.data() - mapped_file_of(plane)->bytes().data());
  };
  std::string content = read_bytes(file_);
  const CheckpointPtr sound = open_model(path_);
  for (int expert = 0; expert < 8; ++expert) {  // whichever is visited
    char& byte = content[place(
        sound->at(fmt::format("model.layers.1.mlp.experts.{}.up_proj.weight", expert)).planes[0])];
    byte = static_cast<char>(byte ^ 4);
  }
  std::filesystem::remove(file_);
  write_bytes(file_, content);
  auto store = std::make_shared<ExpertStore>(ExpertStoreOptions{kEverything});
  EXPECT_ERROR(compute_logits(*load_streamed(open_model(path_), store), kPrompt, 1), file_, "up_proj",
               "checksum");

  // In place: every expert of a stack has a checksum of its own.
  const std::string mlx = path_.substr(0, path_.size() - std::string("-packed").size());
  const std::string shard = mlx + "/model.safetensors";
  const CheckpointPtr plain = open_model(mlx);
  const Tensor& stack = plain->at("model.layers.1.mlp.switch_mlp.up_proj.weight");
  EXPECT_EQ(stack.slice_checksums.size(), 8u);
  const std::string sound_bytes = read_bytes(shard);
  std::string bytes = sound_bytes;
  for (std::size_t i = 0; i < stack.planes[0].size(); i += stack.planes[0].size() / 8) {
    char& byte = bytes[place(stack.planes[0]) + i];
    byte = static_cast<char>(byte ^ 4);
  }
  std::filesystem::remove(shard);
  write_bytes(shard, bytes);
  store = std::make_shared<ExpertStore>(ExpertStoreOptions{kEverything});
  const ModelPtr checked = load_streamed(open_model(mlx), store);
  EXPECT_EQ(store->unchecked(), 0u);
  EXPECT_ERROR(compute_logits(*checked, kPrompt, 1), shard, "switch_mlp.up_proj", "checksum");

  // Without checksums the store says how many lack them, and a scale that is no number is refused.
  std::filesystem::remove(mlx + "/assay.json");
  bytes = sound_bytes;
  const std::size_t scales = place(stack.planes[1]);
  for (std::size_t i = 0; i < stack.planes[1].size(); ++i) bytes[scales + i] = '\xff';
  std::filesystem::remove(shard);
  write_bytes(shard, bytes);
  EXPECT_ERROR(compute_logits(*load_streamed(open_model(mlx), store = std::make_shared<ExpertStore>(
                                                                  ExpertStoreOptions{kEverything})),
                              kPrompt, 1),
               shard, "switch_mlp.up_proj");
  EXPECT_EQ(store->unchecked(), store->matrices());
  EXPECT_GT(store->matrices(), 0u);
}

TEST_F(Faults, ATruncatedShardIsRefusedWhenItIsOpened) {
  std::filesystem::resize_file(file_, std::filesystem::file_size(file_) - 100);
  EXPECT_ERROR(open_model(path_), file_);
}

TEST_F(Stores, DenseModelsAndTensorsInNoFileAreRefused) {
  LoadOptions options;
  options.experts = std::make_shared<ExpertStore>(ExpertStoreOptions{kEverything});
  EXPECT_ERROR(Model::load(open_model(demo_model()), options), "dense");
}

TEST(ActiveExperts, AreRenormalised) {
  const std::vector<float> logits = {1.0f, 3.0f, 2.0f, 0.0f};
  const auto choose = [&](int active, int trained, bool normalise) {
    std::vector<float> row = logits;
    Routing routing;
    cpu_ops().route(rows_over(row, row.size()),
                    {static_cast<std::size_t>(active), static_cast<std::size_t>(trained), normalise},
                    routing);
    return routing.visits;
  };
  const auto total = [](const std::vector<Visit>& visits) {
    double sum = 0;
    for (const Visit& visit : visits) sum += visit.weight;
    return sum;
  };
  EXPECT_NEAR(total(choose(2, 2, true)), 1, 1e-6);
  EXPECT_NEAR(total(choose(1, 2, true)), 1, 1e-6);
  EXPECT_NEAR(total(choose(3, 2, true)), 1, 1e-6);
  // Not normalised: what two of them would have weighed, whoever carries it.
  const double two = total(choose(2, 2, false));
  EXPECT_LT(two, 0.95);
  EXPECT_NEAR(total(choose(1, 2, false)), two, 1e-6);
  EXPECT_NEAR(total(choose(3, 2, false)), two, 1e-6);
  EXPECT_EQ(choose(1, 2, false)[0].expert, 1u);
  EXPECT_EQ(choose(3, 2, false).size(), 3u);
}

TEST_F(Stores, AnotherNumberOfActiveExperts) {
  const CheckpointPtr checkpoint = open_model(huggingface("qwen3_moe"));
  LoadOptions options{.linear = kStored};
  options.active_experts = 2;
  const Output own = output_of(*load_in_memory(checkpoint));
  EXPECT_EQ(output_of(*Model::load(checkpoint, options)), own);
  options.active_experts = 8;
  EXPECT_NE(output_of(*Model::load(checkpoint, options)).logits, own.logits);
  options.active_experts = 9;
  EXPECT_ERROR(Model::load(checkpoint, options), "9", "1 to 8");
}

}  // namespace
}  // namespace assay::test
