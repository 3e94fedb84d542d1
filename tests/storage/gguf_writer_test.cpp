// GGUF files as they are written: what the reader makes of them, and what is refused.
#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/storage/gguf.h"
#include "assay/storage/gguf_file.h"
#include "assay/storage/tensor_blocks.h"
#include "tests/storage/gguf_builder.h"
#include "tests/support.h"

namespace assay {
namespace {

using namespace test;

CheckpointPtr opened(const GgufBuilder& builder) {
  const auto bytes = std::make_shared<std::string>(builder.build());
  return read_gguf(std::as_bytes(std::span(*bytes)), "x.gguf", bytes);
}

WriterInput input_of(const Checkpoint& model) {
  WriterInput input{{}, model.config, model.sidecars, "the source"};
  for (const Tensor& tensor : model.tensors)
    input.tensors.push_back({tensor.name, tensor.shape, tensor.format});
  return input;
}

/// The bytes of every tensor, rows in logical order, in pieces that cut rows apart.
void write_tensors(CheckpointWriter& writer, const Checkpoint& model) {
  for (std::size_t t = 0; t < model.tensors.size(); ++t) {
    const Tensor& tensor = model.tensors[t];
    const MatrixShape shape = as_matrix(tensor.shape);
    for (const RowBlock& block : row_blocks(*tensor.format, shape, 1)) {
      UnitBuffer buffer(tensor.format->layout(shape.columns), block.units);
      const Bytes bytes = read_units(tensor, block, buffer).front();
      const Layout layout = tensor.format->layout(shape.columns);
      const std::uint64_t offset = layout.bytes(layout.planes.front(), block.first_unit);
      const std::size_t cut = bytes.size() / 3;
      writer.write(t, 0, offset, bytes.first(cut));
      writer.write(t, 0, offset + cut, bytes.subspan(cut));
    }
  }
}

class GgufWriting : public testing::Test {
 protected:
  std::string written(const Checkpoint& model, const WriterInput& input) {
    std::filesystem::remove(path_);
    const auto writer = make_writer(Container::gguf, folder_.path(), input);
    write_tensors(*writer, model);
    writer->finish();
    return read_bytes(path_);
  }
  std::string written(const Checkpoint& model) { return written(model, input_of(model)); }
  CheckpointPtr round_trip(const GgufBuilder& builder) {
    written(*opened(builder));
    return open_gguf(path_);
  }
  /// Everything that a reader hands out is the same again.
  void expect_same(const GgufBuilder& builder) {
    const CheckpointPtr source = opened(builder), back = round_trip(builder);
    EXPECT_EQ(back->config, source->config);
    EXPECT_EQ(back->sidecars, source->sidecars);
    EXPECT_TRUE(back->warnings.empty());
    ASSERT_EQ(back->tensors.size(), source->tensors.size());
    for (std::size_t i = 0; i < source->tensors.size(); ++i) {
      const Tensor &before = source->tensors[i], &after = back->tensors[i];
      EXPECT_EQ(after.name, before.name);
      EXPECT_EQ(after.shape, before.shape);
      EXPECT_EQ(after.format, before.format);
      EXPECT_TRUE(std::ranges::equal(after.planes[0], before.planes[0])) << after.name << " as stored";
    }
  }
  void expect_refused(const WriterInput& input, const std::vector<std::string>& parts) {
    std::filesystem::remove(path_);
    try {
      make_writer(Container::gguf, folder_.path(), input);
      FAIL() << "not refused";
    } catch (const Error& error) {
      for (const std::string& part : parts) EXPECT_THAT(error.what(), testing::HasSubstr(part));
    }
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.file("model.gguf");
};

GgufBuilder renamed(const std::string& architecture) {
  GgufBuilder file = tiny_gguf();
  for (auto& [key, value] : file.keys)
    if (key.starts_with("llama.")) key = architecture + key.substr(5);
  return file.set("general.architecture", string_value(architecture));
}

GgufBuilder tiny_mixture() {
  GgufBuilder file = renamed("qwen3moe");
  std::erase_if(file.tensors, [](const BuiltTensor& tensor) {
    return tensor.name.starts_with("blk.0.ffn_") && tensor.name != "blk.0.ffn_norm.weight";
  });
  file.remove("qwen3moe.feed_forward_length")
      .set("qwen3moe.expert_count", u32_value(3))
      .set("qwen3moe.expert_used_count", u32_value(2))
      .set("qwen3moe.expert_feed_forward_length", u32_value(64))
      .set("tokenizer.ggml.pre", string_value("qwen2"));
  return file.add({"blk.0.ffn_gate_inp.weight", {32, 3}, 0, f32_ramp(96), {}})
      .add({"blk.0.ffn_gate_exps.weight", {32, 64, 3}, 8, q8_0_blocks(192), {}})
      .add({"blk.0.ffn_up_exps.weight", {32, 64, 3}, 8, q8_0_blocks(192), {}})
      .add({"blk.0.ffn_down_exps.weight", {64, 32, 3}, 8, q8_0_blocks(192), {}})
      .add({"blk.0.attn_q_norm.weight", {16}, 0, f32_ramp(16), {}})
      .add({"blk.0.attn_k_norm.weight", {16}, 0, f32_ramp(16), {}});
}

TEST_F(GgufWriting, ComesBackAsItWas) {
  expect_same(tiny_gguf());
  GgufBuilder head = renamed("qwen3");
  head.add({"output.weight", {32, 8}, 8, q8_0_blocks(8), {}});
  expect_same(head);
  GgufBuilder biased = renamed("qwen2");
  expect_same(biased.add({"blk.0.attn_q.bias", {32}, 0, f32_ramp(32), {}}));
}

TEST_F(GgufWriting, StacksOfExpertsComeBack) {
  const CheckpointPtr source = opened(tiny_mixture());
  EXPECT_EQ(source->config.at("model_type"), "qwen3_moe");
  EXPECT_EQ(source->config.at("num_experts"), 3);
  EXPECT_EQ(source->config.at("norm_topk_prob"), true);
  EXPECT_FALSE(source->config.contains("intermediate_size"));
  EXPECT_EQ(source->at("model.layers.0.mlp.switch_mlp.down_proj.weight").shape, (Shape{3, 32, 64}));
  EXPECT_EQ(source->at("model.layers.0.mlp.gate.weight").shape, (Shape{3, 32}));
  expect_same(tiny_mixture());
}

TEST_F(GgufWriting, EveryPreTokenizerComesBack) {
  for (const char* name : {"gpt-2", "smollm", "qwen2", "llama-bpe"}) {
    SCOPED_TRACE(name);
    expect_same(tiny_gguf().set("tokenizer.ggml.pre", string_value(name)));
  }
}

TEST_F(GgufWriting, EveryEndOfATextComesBack) {
  expect_same(tiny_gguf()
                  .set("tokenizer.ggml.eot_token_id", u32_value(1))
                  .set("tokenizer.ggml.eom_token_id", u32_value(2))
                  .set("tokenizer.ggml.padding_token_id", u32_value(2))
                  .set("tokenizer.ggml.unknown_token_id", u32_value(1))
                  .set("tokenizer.ggml.add_bos_token", bool_value(true)));
}

TEST_F(GgufWriting, TheEndThatTheTokenizerNamesIsTheFirst) {
  const CheckpointPtr source = opened(tiny_gguf().set("tokenizer.ggml.eot_token_id", u32_value(1)));
  WriterInput input = input_of(*source);
  Json settings = Json::parse(input.sidecars.at("tokenizer_config.json"));
  settings["eos_token"] = "<|user|>";
  input.sidecars["tokenizer_config.json"] = settings.dump();
  written(*source, input);
  const CheckpointPtr back = open_gguf(path_);
  EXPECT_EQ(back->config.at("eos_token_id"), Json::array({1, 0}));
  EXPECT_EQ(Json::parse(back->sidecars.at("tokenizer_config.json")).at("eos_token"), "<|user|>");
}

TEST_F(GgufWriting, Llama3FrequenciesComeBack) {
  const CheckpointPtr plain = opened(tiny_gguf());
  WriterInput input = input_of(*plain);
  input.config["rope_parameters"] = {{"rope_type", "llama3"},   {"rope_theta", 50000.0},
                                     {"factor", 8.0},           {"low_freq_factor", 1.0},
                                     {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
  written(*plain, input);
  const CheckpointPtr back = open_gguf(path_);
  EXPECT_EQ(back->config.at("rope_parameters"), input.config.at("rope_parameters"));
  EXPECT_EQ(back->tensors.size(), plain->tensors.size());
  input.config["rope_parameters"]["rope_theta"] = 500.0;
  expect_refused(input, {"the slowest frequency is not divided by the whole factor"});
  input.config["rope_parameters"]["high_freq_factor"] = 5.0;
  expect_refused(input, {"the source: RoPE scaling", "high_freq_factor", "only Llama 3's"});
  input.config["rope_parameters"] = {{"rope_type", "yarn"}, {"rope_theta", 50000.0}, {"factor", 4.0}};
  expect_refused(input, {"the source: RoPE scaling", "yarn"});
}

GgufBuilder tiny_pieces() {
  GgufBuilder file = tiny_gguf();
  file.remove("tokenizer.ggml.pre").remove("tokenizer.ggml.merges");
  return file.set("tokenizer.ggml.model", string_value("llama"))
      .set("tokenizer.ggml.tokens",
           strings_value({"<unk>", "<s>", "</s>", "<0x00>", "\xe2\x96\x81", "a", "b", "<x>"}))
      .set("tokenizer.ggml.token_type", numbers_value<std::int32_t>(GgufType::i32, {2, 3, 3, 6, 1, 1, 5, 4}))
      .set("tokenizer.ggml.scores", numbers_value<float>(GgufType::f32, {0, 0, 0, 0, -1, -2.5f, -3, 0}))
      .set("tokenizer.ggml.bos_token_id", u32_value(1))
      .set("tokenizer.ggml.eos_token_id", u32_value(2))
      .set("tokenizer.ggml.unknown_token_id", u32_value(0))
      .set("tokenizer.ggml.add_bos_token", bool_value(true));
}

TEST_F(GgufWriting, SentencepieceComesBack) {
  expect_same(tiny_pieces());
  expect_same(tiny_pieces().set("tokenizer.ggml.add_space_prefix", bool_value(false)));
}

TEST_F(GgufWriting, RefusesPiecesThatLlamaCppWouldCutOtherwise) {
  WriterInput input = input_of(*opened(tiny_pieces()));
  std::string& model = input.sidecars["tokenizer.model"];
  const std::string sound = model;
  // protobuf merges repeated messages: these override a field of the trainer or the normaliser
  const std::pair<std::string, const char*> faults[] = {
      {std::string("\x12\x02\x18\x01", 4), "is not of the type BPE"},
      {std::string("\x12\x03\xC0\x01\x01", 5), "white space behind words"},
      {std::string("\x1A\x02\x20\x01", 4), "removes repeated spaces"},
      {std::string("\x1A\x02\x28\x00", 4), "leaves spaces as they are"},
      {std::string("\x1A\x03\x12\x01x", 5), "normalises characters"},
      {std::string("\x0A\x00", 2), "piece 8 is empty"},
      {std::string("\x0A\x7F", 2), "truncated"}};
  for (const auto& [bytes, why] : faults) {
    model = sound + bytes;
    expect_refused(input, {"the source", why});
  }
  model = sound;
  Json settings = Json::parse(input.sidecars.at("tokenizer_config.json"));
  settings["legacy"] = false;
  input.sidecars["tokenizer_config.json"] = settings.dump();
  expect_refused(input, {"legacy is false"});
  input.sidecars.erase("tokenizer.model");
  expect_refused(input, {"no tokenizer.json and no tokenizer.model"});
}

// The file by its own rules, read by nobody's eyes but the parser's.
TEST_F(GgufWriting, PadsEveryTensorAndTellsWhatItHolds) {
  const std::string bytes = written(*opened(tiny_gguf()));
  EXPECT_EQ(bytes.size() % 32, 0u);
  const GgufFile file = parse_gguf_file(std::as_bytes(std::span(bytes)), "x.gguf");
  EXPECT_EQ(std::get<std::uint64_t>(file.metadata.at("general.file_type")), 7u);  // mostly Q8_0
  EXPECT_EQ(std::get<std::uint64_t>(file.metadata.at("general.quantization_version")), 2u);
  EXPECT_EQ(std::get<std::string_view>(file.metadata.at("general.architecture")), "llama");
  EXPECT_EQ(std::get<std::uint64_t>(file.metadata.at("llama.attention.key_length")), 16u);
  for (std::size_t cut : {bytes.size() - 33, bytes.size() / 2, std::size_t{40}})
    EXPECT_ERROR(read_gguf(std::as_bytes(std::span(bytes).first(cut)), "x.gguf", nullptr), "x.gguf");
}

TEST_F(GgufWriting, FillsAVocabularyThatIsLargerThanItsTokenizer) {
  const CheckpointPtr source = opened(tiny_gguf());
  WriterInput input = input_of(*source);
  Json tokenizer = Json::parse(input.sidecars.at("tokenizer.json"));
  for (const char* token : {"ab", "abc"}) tokenizer["model"]["vocab"].erase(token);
  tokenizer["model"]["merges"] = Json::array();
  input.sidecars["tokenizer.json"] = tokenizer.dump();
  const std::string bytes = written(*source, input);
  const GgufFile file = parse_gguf_file(std::as_bytes(std::span(bytes)), "x.gguf");
  EXPECT_EQ(std::get<GgufStrings>(file.metadata.at("tokenizer.ggml.tokens")).at(7), "[PAD7]");
  EXPECT_EQ(load<std::int32_t>(
                std::get<GgufNumbers>(file.metadata.at("tokenizer.ggml.token_type")).bytes.data() + 7 * 4),
            5);
  const Json back = Json::parse(open_gguf(path_)->sidecars.at("tokenizer.json"));
  EXPECT_EQ(back.at("model"), tokenizer.at("model"));
  EXPECT_EQ(back.at("added_tokens"), tokenizer.at("added_tokens"));
}

TEST_F(GgufWriting, RefusesATokenizerThatGgufHasNoWordsFor) {
  const CheckpointPtr source = opened(tiny_gguf());
  const auto refused = [&](const char* file, const char* at, const Json& value,
                           const std::vector<std::string>& parts) {
    WriterInput input = input_of(*source);
    Json json = Json::parse(input.sidecars.at(file));
    json[Json::json_pointer(at)] = value;
    input.sidecars[file] = json.dump();
    SCOPED_TRACE(std::string(file) + at);
    expect_refused(input, parts);
  };
  const char *json = "tokenizer.json", *settings = "tokenizer_config.json";
  refused(json, "/pre_tokenizer/pretokenizers/0/individual_digits", false,
          {"the source: tokenizer.json cuts text in a way that has no name in GGUF (gpt-2, smollm, qwen2, "
           "llama-bpe have)",
           "individual_digits"});
  refused(json, "/pre_tokenizer/pretokenizers/1/add_prefix_space", true, {"no name in GGUF"});
  refused(json, "/normalizer", {{"type", "NFC"}}, {"no name in GGUF", "NFC"});
  refused(json, "/model/ignore_merges", true, {"no name in GGUF", "ignore_merges true"});
  refused(json, "/model/type", "Unigram", {"model \"Unigram\", BPE expected"});
  refused(json, "/model/end_of_word_suffix", "</w>", {"end_of_word_suffix"});
  refused(json, "/model/dropout", 0.1, {"dropout"});
  refused(json, "/model/byte_fallback", true, {"byte_fallback"});
  refused(json, "/model/merges/0", "a b c", {"merge 0 is \"a b c\""});
  refused(json, "/model/merges/0", 7, {"merge 0 is neither"});
  refused(json, "/model/vocab/abc", 8, {"token \"abc\" has id 8, the model's vocabulary has 8"});
  refused(json, "/model/vocab/abc", 6, {"have the same id 6"});
  refused(json, "/model/vocab/abc", "7", {"token \"abc\" has no id"});
  refused(json, "/model", nullptr, {"\"model\" is no object"});
  refused(json, "/added_tokens/2/lstrip", true, {"added token \"<tool>\" has the condition lstrip"});
  refused(json, "/added_tokens/2/id", 3, {"token \"<tool>\" has the ids 2 and 3"});
  refused(json, "/post_processor",
          {{"type", "TemplateProcessing"},
           {"single", {{{"Sequence", {{"id", "A"}}}}, {{"SpecialToken", {{"id", "<|end|>"}}}}}}},
          {"more than put one token in front"});
  refused(json, "/post_processor",
          {{"type", "TemplateProcessing"},
           {"single", {{{"SpecialToken", {{"id", "<|end|>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
           {"special_tokens", {{"<|end|>", {{"ids", {0}}}}}}},
          {"begin with token 0 by tokenizer.json, bos_token is 1"});
  refused(settings, "/add_eos_token", true, {"add_eos_token is true"});
  refused(settings, "/bos_token", "<none>", {"special token \"<none>\" is not in the vocabulary"});
  refused(settings, "/added_tokens_decoder/0/rstrip", true, {"\"<|end|>\" has the condition rstrip"});
}

TEST_F(GgufWriting, WordsNormalisedBeforeTheyAreLookedForAreRefused) {
  const CheckpointPtr source = opened(tiny_gguf().set("tokenizer.ggml.pre", string_value("qwen2")));
  WriterInput input = input_of(*source);
  Json json = Json::parse(input.sidecars.at("tokenizer.json"));
  json["added_tokens"][2]["normalized"] = true;
  input.sidecars["tokenizer.json"] = json.dump();
  expect_refused(input, {"added token \"<tool>\" is looked for in normalised text"});
}

TEST_F(GgufWriting, ATemplateThatBeginsATextIsBos) {
  const CheckpointPtr source = opened(tiny_gguf());
  WriterInput input = input_of(*source);
  Json json = Json::parse(input.sidecars.at("tokenizer.json"));
  json["post_processor"] = {
      {"type", "Sequence"},
      {"processors",
       {{{"type", "ByteLevel"}},
        {{"type", "TemplateProcessing"},
         {"single", {{{"SpecialToken", {{"id", "<|user|>"}}}}, {{"Sequence", {{"id", "A"}}}}}},
         {"special_tokens", {{"<|user|>", {{"ids", {1}}}}}}}}}};
  input.sidecars["tokenizer.json"] = json.dump();
  Json settings = Json::parse(input.sidecars.at("tokenizer_config.json"));
  settings.erase("add_bos_token");
  input.sidecars["tokenizer_config.json"] = settings.dump();
  written(*source, input);
  settings = Json::parse(open_gguf(path_)->sidecars.at("tokenizer_config.json"));
  EXPECT_EQ(settings.at("add_bos_token"), true);
  EXPECT_EQ(settings.at("bos_token"), "<|user|>");
}

TEST_F(GgufWriting, RefusesAConfigThatGgufHasNoWordsFor) {
  const auto refused = [&](const GgufBuilder& builder, const char* key, const Json& value,
                           const std::vector<std::string>& parts) {
    WriterInput input = input_of(*opened(builder));
    input.config[Json::json_pointer(key)] = value;
    SCOPED_TRACE(key);
    expect_refused(input, parts);
  };
  refused(tiny_gguf(), "/model_type", "gpt2",
          {"the source: model_type gpt2 is not written as GGUF (llama, qwen2, qwen3 and qwen3moe are)"});
  refused(tiny_gguf(), "/vocab_size", 9, {"model.embed_tokens.weight has 8 rows, vocab_size is 9"});
  refused(tiny_gguf(), "/tie_word_embeddings", false, {"lm_head.weight is missing"});
  refused(tiny_gguf(), "/rope_parameters/rope_theta", 0.1,
          {"rope.freq_base would be 0.1", "no 32-bit float"});
  refused(tiny_gguf(), "/max_position_embeddings", std::uint64_t{1} << 32,
          {"context_length would be 4294967296"});
  refused(tiny_gguf(), "/num_attention_heads", 5, {"q_proj.weight: 32 rows are not 5 heads"});
  refused(tiny_gguf(), "/eos_token_id", Json::array(), {"no eos_token_id"});
  refused(tiny_gguf(), "/eos_token_id", {0, 1, 2, 3}, {"4 tokens end a text, GGUF can name 3"});
  refused(tiny_gguf().set("tokenizer.chat_template", string_value("{{ eos_token }}")), "/eos_token_id",
          {1, 2}, {"the chat template writes eos_token"});
  refused(tiny_mixture(), "/norm_topk_prob", false, {"norm_topk_prob is false"});
  refused(tiny_mixture(), "/mlp_only_layers", {0}, {"layer 0 has no experts"});
}

TEST_F(GgufWriting, RefusesTensorsThatItCannotHold) {
  const auto why = [](const std::string& name, const Shape& shape, const char* format) {
    return container_misfit(Container::gguf, {name, shape, find_format(format)}).value_or("held");
  };
  EXPECT_EQ(why("model.layers.0.mlp.up_proj.weight", {64, 32}, "q4_0"), "held");
  EXPECT_EQ(why("model.layers.0.mlp.up_proj.weight", {64, 256}, "q6_k"), "held") << "copied from other files";
  EXPECT_THAT(why("model.layers.0.mlp.up_proj.weight", {64, 32}, "khq4"),
              testing::HasSubstr("GGUF has no khq4; it holds f32 0"));
  EXPECT_THAT(why("model.layers.0.mlp.up_proj.weight", {64, 33}, "q8_0"), testing::HasSubstr("33"));
  EXPECT_THAT(why("model.layers.0.linear_attn.A_log", {64}, "f32"), testing::HasSubstr("no name for it"));
  EXPECT_THAT(why("model.norm.weight", {64}, "bf16"), testing::HasSubstr("vectors as f32, not as bf16"));
  EXPECT_THAT(why("model.layers.0.mlp.gate.weight", {1, 1, 1, 1, 4}, "f32"),
              testing::HasSubstr("5 dimensions"));
  WriterInput input = input_of(*opened(tiny_gguf()));
  input.tensors.push_back({"model.layers.0.self_attn.q_proj.bias", {32}, find_format("f32")});
  expect_refused(input, {"q_proj.bias", "architecture llama, which permutes them"});
}

TEST_F(GgufWriting, WantsTheWholeOfEveryTensor) {
  const CheckpointPtr source = opened(tiny_gguf());
  const auto writer = make_writer(Container::gguf, folder_.path(), input_of(*source));
  const Bytes bytes = source->tensors[0].planes[0];
  writer->write(0, 0, 0, bytes.first(bytes.size() - 1));
  EXPECT_ERROR(writer->finish(), source->tensors[0].name, "bytes written");
}

}  // namespace
}  // namespace assay
