
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>

#include "app/command.h"
#include "app/measure_options.h"
#include "app/model_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/base/error.h"
#include "assay/base/temporary.h"
#include "assay/quantize/quantize_model.h"
#include "assay/report/report.h"

namespace assay::app {
namespace {

struct DemoOptions : Common {
  std::string model, out = "out/demo", text = "self";
  std::vector<std::string> recipes = {"q8",          "int6-row", "q4",   "mlx4", "w3-mlp",
                                      "w3-mlp+gptq", "w3",       "mlx3", "mlx2", "mlx2+gptq"};
  std::size_t tokens = 8192, calibration_tokens = 16384;
  std::uint64_t seed = 1;
  bool keep = false, any_text = false;
};

/// The bundled model: beside the installed program, else in the source tree it was built from.
std::string bundled_model() {
  std::error_code problem;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", problem);
  const auto installed = program.parent_path().parent_path() / "share/assay/models/demo";
  if (!problem && std::filesystem::is_directory(installed, problem)) return installed.string();
  if (std::filesystem::is_directory(ASSAY_DEMO_MODEL, problem)) return ASSAY_DEMO_MODEL;
  fail("the bundled model is neither in {} nor in {}; name one with --model", installed.string(),
       ASSAY_DEMO_MODEL);
}

/// Quantised models live here while they are measured; without --keep they go when the demo ends.
class Workspace {
 public:
  Workspace(const std::string& out, bool keep) : folder_(out + "/models"), out_(out) {
    std::error_code problem;
    if (!keep)
      folder_ = temporary_.emplace(Temporary::folder(folder_)).path();
    else if (std::filesystem::exists(std::filesystem::symlink_status(folder_, problem)))
      fail("{}: exists already; --keep wants a folder of its own: remove it or choose another --out",
           folder_);
    else
      kept_.emplace(folder_);
  }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

 private:
  std::string folder_;
  MadeFolders out_;
  std::optional<Temporary> temporary_;
  std::optional<MadeFolders> kept_;
};

/// "w3-mlp+gptq": a recipe, and the method for what it would round to nearest.
struct Variant {
  std::string label, recipe;
  std::optional<Method> method;
};

Variant parse_variant(const std::string& label) {
  const std::size_t plus = label.rfind('+');
  if (plus != std::string::npos)
    if (const auto method = parse_rounding_method(label.substr(plus + 1)))
      return {label, label.substr(0, plus), method};
  return {label, label, std::nullopt};
}

/// Quantises by variants; those that calibrate share one text, sampled from the model itself.
class VariantQuantiser {
 public:
  VariantQuantiser(const DemoOptions& options, const LoadedModel& original)
      : options_(options), original_(original) {}

  QuantizeResult operator()(const Variant& variant, const std::string& out) {
    QuantizeRequest request;
    request.source = original_.checkpoint;
    request.recipe = load_recipe(variant.recipe);
    request.plan.method = variant.method.value_or(Method::rtn);
    request.plan.calibration = variant.method.has_value();
    if (request.plan.calibration) request.calibration = calibration();
    request.out = out;
    request.context = options_.context;
    request.why_not_measured = "a demo's model: measured in its report";
    return quantize_model(request);
  }

 private:
  const Calibration& calibration() {
    if (!calibration_)
      calibration_ = Calibration{
          load_calibration_text(original_, {"self", options_.calibration_tokens, 512, options_.seed}), {}};
    return *calibration_;
  }

