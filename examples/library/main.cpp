// Opens a model, lets it continue a text, and measures how far another model is from it.
//   example MODEL OTHER PROMPT
#include <cstdio>
#include <exception>
#include <string>

#include "assay/measure/evaluate.h"
#include "assay/runtime/session.h"

namespace {

/// Told how far the library is; it prints nothing itself.
class Milestones final : public assay::ProgressSink {
 public:
  void begin(const assay::Progress& work) override {
    std::fprintf(stderr, "%s: %llu %s\n", work.label().c_str(), static_cast<unsigned long long>(work.total()),
                 work.unit().c_str());
  }
  void advance(const assay::Progress&) override {}
  void end(const assay::Progress& work) noexcept override {
    std::fprintf(stderr, "%s: done\n", work.label().c_str());
  }
};

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

void show(const std::string& model_path, const std::string& other_path, const std::string& prompt) {
  Milestones milestones;
  const assay::Context context{.threads = 2, .progress = &milestones};
  const assay::LoadedModel model = assay::load_model(model_path, {.context = context}),
                           other = assay::load_model(other_path, {.context = context});

  assay::GenerateOptions options;
  options.max_tokens = 16;
  std::vector<assay::TokenId> ids;
  for (const auto& token :
       assay::generate(*model.model, model.tokenizer->encode(prompt), options, {}, context))
    ids.push_back(token.id);
  std::printf("continues with: %s\n", model.tokenizer->decode(ids).c_str());

  const auto text = assay::sample_self_text(model, 512, /*seed=*/1);
  assay::EvaluateOptions evaluation;
  evaluation.windows = {assay::Protocol::chunked, 128, 0};
  const assay::EvaluatedModel tested{other.model.get(), other_path};
  const auto result = assay::evaluate({&tested, 1}, assay::EvaluatedModel{model.model.get(), model_path},
                                      text, evaluation, context);
  std::printf("perplexity %.3f against %.3f, divergence %.6f nats a token\n", result.models[0].perplexity(),
              result.reference->perplexity(), mean(result.models[0].divergence->kl));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s MODEL OTHER PROMPT\n", argv[0]);
    return 2;
  }
  try {
    show(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
