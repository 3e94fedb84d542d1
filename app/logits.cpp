#include <filesystem>
#include <memory>

#include "app/command.h"
#include "app/model_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/tokenizer/token_ids.h"

namespace assay::app {
namespace {

struct LogitsOptions : Common {
  std::string model, ids, out;
  std::size_t last = 0;
  ModelOptions loading;
};

/// Ids as they stand, or a file of them. What holds nothing but digits and separators is not looked for on
/// disk.
std::vector<TokenId> find_ids(const std::string& argument) {
  if (argument.find_first_not_of("0123456789,[] \t\r\n") == std::string::npos)
    return parse_token_ids(argument, "--ids");
  std::error_code problem;
  const bool there = std::filesystem::exists(argument, problem);
  if (!there && (!problem || problem == std::errc::filename_too_long))
    fail("--ids: \"{}\" is neither token ids (1,2,3 or [1,2,3]) nor a file", argument.substr(0, 80));
  return parse_token_ids(read_file(argument, std::size_t{64} << 20), argument);
}

/// NumPy's .npy, version 1.0: a header padded to 64 bytes, then the array.
void write_npy(const std::string& path, const std::vector<float>& values, std::size_t rows,
               std::size_t columns) {
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, columns);
  constexpr std::size_t kPreamble = 10;
  header.append((64 - (kPreamble + header.size() + 1) % 64) % 64, ' ');
  header += '\n';
  std::string content("\x93NUMPY\x01\x00", 8);
  content += static_cast<char>(header.size() & 0xFF);
  content += static_cast<char>(header.size() >> 8);
  content += header;
  content.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  write_file_atomically(path, content);
}

void run_logits(const LogitsOptions& options) {
  const std::vector<TokenId> ids = find_ids(options.ids);
  const LoadedModel loaded = load(options.loading, options.model, options.context);
  const std::vector<float> logits = compute_logits(*loaded.model, ids, options.last, loaded.context);
  print_timing(options.loading, loaded);
  const auto vocabulary = static_cast<std::size_t>(loaded.model->config().vocabulary);
  const std::size_t rows = logits.size() / vocabulary;
  if (!options.out.empty()) write_npy(options.out, logits, rows, vocabulary);
  if (options.json) {
    OrderedJson list = OrderedJson::array();
    for (std::size_t r = 0; r < rows; ++r)
      list.push_back(std::vector<float>(logits.begin() + static_cast<std::ptrdiff_t>(r * vocabulary),
                                        logits.begin() + static_cast<std::ptrdiff_t>((r + 1) * vocabulary)));
    say_json(OrderedJson({{"logits", std::move(list)}}), -1);
    return;
  }
  if (!options.out.empty()) {
    say("wrote {} x {} f32 to {}\n", rows, vocabulary, options.out);
    return;
  }
  for (std::size_t r = 0; r < rows; ++r) {
    const auto row = std::span(logits).subspan(r * vocabulary, vocabulary);
    const TopTwo top = top_two(row);
    const std::string text = loaded.tokenizer->decode(std::span(&top.best, 1));
    say("position -{}: most likely {} ({}), logit {:.4f}, {:.4f} above the second\n", rows - r, top.best,
        json_text(Json(text)), row[static_cast<std::size_t>(top.best)], top.margin);
  }
}

}  // namespace

void add_logits(CLI::App& app) {
  auto* command = app.add_subcommand("logits", "Print the logits behind given token ids, for parity checks");
  auto options = std::make_shared<LogitsOptions>();
  command->add_option("MODEL", options->model, "Model: a folder of any container, or a GGUF file")
      ->required();
  command->add_option("--ids", options->ids, "Token ids: 1,2,3 or a file of them")->required();
  add_number(command, "--last", &options->last, "Only the last K positions (default: all)", std::size_t{0},
             kMostTokens);
  command->add_option("--out", options->out,
                      "Write them as a NumPy .npy file, [positions, vocabulary] float32");
  add_model_options(command, &options->loading);
  add_common(command, options.get(),
             "  assay logits models/demo --ids 434,1176,274 --last 1 --json\n"
             "  assay logits model.gguf --ids ids.txt --out logits.npy");
  command->callback([options] { run_logits(*options); });
}

}  // namespace assay::app