  const DemoOptions& options_;
  const LoadedModel& original_;
  std::optional<Calibration> calibration_;
};

std::vector<Comparison> decided_against_original(const Measurement& measurement) {
  std::vector<Comparison> family;
  for (const ModelMeasurement& model : measurement.models) family.push_back(*model.against_reference);
  decide(family, kDefaultMarginPercent);
  return family;
}

void print_table(const Measurement& measurement, const std::vector<std::string>& recipes,
                 const std::vector<Comparison>& verdicts) {
  say("\n{:<11} {:>7} {:>7} {:>10} {:>17} {:>19} {:>6}  {}\n", "recipe", "linear", "file", "bytes",
      "perplexity", "mean KLD [95 %]", "top-1", "verdict");
  const ModelMeasurement& original = *measurement.reference;
  say("{:<11} {:>7.3f} {:>7.3f} {:>10} {:>17.3f} {:>19} {:>6}\n", "original",
      original.facts.linear_bits_per_weight, original.facts.file_bits_per_weight, original.facts.bytes,
      original.perplexity, "", "");
  for (std::size_t i = 0; i < measurement.models.size(); ++i) {
    const ModelMeasurement& model = measurement.models[i];
    const DivergenceSummary& divergence = *model.divergence;
    const std::optional<Interval> ratio = verdicts[i].perplexity_ratio_interval();
    const std::string verdict =
        measurement.clusters.count() < 2 ? "one cluster: no verdict"
        : verdicts[i].decision == Decision::second_better && ratio
            ? fmt::format("worse by {:.1f} % [{:.1f}, {:.1f}]", 100 * (verdicts[i].perplexity_ratio() - 1),
                          100 * (ratio->low - 1), 100 * (ratio->high - 1))
            : std::string(decision_name(verdicts[i].decision));
    const std::string interval =
        divergence.mean_interval
            ? fmt::format("[{:.4f}, {:.4f}]", divergence.mean_interval->low, divergence.mean_interval->high)
            : "no interval";
    say("{:<11} {:>7.3f} {:>7.3f} {:>10} {:>17.3f} {:>7.4f} {} {:>4.1f}%  {}\n", recipes[i],
        model.facts.linear_bits_per_weight, model.facts.file_bits_per_weight, model.facts.bytes,
        model.perplexity, divergence.mean, interval, 100 * divergence.top1_agreement, verdict);
  }
}

OrderedJson as_json(const Measurement& measurement, const Corpus& corpus,
                    const std::vector<std::string>& recipes, const std::vector<Comparison>& verdicts) {
  OrderedJson rows = OrderedJson::array();
  for (std::size_t i = 0; i < measurement.models.size(); ++i) {
    OrderedJson row = measurement_json(measurement, measurement.models[i], corpus);
    row["recipe"] = recipes[i];
    row["verdict"] = verdicts[i].sentence(kDefaultMarginPercent);
    rows.push_back(std::move(row));
  }
  return rows;
}

void run_demo(const DemoOptions& options) {
  const std::string model = options.model.empty() ? bundled_model() : options.model;
  for (const std::string& recipe : options.recipes) load_recipe(parse_variant(recipe).recipe);  // is it one?
  const LoadedModel original =
      load_model(model, {.linear = {Residency::automatic}, .context = options.context});
  const Corpus corpus = load_corpus(original, {options.text, options.tokens, options.seed, options.any_text});
  const Workspace workspace(options.out, options.keep);
  if (!options.json)
    say("{}: {} recipes, measured on {} tokens {}\n", model, options.recipes.size(), options.tokens,
        options.text == "self" ? "sampled from the model itself" : "of " + options.text);
  VariantQuantiser quantise(options, original);
  std::vector<LoadedModel> quantised;
  for (const std::string& recipe : options.recipes) {
    const std::string out = workspace.path(std::filesystem::path(recipe).stem().string());
    const QuantizeResult result = quantise(parse_variant(recipe), out);
    if (!options.json)
      for (const std::string& note : result.plan.notes) say("note: {}: {}\n", recipe, note);
    quantised.push_back(load_model(out, {.linear = {Residency::automatic}, .context = options.context}));
  }
  refuse_calibration_text(quantised, corpus);
  const Measurement measurement = measure(quantised, &original, corpus, {});
  const std::vector<Comparison> verdicts = decided_against_original(measurement);

  ReportInput report;
  report.title = "What quantisation cost: " + std::filesystem::path(model).filename().string();
  report.text_label = corpus.label;
  report.facts = report_facts(measurement, corpus);
  report.original = report_original(measurement);
  for (std::size_t i = 0; i < verdicts.size(); ++i)
    report.models.push_back(
        report_model(measurement, i, options.recipes[i], verdicts[i].sentence(kDefaultMarginPercent)));
  const std::string path = options.out + "/report.html";
  write_report(path, report);
  if (options.json) {
    say_json(as_json(measurement, corpus, options.recipes, verdicts));
    return;
  }
  print_table(measurement, options.recipes, verdicts);
  say("\nbits per weight: linear = matrices inside the blocks, file = everything; text: {}\nreport: {}\n",
      corpus.label, path);
  if (measurement.clusters.count() < 2)
    say("one cluster of text: no intervals and no verdicts; more --tokens give them\n");
}

}  // namespace

void add_demo(CLI::App& app) {
  auto* command =
      app.add_subcommand("demo", "Quantise a model several ways, measure each, write report.html");
  auto options = std::make_shared<DemoOptions>();
  command->add_option("--model", options->model, "Model (default: the bundled one)");
  command
      ->add_option("--recipes", options->recipes,
                   "Recipes, separated by commas; RECIPE+gptq and RECIPE+search calibrate")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--text", options->text, "Text to measure on: a file or self")->capture_default_str();
  add_number(command, "--tokens", &options->tokens, "Tokens to measure on", std::size_t{1024}, kMostTokens)
      ->capture_default_str();
  add_any_text(command, &options->any_text);
  add_number(command, "--calib-tokens", &options->calibration_tokens,
             "Tokens sampled from the model to calibrate on", std::size_t{512}, kMostTokens)
      ->capture_default_str();
  add_number(command, "--seed", &options->seed, "Seed of the self-sampled texts", std::uint64_t{0},
             kMostSeeds)
      ->capture_default_str();
  command->add_option("--out", options->out, "Folder for report.html")->capture_default_str();
  command->add_flag("--keep", options->keep, "Keep the quantised models in OUT/models");
  add_common(command, options.get(),
             "  assay demo\n  assay demo --model model.gguf --recipes q8,q4,mlx4 --text wiki.test.raw --out "
             "out/mine");
  command->callback([options] { run_demo(*options); });
}

}  // namespace assay::app
