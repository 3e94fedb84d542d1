#include <algorithm>
#include <memory>

#include "app/command.h"
#include "app/measure_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/calibration/calibration_text.h"
#include "assay/measure/corpus.h"
#include "assay/measure/routing.h"
#include "assay/recipes/recipe.h"

namespace assay::app {
namespace {

struct RoutingOptions : Common {
  std::string model, text = "self", out, hot = "mlx4-g64", cold = "mlx2-g64", others = "mlx4";
  std::size_t max_tokens = 16384;
  double share = 0.5;
  std::uint64_t seed = 1;
  bool any_text = false;
};

/// Cold experts by name, hot ones by role, and the rules of `others` behind them.
Recipe hot_and_cold(const RoutingOptions& options, const Checkpoint& checkpoint,
                    const RoutingCounts& counts) {
  Rule cold, hot;
  cold.format = options.cold;
  cold.method = Method::search;
  hot.roles = {"experts"};
  hot.format = options.hot;
  for (const Tensor& tensor : checkpoint.tensors) {
    if (!is_expert_matrix(require_role(tensor.name, checkpoint.path))) continue;
    const int layer = layer_of(tensor.name), expert = expert_of(tensor.name);
    if (expert < 0)
      fail(
          "{}: tensor {}: experts of one tensor cannot have formats of their own; start from a checkpoint "
          "that "
          "stores them apart",
          checkpoint.path, tensor.name);
    if (!counts.hottest(layer, options.share)[static_cast<std::size_t>(expert)])
      cold.names.push_back(tensor.name);
  }
  Recipe recipe{"hot-cold",
                fmt::format("experts with {:g} of the visits in {}, the others in {}; the rest as {}",
                            options.share, options.hot, options.cold, options.others),
                {}};
  if (!cold.names.empty()) recipe.rules.push_back(std::move(cold));
  recipe.rules.push_back(std::move(hot));
  Recipe others = load_recipe(options.others);
  for (Rule& rule : others.rules) recipe.rules.push_back(std::move(rule));
  recipe.texts = std::move(others.texts);
  return recipe;
}

TextRecord record_of(const RoutingOptions& options, const LoadedModel& model, const Corpus& corpus) {
  TextRecord record{"routing",
                    options.text,
                    corpus.text_sha256,
                    corpus.tokens.size(),
                    tokenizer_identity(*model.tokenizer),
                    {},
                    {}};
  record.fingerprint.add(std::span(corpus.tokens).subspan(corpus.bos_added ? 1 : 0));
  return record;
}

void print_counts(const RoutingOptions& options, const RoutingCounts& counts) {
  say("{:>5}  {:>8}  {:>8}  {:>8}  {:>7}  hottest, with {:g} of the visits\n", "layer", "most", "median",
      "least", "unseen", options.share);
  for (const auto& [layer, visits] : counts.visits) {
    std::vector<std::uint64_t> sorted = visits;
    std::ranges::sort(sorted);
    const std::vector<bool> hot = counts.hottest(layer, options.share);
    say("{:>5}  {:>8}  {:>8}  {:>8}  {:>7}  {} of {}\n", layer, sorted.back(), sorted[sorted.size() / 2],
        sorted.front(), std::ranges::count(visits, std::uint64_t{0}), std::ranges::count(hot, true),
        hot.size());
  }
}

void run_routing(const RoutingOptions& options) {
  const LoadedModel model =
      load_model(options.model, {.linear = {Residency::automatic}, .context = options.context});
  // What a model is measured on by default must be other text than what its recipe is made on.
  const std::uint64_t seed = options.seed + (options.text == "self" ? kSelfSeedOffset : 0);
  const Corpus corpus = load_corpus(model, {options.text, options.max_tokens, seed, options.any_text});
  const RoutingCounts counts = count_visits(model.checkpoint, corpus.tokens, options.context);
  if (!options.out.empty()) {
    Recipe recipe = hot_and_cold(options, *model.checkpoint, counts);
    add_texts(recipe.texts, {record_of(options, model, corpus)});
    require_unchanged(*model.checkpoint);
    write_file_atomically(options.out, json_text(recipe_to_json(recipe), 2) + "\n");
  }
  if (options.json) {
    say_json(counts.to_json());
    return;
  }
  for (const std::string& note : corpus.notes) say("note: {}: {}\n", corpus.label, note);
  say("{}: visits of {} tokens of {}\n", options.model, counts.tokens, corpus.label);
  print_counts(options, counts);
  if (!options.out.empty())
    say("wrote {}; next: assay quantize {} OUT --recipe {}\n", options.out, options.model, options.out);
}

}  // namespace

void add_routing(CLI::App& app) {
  auto* command = app.add_subcommand(
      "routing", "Which experts a text visits; writes a recipe with fewer bits for those it seldom does");
  auto options = std::make_shared<RoutingOptions>();
  command->add_option("MODEL", options->model, "A mixture of experts, any container")->required();
  command->add_option("--text", options->text, "Text to run: a file, or self. Never the text you measure on")
      ->capture_default_str();
  add_any_text(command, &options->any_text);
  add_number(command, "--max-tokens", &options->max_tokens, "Tokens of that text", std::size_t{2},
             kMostTokens)
      ->capture_default_str();
  add_number(command, "--share", &options->share, "Part of all visits that the hot experts of a layer get",
             0.0, 1.0)
      ->capture_default_str();
  command->add_option("--hot", options->hot, "Format of the experts visited most")->capture_default_str();
  command->add_option("--cold", options->cold, "Format of the others, rounded with the best scales")
      ->capture_default_str();
  command->add_option("--others", options->others, "Recipe of every other matrix")->capture_default_str();
  command->add_option("--out", options->out, "Recipe file to write");
  add_number(command, "--seed", &options->seed, "Of self-sampled text", std::uint64_t{0}, kMostSeeds)
      ->capture_default_str();
  add_common(command, options.get(),
             "  assay routing model --text train.txt --out hot-cold.json\n"
             "  assay routing model --text train.txt --hot khq4 --cold khw3 --others q4 --out hot-cold.json");
  command->callback([options] { run_routing(*options); });
}

}  // namespace assay::app
