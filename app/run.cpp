#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>

#include "app/command.h"
#include "app/model_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/base/clock.h"
#include "assay/runtime/prompt.h"
#include "assay/runtime/text_stream.h"

namespace assay::app {
namespace {

constexpr int kDefaultTokens = 256;

struct RunCommand : Common {
  std::string model;
  std::optional<std::string> prompt;
  std::optional<int> max_tokens;
  SamplingOptions sampling;
  bool chat = false, verbose = false;
  ModelOptions loading;
};

struct Answer {
  std::string text;
  std::vector<TokenId> ids;
  double prefill_seconds = 0, decode_seconds = 0;  // to the first token, and from there on
};

/// --max-tokens as given; without it, what the model still has room for.
GenerateOptions generate_options(const RunCommand& options, const ModelConfig& config, std::size_t prompt) {
  GenerateOptions generate;
  generate.sampling = options.sampling;
  const std::int64_t room = std::int64_t{config.max_positions} - static_cast<std::int64_t>(prompt) + 1;
  generate.max_tokens =
      options.max_tokens.value_or(static_cast<int>(std::clamp<std::int64_t>(room, 1, kDefaultTokens)));
  return generate;
}

/// Generates and, unless it goes into JSON, prints while it does.
Answer answer(const RunCommand& options, const LoadedModel& loaded, Session& session,
              std::span<const TokenId> prompt) {
  Answer result;
  TextStream stream(*loaded.tokenizer, prompt.empty() ? std::nullopt : std::optional(prompt.back()));
  const auto put = [&](const std::string& text) {
    result.text += text;
    if (!options.json) say_generated(text);
  };
  const auto start = Clock::now();
  auto first = start;
  session.generate(prompt, generate_options(options, loaded.model->config(), prompt.size()),
                   [&](const GeneratedToken& token) {
                     if (result.ids.empty()) first = Clock::now();
                     result.ids.push_back(token.id);
                     put(stream.add(token.id));
                     return true;
                   });
  put(stream.finish());
  result.prefill_seconds = std::chrono::duration<double>(first - start).count();
  result.decode_seconds = seconds_since(first);
  return result;
}

void report(const RunCommand& options, const LoadedModel& model, std::size_t prompt_tokens,
            std::size_t reused, const Answer& result) {
  // The first token comes with the prefill; the others are decoded.
  const double decoded = result.ids.empty() ? 0 : static_cast<double>(result.ids.size() - 1);
  const std::vector<Phase> phases = {{"prefill", result.prefill_seconds}, {"decode", result.decode_seconds}};
  const double rate = decoded > 0 && result.decode_seconds > 0 ? decoded / result.decode_seconds : 0;
  if (options.json) {
    OrderedJson json = {{"text", result.text},
                        {"ids", result.ids},
                        {"prompt_tokens", prompt_tokens},
                        {"prefill_seconds", result.prefill_seconds},
                        {"decode_tokens_per_second", rate}};
    if (options.loading.timing) {
      json["timing"] = timing_json(options.loading, phases);
      json["experts"] = expert_timing_json(options.loading, model);
    }
    say_json(json, -1);
    return;
  }
  say_generated("\n");
  if (options.verbose || ::isatty(STDERR_FILENO) == 1)
    say_error("[{} prompt tokens, {} of them kept, in {:.2f} s; {} generated, {:.1f} tokens/s]\n",
              prompt_tokens, reused, result.prefill_seconds, result.ids.size(), rate);
  print_timing(options.loading, model, phases);
}

/// Turns from standard input until it ends; the conversation and its keys and values are kept.
void converse(const RunCommand& options, const LoadedModel& loaded) {
  Session session(*loaded.model, loaded.context);
  std::vector<ChatMessage> messages;
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  std::string line;
  while (true) {
    if (terminal) say_error("> ");
    if (!std::getline(std::cin, line)) return;
    if (line.empty()) continue;
    messages.push_back({"user", line});
    const std::vector<TokenId> prompt = encode_chat(loaded, messages);
    const Answer result = answer(options, loaded, session, prompt);
    report(options, loaded, prompt.size(), session.reused(), result);
    messages.push_back({"assistant", result.text});
  }
}

void converse_or_answer(const RunCommand& options) {
  if (!options.chat && !options.prompt) throw CLI::RequiredError("--prompt TEXT, --chat, or both");
  const LoadedModel loaded = load(options.loading, options.model, options.context);
  if (!options.prompt) {
    converse(options, loaded);
    return;
  }
  const std::vector<TokenId> prompt = options.chat ? encode_chat(loaded, {{"user", *options.prompt}})
                                                   : encode_prompt(*loaded.tokenizer, *options.prompt);
  Session session(*loaded.model, loaded.context);
  const Answer result = answer(options, loaded, session, prompt);
  report(options, loaded, prompt.size(), session.reused(), result);
}

}  // namespace

void add_run(CLI::App& app) {
  auto* command = app.add_subcommand("run", "Generate text; only the text goes to standard output");
  auto options = std::make_shared<RunCommand>();
  command->add_option("MODEL", options->model, "Model: a folder of any container, or a GGUF file")
      ->required();
  command->add_option("--prompt", options->prompt, "Text to continue, or with --chat the question");
  command->add_flag("--chat", options->chat,
                    "Through the model's chat template; without --prompt a conversation on standard input");
  add_number(command, "--max-tokens", &options->max_tokens,
             fmt::format("Tokens to generate at most (default: {}, or what fits)", kDefaultTokens), 1,
             1 << 30);
  add_number(command, "--temperature", &options->sampling.temperature, "0: greedy", 0.0, 1e6)
      ->capture_default_str();
  add_number(command, "--top-k", &options->sampling.top_k, "Sample from the K likeliest; 0: all", 0, 1 << 30)
      ->capture_default_str();
  add_number(command, "--top-p", &options->sampling.top_p, "Sample from the smallest set of this probability",
             1e-9, 1.0)
      ->capture_default_str();
  add_number(command, "--seed", &options->sampling.seed, "Seed of the sampling", std::uint64_t{0}, kMostSeeds)
      ->capture_default_str();
  command->add_flag("--verbose", options->verbose,
                    "Counts and speed on standard error, also without a terminal");
  options->loading.activations = "auto";  // costs next to nothing: bench/activation_cost.py
  add_model_options(command, &options->loading);
  add_common(command, options.get(),
             "  assay run models/demo --prompt 'The city of London is'\n"
             "  assay run model.gguf --chat --prompt 'What is the capital of France?'\n"
             "  assay run model --chat --temperature 0.7 --top-p 0.9 --seed 1\n"
             "  assay run big-moe --prompt 'Once' --expert-cache 2GiB --timing");
  command->callback([options] { converse_or_answer(*options); });
}

}  // namespace assay::app
