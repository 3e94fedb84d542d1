#include <memory>

#include "app/command.h"
#include "app/model_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/measure/machine.h"
#include "assay/measure/model_facts.h"
#include "assay/measure/speed.h"
#include "assay/parallel/threads.h"
#include "assay/version.h"

namespace assay::app {
namespace {

struct BenchOptions : Common {
  std::vector<std::string> models;
  SpeedOptions speed;
  ModelOptions loading;
};

/// One model's speed and the floor that memory sets.
struct Row {
  ModelFacts facts;
  double decode = 0, prefill = 0;  // tokens/s
  std::uint64_t bytes_per_token = 0;
  double bandwidth = 0;  // GB/s
  std::optional<SpeedRatio> against_first;

  double floor_fraction() const { return decode * static_cast<double>(bytes_per_token) / (bandwidth * 1e9); }
};

Row measure_row(const LoadedModel& loaded, const SpeedOptions& options) {
  Row row;
  row.facts = describe_model(loaded);
  row.bytes_per_token = decode_bytes_per_token(loaded, options.prompt_tokens + options.second_tokens);
  row.decode = measure_decode(decode_timer(*loaded.model, options), options);
  row.prefill = measure_prefill(*loaded.model, options);
  row.bandwidth = measure_read_bandwidth(row.bytes_per_token);
  return row;
}

OrderedJson as_json(const std::vector<Row>& rows, const SpeedOptions& options, double sgemm) {
  OrderedJson models = OrderedJson::array();
  for (const Row& row : rows) {
    OrderedJson entry = {{"model", to_json(row.facts)},
                         {"decode_tokens_per_second", row.decode},
                         {"prefill_tokens_per_second", row.prefill},
                         {"bytes_per_token", row.bytes_per_token},
                         {"read_gb_per_second", row.bandwidth},
                         {"fraction_of_floor", row.floor_fraction()},
                         {"ratio_to_first", nullptr}};
    if (row.against_first) {
      entry["ratio_to_first"] = {{"value", row.against_first->ratio}, {"ci95", nullptr}};
      if (row.against_first->interval)
        entry["ratio_to_first"]["ci95"] = {row.against_first->interval->low,
                                           row.against_first->interval->high};
    }
    models.push_back(std::move(entry));
  }
  return {{"n1", options.first_tokens},
          {"n2", options.second_tokens},
          {"prompt_tokens", options.prompt_tokens},
          {"prefill_tokens", options.prefill_tokens},
          {"repeats", options.repeats},
          {"threads", thread_count()},
          {"sgemm_gflops", sgemm},
          {"version", ASSAY_VERSION},
          {"revision", ASSAY_REVISION},
          {"models", models}};
}

void print_rows(const std::vector<Row>& rows, const SpeedOptions& options, double sgemm) {
  say("decode by slope ({} to {} tokens behind a prompt of {}), {} repeats; prefill of {}; {} threads; sgemm "
      "{:.0f} "
      "GFLOP/s; assay {} ({})\n",
      options.first_tokens, options.second_tokens, options.prompt_tokens, options.repeats,
      options.prefill_tokens, thread_count(), sgemm, ASSAY_VERSION, ASSAY_REVISION);
  for (const Row& row : rows) {
    say("\n{}: {}, {:.3f} bits/weight file\n", row.facts.path, row.facts.formats,
        row.facts.file_bits_per_weight);
    for (const std::string& kernel : row.facts.kernels) say("  kernel: {}\n", kernel);
    say("  decode  {:.1f} tokens/s = {:.1f} % of the floor ({} packed bytes a token at {:.1f} GB/s read, "
        "same run)\n",
        row.decode, 100 * row.floor_fraction(), row.bytes_per_token, row.bandwidth);
    say("  prefill {:.0f} tokens/s\n", row.prefill);
    if (!row.against_first) continue;
    say("  decode ratio to {}: {:.3f}", rows.front().facts.name, row.against_first->ratio);
    if (row.against_first->interval)
      say(" [{:.3f}, {:.3f}]", row.against_first->interval->low, row.against_first->interval->high);
    say(" (interleaved A B B A, {} quads)\n", options.repeats);
  }
}

void run_bench(const BenchOptions& options) {
  std::vector<LoadedModel> models;
  for (const std::string& path : options.models)
    models.push_back(load(options.loading, path, options.context));
  std::vector<Row> rows;
  for (const LoadedModel& loaded : models) rows.push_back(measure_row(loaded, options.speed));
  const DecodeTimer first = decode_timer(*models.front().model, options.speed);
  for (std::size_t i = 1; i < models.size(); ++i)
    rows[i].against_first =
        combine_quads(measure_quads(first, decode_timer(*models[i].model, options.speed), options.speed));
  for (const LoadedModel& loaded : models) print_timing(options.loading, loaded);
  const double sgemm = measure_sgemm_gflops();
  if (options.json)
    say_json(as_json(rows, options.speed, sgemm));
  else
    print_rows(rows, options.speed, sgemm);
}

}  // namespace

void add_bench(CLI::App& app) {
  auto* command =
      app.add_subcommand("bench", "Measure speed: decode by slope, prefill, ratios with intervals");
  auto options = std::make_shared<BenchOptions>();
  command->add_option("MODELS", options->models, "One or more models; ratios are to the first")->required();
  add_number(command, "--tokens", &options->speed.second_tokens,
             "Tokens of the long run; the short one has half", std::size_t{2}, std::size_t{1} << 20)
      ->capture_default_str();
  add_number(command, "--prompt-tokens", &options->speed.prompt_tokens, "Tokens before decoding",
             std::size_t{1}, std::size_t{1} << 20)
      ->capture_default_str();
  add_number(command, "--prefill-tokens", &options->speed.prefill_tokens, "Tokens of the prefill measurement",
             std::size_t{1}, std::size_t{1} << 20)
      ->capture_default_str();
  add_number(command, "--repeats", &options->speed.repeats, "Repeats of the slope, and quads of a ratio",
             std::size_t{1}, std::size_t{10000})
      ->capture_default_str();
  add_model_options(command, &options->loading);
  add_common(command, options.get(),
             "  assay bench models/demo\n"
             "  assay bench model model-q4 model-mlx4 --tokens 256 --repeats 10\n"
             "  assay bench model-q4 --threads 4 --json");
  command->callback([options] {
    options->speed.first_tokens = options->speed.second_tokens / 2;
    run_bench(*options);
  });
}

}  // namespace assay::app
