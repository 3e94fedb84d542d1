#include <memory>

#include "app/command.h"
#include "app/model_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/base/isa.h"
#include "assay/measure/machine.h"
#include "assay/measure/model_facts.h"
#include "assay/measure/speed.h"
#include "assay/parallel/threads.h"
#include "assay/version.h"

namespace assay::app {
namespace {

constexpr double kGiga = 1e9;

struct BenchOptions : Common {
  std::vector<std::string> models;
  SpeedOptions speed;
  ModelOptions loading;
};

/// One model's speed and the roof that memory sets.
struct Row {
  ModelFacts facts;
  Measured decode, prefill;  // tokens/s
  Measured roof_share;
  Measured bandwidth;  // bytes/s
  std::uint64_t bytes_per_token = 0;
  double prefill_flops = 0;  // a second
  std::optional<SpeedRatio> against_first;
};

Row measure_row(const LoadedModel& loaded, const SpeedOptions& options) {
  Row row;
  row.facts = describe_model(loaded);
  row.bytes_per_token = decode_bytes_per_token(
      loaded, options.prompt_tokens + (options.first_tokens + options.second_tokens) / 2);
  std::vector<double> bandwidths;
  {
    ReadProbe probe(row.bytes_per_token);
    const auto samples = sample_decode(
        decode_timer(*loaded.model, options),
        [&] { return bandwidths.emplace_back(probe.bytes_per_second()); }, options);
    row.decode = decode_rate(samples, options);
    row.roof_share = roof_share(samples, row.bytes_per_token, options);
  }
  row.bandwidth = median_of(bandwidths);
  row.prefill = median_of(measure_prefills(*loaded.model, options));
  row.prefill_flops = row.prefill.value * loaded.model->linear_flops_per_token();
  return row;
}

OrderedJson to_json(const std::optional<Interval>& interval) {
  return interval ? OrderedJson{interval->low, interval->high} : OrderedJson(nullptr);
}

OrderedJson to_json(const Measured& measured) {
  return {{"value", measured.value}, {"ci95", to_json(measured.interval)}};
}

OrderedJson as_json(const std::vector<Row>& rows, const SpeedOptions& options, double multiplier) {
  OrderedJson models = OrderedJson::array();
  for (const Row& row : rows) {
    OrderedJson entry = {{"model", assay::to_json(row.facts)},
                         {"kernel", row.facts.kernels},
                         {"decode_tokens_per_second", to_json(row.decode)},
                         {"prefill_tokens_per_second", to_json(row.prefill)},
                         {"bytes_per_token", row.bytes_per_token},
                         {"read_bandwidth", to_json(row.bandwidth)},
                         {"roof_share", to_json(row.roof_share)},
                         {"multiplier_peak", multiplier},
                         {"multiplier_share", row.prefill_flops / multiplier},
                         {"ratio_to_first", nullptr}};
    if (row.against_first)
      entry["ratio_to_first"] = {{"value", row.against_first->ratio},
                                 {"ci95", to_json(row.against_first->interval)}};
    models.push_back(std::move(entry));
  }
  return {{"n1", options.first_tokens},
          {"n2", options.second_tokens},
          {"prompt_tokens", options.prompt_tokens},
          {"prefill_tokens", options.prefill_tokens},
          {"repeats", options.repeats},
          {"threads", thread_count()},
          {"isa", isa_name(isa_in_use())},
          {"version", ASSAY_VERSION},
          {"revision", ASSAY_REVISION},
          {"models", models}};
}

/// "[12.3, 14.5]", or nothing.
std::string interval_text(const std::optional<Interval>& interval, double unit = 1) {
  return interval ? fmt::format(" [{:.3g}, {:.3g}]", interval->low / unit, interval->high / unit) : "";
}

void print_rows(const std::vector<Row>& rows, const SpeedOptions& options, double multiplier) {
  say("decode by slope ({} to {} tokens behind a prompt of {}), {} repeats; prefill of {}; {} threads, {}; "
      "sgemm "
      "{:.0f} GFLOP/s; assay {} ({})\n",
      options.first_tokens, options.second_tokens, options.prompt_tokens, options.repeats,
      options.prefill_tokens, thread_count(), isa_name(isa_in_use()), multiplier / kGiga, ASSAY_VERSION,
      ASSAY_REVISION);
  for (const Row& row : rows) {
    say("\n{}: {}, {:.3f} bits/weight file\n", row.facts.path, row.facts.formats,
        row.facts.file_bits_per_weight);
    for (const std::string& kernel : row.facts.kernels) say("  kernel: {}\n", kernel);
    say("  decode  {:.1f}{} tokens/s, {:.2f}{} of the roof ({} bytes a token; memory reads {:.1f}{} GB/s)\n",
        row.decode.value, interval_text(row.decode.interval), row.roof_share.value,
        interval_text(row.roof_share.interval), row.bytes_per_token, row.bandwidth.value / kGiga,
        interval_text(row.bandwidth.interval, kGiga));
    say("  prefill {:.0f}{} tokens/s, {:.2f} of the multiplier\n", row.prefill.value,
        interval_text(row.prefill.interval), row.prefill_flops / multiplier);
    if (!row.against_first) continue;
    say("  decode ratio to {}: {:.3f}{} (interleaved A B B A, {} quads)\n", rows.front().facts.name,
        row.against_first->ratio, interval_text(row.against_first->interval), options.repeats);
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
  const double multiplier = measure_sgemm_gflops() * kGiga;
  if (options.json)
    say_json(as_json(rows, options.speed, multiplier));
  else
    print_rows(rows, options.speed, multiplier);
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
  options->loading.activations = "auto";  // as `run` has them
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
