#include <fmt/core.h>

#include <charconv>
#include <filesystem>
#include <memory>

#include "app/command.h"
#include "app/model_options.h"
#include "assay/base/error.h"
#include "assay/base/file.h"

namespace assay::app {
namespace {

struct Options : Common {
  std::string model, ids, out;
  std::size_t last = 0;
  ModelOptions loading;
};

/// "1,2,3", or a file of ids separated by commas or white space.
std::vector<TokenId> parse_ids(const std::string& argument) {
  const bool is_file = std::filesystem::exists(argument);
  const std::string text = is_file ? read_file(argument, std::size_t{64} << 20) : argument;
  std::vector<TokenId> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    while (at != end && (*at == ',' || *at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
    if (at == end) break;
    TokenId id = 0;
    const auto [next, problem] = std::from_chars(at, end, id);
    if (problem != std::errc())
      fail("{}: \"{}\" is no token id, and no such file exists", is_file ? argument : "--ids",
           std::string(at, std::min<std::size_t>(20, static_cast<std::size_t>(end - at))));
    ids.push_back(id);
    at = next;
  }
  if (ids.empty()) fail("{}: no token ids", is_file ? argument : "--ids");
  return ids;
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

void run(const Options& options) {
  const LoadedModel loaded = load(options.loading, options.model);
  const std::vector<float> logits = compute_logits(*loaded.model, parse_ids(options.ids), options.last);
  print_timing(options.loading, loaded);
  const auto vocabulary = static_cast<std::size_t>(loaded.model->config().vocabulary);
  const std::size_t rows = logits.size() / vocabulary;
  if (!options.out.empty()) write_npy(options.out, logits, rows, vocabulary);
  if (options.json) {
    OrderedJson list = OrderedJson::array();
    for (std::size_t r = 0; r < rows; ++r)
      list.push_back(std::vector<float>(logits.begin() + static_cast<std::ptrdiff_t>(r * vocabulary),
                                        logits.begin() + static_cast<std::ptrdiff_t>((r + 1) * vocabulary)));
    fmt::print("{}\n", OrderedJson({{"logits", std::move(list)}}).dump());
    return;
  }
  if (!options.out.empty()) {
    fmt::print("wrote {} x {} f32 to {}\n", rows, vocabulary, options.out);
    return;
  }
  for (std::size_t r = 0; r < rows; ++r) {
    const auto row = std::span(logits).subspan(r * vocabulary, vocabulary);
    const TopTwo top = top_two(row);
    const std::string text = loaded.tokenizer->decode(std::span(&top.best, 1));
    fmt::print("position -{}: most likely {} ({}), logit {:.4f}, {:.4f} above the second\n", rows - r,
               top.best, Json(text).dump(-1, ' ', false, Json::error_handler_t::replace),
               row[static_cast<std::size_t>(top.best)], top.margin);
  }
}

}  // namespace

void add_logits(CLI::App& app) {
  auto* command = app.add_subcommand("logits", "Print the logits behind given token ids, for parity checks");
  auto options = std::make_shared<Options>();
  command->add_option("MODEL", options->model, "Model: a folder of any container, or a GGUF file")
      ->required();
  command->add_option("--ids", options->ids, "Token ids: 1,2,3 or a file of them")->required();
  command->add_option("--last", options->last, "Only the last K positions (default: all)");
  command->add_option("--out", options->out,
                      "Write them as a NumPy .npy file, [positions, vocabulary] float32");
  add_model_options(command, &options->loading);
  add_common(command, options.get(),
             "  assay logits models/demo --ids 434,1176,274 --last 1 --json\n"
             "  assay logits model.gguf --ids ids.txt --out logits.npy");
  command->callback([options] { run(*options); });
}

}  // namespace assay::app
