#include "assay/audit/audit.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "assay/audit/audit_doubts.h"
#include "assay/base/error.h"
#include "assay/model/completeness.h"
#include "assay/model/config.h"
#include "assay/tokenizer/tokenizer.h"

namespace assay {
namespace {

// Of a tensor alone. Weights of trained and of random models, rounded by any method, stay well within.
constexpr double kOffCentre = 1.0;    // |mean| / deviation of a group; 16 weights and more give .1 to .3
constexpr double kWildScales = 0.01;  // share of scales 2^8 off the median
constexpr double kConstantUnits = 0.02;
constexpr double kZeroScales = 0.001;
constexpr double kExtremeCodes = 0.5;  // of formats with more than 8 codes
constexpr double kParity = 0.1;        // total variation of codes in even and odd columns
constexpr double kNibbleBias = 0.15;   // of 8-bit codes whose halves look alike
constexpr double kNibbleLikeness = 0.05;
constexpr double kMagnitude = 16;  // rms against the median of the role
// Against the original.
constexpr double kError = 2.5;   // times that of plain rounding
constexpr double kRowError = 4;  // times that of the format's plain rounding or of the median row
constexpr double kCosine = 0.6;
constexpr double kGain = 0.12;  // off 1, of formats of 3 bits and more

class Judge {
 public:
  explicit Judge(TensorAudit& tensor) : tensor_(tensor) {}

  /// A finding when `found` is beyond `limit`.
  void beyond(double found, double limit, const char* kind, std::string why) {
    if (found > limit) add(kind, found / limit, std::move(why));
  }
  void add(const char* kind, double rank, std::string why) {
    tensor_.suspicions.push_back({kind, std::move(why), std::max(1.0, rank)});
  }

 private:
  TensorAudit& tensor_;
};

bool is_vocabulary(Role role) {
  return role == Role::embedding || role == Role::head;
}

double code_bits(const Format& format) {
  if (const auto view = format.affine()) return std::log2(static_cast<double>(view->codes));
  const Layout layout = format.layout(256);
  double bits = 0;
  for (const Plane& plane : layout.planes) bits += 8.0 * static_cast<double>(plane.record_bytes);
  return bits / static_cast<double>(layout.record_run());
}

/// A share that plain rounding of the original has too accuses nobody: only what goes well beyond it. Without
/// an original nothing is known, but that zeros in a `thinned` matrix have their reason.
double allowed(double limit, const TensorFacts& facts, const TensorFacts* plain, bool thinned,
               double TensorFacts::*figure) {
  if (plain == nullptr) return thinned ? std::max(limit, facts.zero_units + limit / 2) : limit;
  // Of formats that are only read, all that is known of the original's groups is which are zero.
  const double there = plain->units > 0 ? plain->*figure : plain->zero_units;
  return std::max(limit, there + limit / 2);
}

/// Rows of zeros beyond those that `plain` has.
std::uint64_t new_zero_rows(const TensorFacts& facts, const TensorFacts* plain) {
  if (plain == nullptr) return facts.zero_rows.size();
  std::vector<std::uint64_t> fresh;
  std::ranges::set_difference(facts.zero_rows, plain->zero_rows, std::back_inserter(fresh));
  return fresh.size();
}

/// Matrices, rows and weights.
void judge_weights(TensorAudit& tensor, const AuditDoubts& doubts) {
  if (!tensor.facts) return;
  Judge judge(tensor);
  const TensorFacts* plain = tensor.compared ? &tensor.compared->plain : nullptr;
  const TensorFacts& facts = *tensor.facts;
  const bool matrix = is_block_matrix(tensor.role);
  if (facts.not_finite > 0)
    judge.add("not_finite", 1e6, fmt::format("{} weights are NaN or infinite", facts.not_finite));
  const std::uint64_t zero_rows = new_zero_rows(facts, plain);
  const auto doubtful = [&](std::size_t m) { return doubts.zero.contains({&tensor, m}); };
  if (facts.rms == 0 && (matrix || is_vocabulary(tensor.role)) && (plain == nullptr || plain->rms != 0) &&
      !doubtful(0))
    judge.add("all_zero", 1e6, "every weight is zero");
  else if (matrix && zero_rows > 0 && facts.rms > 0 && facts.matrices.size() == 1 &&
           !doubts.pruned.contains(&tensor))
    judge.add("zero_rows", 1 + static_cast<double>(zero_rows),
              fmt::format("{} of {} rows are all zero{}", zero_rows, facts.rows,
                          plain == nullptr ? "" : ", not so in the original"));
  const std::uint64_t repeated =
      facts.repeated_rows - std::min(facts.repeated_rows, plain == nullptr ? 0 : plain->repeated_rows);
  if (matrix && facts.columns > 8 && repeated > 0 && facts.matrices.size() == 1)
    judge.add("repeated_rows", 10 * static_cast<double>(repeated),
              fmt::format("{} of {} rows repeat an earlier one{}", repeated, facts.rows,
                          plain == nullptr ? "" : ", not so in the original"));
  for (std::size_t m = 0; facts.matrices.size() > 1 && m < facts.matrices.size(); ++m)
    if (facts.matrices[m] == 0 && (plain == nullptr || plain->matrices[m] != 0) && !doubtful(m))
      judge.add("zero_expert", 1e6, fmt::format("expert {} is all zero", m));
}

/// Scales and codes.
void judge_units(TensorAudit& tensor, const Format& format, const AuditDoubts& doubts) {
  if (!tensor.facts || tensor.facts->units == 0) return;
  Judge judge(tensor);
  const TensorFacts& facts = *tensor.facts;
  const TensorFacts* plain = tensor.compared ? &tensor.compared->plain : nullptr;
  const bool thinned = doubts.thinned.contains(&tensor);
  const auto limit = [&](double alone, double TensorFacts::*figure) {
    return allowed(alone, facts, plain, thinned, figure);
  };
  const double bits = code_bits(format);
  judge.beyond(
      facts.off_centre, limit(kOffCentre, &TensorFacts::off_centre), "off_centre",
      fmt::format("half of all groups have a mean beyond {:.2g} deviations, .1 to .3 expected: scales "
                  "and biases swapped, or not those of these codes",
                  facts.off_centre));
  judge.beyond(
      facts.wild_scales, limit(kWildScales, &TensorFacts::wild_scales), "wild_scales",
      fmt::format("{:.1f} % of all scales are more than 2^8 off the median scale: not read from their "
                  "place, or of another type",
                  100 * facts.wild_scales));
  if (bits >= 3)
    judge.beyond(facts.constant_units, limit(kConstantUnits, &TensorFacts::constant_units), "dead_groups",
                 fmt::format("{:.1f} % of all groups hold one code alone", 100 * facts.constant_units));
  judge.beyond(
      facts.zero_scales, limit(kZeroScales, &TensorFacts::zero_scales), "zero_scales",
      fmt::format("{:.2f} % of all scales are zero: flushed, or never written", 100 * facts.zero_scales));
  if (bits > 3)
    judge.beyond(
        facts.extreme_codes, limit(kExtremeCodes, &TensorFacts::extreme_codes), "saturated",
        fmt::format("{:.0f} % of all codes are the smallest or the largest", 100 * facts.extreme_codes));
  judge.beyond(
      facts.parity, limit(kParity, &TensorFacts::parity), "wrong_width",
      fmt::format("codes of even and odd columns differ by {:.2f} in total variation, 0 expected: read at "
                  "half their width",
                  facts.parity));
  if (facts.nibble_likeness < kNibbleLikeness)
    judge.beyond(
        facts.nibble_bias, limit(kNibbleBias, &TensorFacts::nibble_bias), "wrong_width",
        fmt::format("high and low halves of the codes have the same uneven distribution ({:.2f} off a "
                    "uniform one): two narrower codes read as one",
                    facts.nibble_bias));
}

void judge_beside(TensorAudit& tensor, const Format& format, const Tensor& original) {
  Judge judge(tensor);
  const ComparedFacts& facts = *tensor.compared;
  const bool kept = format.name() == original.format->name();
  if (kept && facts.changed > 0)
    judge.add("changed", 1 + static_cast<double>(facts.changed),
              fmt::format("{} weights differ from the original, stored in the same format", facts.changed));
  if (!format.layout(as_matrix(tensor.shape).columns).has_params && facts.flushed > 0)
    judge.add(
        "flushed", 1 + static_cast<double>(facts.flushed),
        fmt::format("{} weights are zero that are not in the original: subnormals flushed", facts.flushed));
  if (kept) return;
  const bool all_zero = facts.plain.rms == 0 && tensor.facts->rms == 0;
  if (all_zero) return;
  const double limit = std::isnan(facts.plain_relative_rms) ? std::numeric_limits<double>::infinity()
                                                            : kError * facts.plain_relative_rms + 1e-6;
  judge.beyond(facts.relative_rms, limit, "too_far_off",
               fmt::format("{:.3f} relative RMS off the original, plain rounding to {} loses {:.3f}",
                           facts.relative_rms, format.name(), facts.plain_relative_rms));
  if (facts.cosine < kCosine)
    judge.add("unrelated", 10 * (1 + kCosine - facts.cosine),
              fmt::format("cosine {:.3f} to the original: another tensor, another layout, or another type",
                          facts.cosine));
  else if (code_bits(format) >= 3 && std::abs(facts.gain - 1) > kGain)
    judge.add("scaled", std::abs(facts.gain - 1) / kGain,
              fmt::format("{:.3f} times the original", facts.gain));
  const double usual = std::max(facts.median_row_relative_rms,
                                std::isnan(facts.plain_relative_rms) ? 0.0 : facts.plain_relative_rms);
  judge.beyond(facts.worst_row_relative_rms, kRowError * std::max(usual, facts.worst_row_plain) + 1e-6,
               "wrong_row",
               fmt::format("row {} is {:.3f} relative RMS off, the median row {:.3f}", facts.worst_row,
                           facts.worst_row_relative_rms, facts.median_row_relative_rms));
}

/// The magnitude of each matrix against the others of its role: a factor of 2^8 shows, a layer's own does
/// not.
void judge_magnitudes(AuditReport& report) {
  std::map<Role, std::vector<TensorAudit*>> roles;
  for (TensorAudit& tensor : report.tensors)
    if (tensor.facts && tensor.facts->rms > 0 && is_block_matrix(tensor.role))
      roles[tensor.role].push_back(&tensor);
  for (auto& [role, tensors] : roles) {
    if (tensors.size() < 3) continue;
    std::vector<double> sizes;
    for (const TensorAudit* tensor : tensors) sizes.push_back(tensor->facts->rms);
    std::ranges::nth_element(sizes, sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2));
    const double middle = sizes[sizes.size() / 2];
    for (TensorAudit* tensor : tensors) {
      const auto times = [](double a, double b) { return std::max(a / b, b / a); };
      double ratio = times(tensor->facts->rms, middle);
      // An original may have matrices as small or as large.
      if (tensor->compared && tensor->compared->plain.rms > 0)
        ratio = std::min(ratio, times(tensor->facts->rms, tensor->compared->plain.rms));
      Judge(*tensor).beyond(ratio, kMagnitude, "magnitude",
                            fmt::format("RMS {:.3g}, the median of role {} is {:.3g}", tensor->facts->rms,
                                        role_name(role), middle));
    }
  }
}

/// The same matrix twice: an expert copied over another, a layer over a layer. What the original repeats too
/// (experts made of one MLP, layers stacked twice) is no fault.
void judge_repetitions(AuditReport& report, const AuditDoubts& doubts) {
  struct Place {
    const TensorAudit* tensor;
    std::size_t matrix;
    std::string name;
  };
  std::map<std::uint64_t, Place> seen;
  for (TensorAudit& tensor : report.tensors) {
    if (!tensor.facts || !is_block_matrix(tensor.role) || tensor.facts->rows * tensor.facts->columns < 64)
      continue;
    for (std::size_t m = 0; m < tensor.facts->matrices.size(); ++m) {
      const std::uint64_t hash = tensor.facts->matrices[m];
      if (hash == 0) continue;
      std::string name =
          tensor.facts->matrices.size() == 1 ? tensor.name : fmt::format("{}, expert {}", tensor.name, m);
      const auto [found, fresh] = seen.emplace(hash, Place{&tensor, m, name});
      const Place& first = found->second;
      if (fresh || doubts.repeated.contains({&tensor, m})) continue;
      if (tensor.compared && first.tensor->compared &&
          tensor.compared->plain.matrices[m] == first.tensor->compared->plain.matrices[first.matrix])
        continue;
      Judge(tensor).add("repeated_matrix", 1e5, fmt::format("{} holds the weights of {}", name, first.name));
    }
  }
}

/// Norms multiply: a gain near zero silences a layer. Stored less one (Qwen3-Next's own folders) they are.
void judge_norms(AuditReport& report, bool shifted) {
  if (shifted) return;
  for (TensorAudit& tensor : report.tensors)
    if (tensor.facts && tensor.role == Role::norm && tensor.facts->rms < 0.02 &&
        !(tensor.compared && tensor.compared->plain.rms < 0.02))
      Judge(tensor).add(
          "norm_without_its_one", 100,
          fmt::format("RMS {:.3g}, about 1 expected: stored less one, or not written", tensor.facts->rms));
}

bool is_rotated(const Checkpoint& checkpoint) {
  for (const Json* level : {&checkpoint.config, &text_config(checkpoint.config)})
    for (const char* key : {"assay_rotation", "quarot_rotation_seed"})
      if (level->contains(key)) return true;
  return false;
}

/// Shifted norms are told from plain ones by the convolutions beside them (mlx-lm turns those and adds the
/// one).
bool norms_are_shifted(const Checkpoint& checkpoint) {
  for (const Tensor& tensor : checkpoint.tensors)
    if (classify_tensor(tensor.name) == Role::convolution) return !is_turned_convolution(tensor);
  return false;
}

/// Tensors that the configuration asks for and that are not there, those that it knows nothing of, and those
/// of another shape.
void compare_with_config(const Checkpoint& model, AuditReport& report) {
  const Completeness state = check_completeness(model);
  if (!state.known)
    report.notes.push_back(
        fmt::format("model_type '{}' is not known: whether all of its tensors are there was not checked",
                    state.model_type));
  if (!state.problem.empty()) report.of_checkpoint.push_back({"config", state.problem, 1e7});
  for (const std::string& name : state.missing)
    report.of_checkpoint.push_back({"missing", fmt::format("{} is not there", name), 1e6});
  if (state.cut) report.of_checkpoint.push_back({"missing", "and so on: the rest was not looked for", 1e6});
  for (const std::string& name : state.surplus)
    if (classify_tensor(name))  // names that nobody knows are told with the tensors
      report.of_checkpoint.push_back(
          {"surplus", fmt::format("{}: the architecture in config.json has no such tensor", name), 1e6});
  for (const Completeness::Misshapen& tensor : state.misshapen)
    report.of_checkpoint.push_back({"shape",
                                    fmt::format("{} is {}, config.json says {}", tensor.tensor,
                                                shape_text(tensor.found), shape_text(tensor.expected)),
                                    1e6});
}

void compare_sets(const Checkpoint& model, const Checkpoint& original, AuditReport& report) {
  std::set<std::string> told;
  for (const Suspicion& finding : report.of_checkpoint) told.insert(finding.why);
  for (const Tensor& tensor : original.tensors) {
    const auto role = classify_tensor(tensor.name);
    if (model.find(tensor.name) != nullptr || role == Role::vision || role == Role::multi_token_prediction ||
        role == Role::head)
      continue;
    std::string why = fmt::format("{} is not there", tensor.name);
    if (!told.contains(why)) report.of_checkpoint.push_back({"missing", std::move(why), 1e6});
  }
  for (const Tensor& tensor : model.tensors)
    if (original.find(tensor.name) == nullptr && classify_tensor(tensor.name) != Role::head)
      report.of_checkpoint.push_back({"foreign", fmt::format("{} is not in the original", tensor.name), 1e6});
}

/// Ids of the tokenizer must have their row in the embedding.
void compare_with_tokenizer(const Checkpoint& model, AuditReport& report) {
  const Tensor* embedding = nullptr;
  for (const Tensor& tensor : model.tensors)
    if (classify_tensor(tensor.name) == Role::embedding) embedding = &tensor;
  if (embedding == nullptr ||
      !(model.sidecars.contains("tokenizer.json") || model.sidecars.contains("vocab.json") ||
        model.sidecars.contains("tokenizer.model")))
    return;
  try {
    const std::size_t tokens = load_tokenizer(model.sidecars, model.path)->vocabulary_size();
    if (tokens > embedding->shape[0])
      report.of_checkpoint.push_back(
          {"tokenizer",
           fmt::format("the tokenizer has {} tokens, {} has {} rows: they do not belong together", tokens,
                       embedding->name, embedding->shape[0]),
           1e6});
  } catch (const Error& problem) {
    report.notes.push_back(fmt::format("the tokenizer was not looked at: {}", problem.what()));
  }
}

/// What is seen of one tensor, alone and beside its twin.
void look_at(const Tensor& tensor, const Tensor* twin, TensorAudit& audit) {
  audit.facts = gather_facts(tensor);
  const bool comparable = twin != nullptr && twin->format != nullptr && twin->shape == tensor.shape;
  if (comparable) audit.compared = compare_facts(tensor, *twin);
  if (comparable)
    judge_beside(audit, *tensor.format, *twin);
  else if (twin != nullptr && twin->shape != tensor.shape)
    Judge(audit).add(
        "shape", 1e6,
        fmt::format("shape {}, the original's is {}", shape_text(tensor.shape), shape_text(twin->shape)));
}

}  // namespace

bool AuditReport::sound() const {
  return of_checkpoint.empty() &&
         std::ranges::all_of(tensors, [](const TensorAudit& tensor) { return tensor.suspicions.empty(); });
}

AuditReport audit_checkpoint(const Checkpoint& model, const Checkpoint* original, const Context& context) {
  const ThreadScope threads(context.threads);
  AuditReport report;
  report.model = model.path;
  if (original != nullptr) report.original = original->path;
  if (original != nullptr && is_rotated(model) != is_rotated(*original)) {
    report.notes.push_back(
        "weights lie in a rotated basis and are not compared with the original, tensor by tensor");
    original = nullptr;
  }
  report.notes.insert(report.notes.end(), model.warnings.begin(), model.warnings.end());
  compare_with_config(model, report);
  compare_with_tokenizer(model, report);
  if (original != nullptr) compare_sets(model, *original, report);
  Progress progress(context.progress, "audit " + model.path, model.tensors.size(), "tensors");
  for (const Tensor& tensor : model.tensors) {
    TensorAudit audit;
    audit.name = tensor.name;
    audit.shape = tensor.shape;
    audit.format = tensor.format ? tensor.format->name() : std::string(dtype_name(tensor.dtype));
    try {
      audit.role = require_role(tensor.name, model.path);
    } catch (const Error& problem) {
      report.of_checkpoint.push_back({"surplus", problem.what(), 1e6});
      continue;
    }
    if (tensor.format != nullptr) {
      const MatrixShape shape = as_matrix(tensor.shape);
      audit.bits_per_weight = bits_per_weight(*tensor.format, shape.rows, shape.columns);
      if (tensor.checksum && checksum_of(tensor) != *tensor.checksum)  // beside what it may have come from
        Judge(audit).add("damaged", 1, "its bytes do not have the checksum that assay.json says");
      try {
        look_at(tensor, original == nullptr ? nullptr : original->find(tensor.name), audit);
      } catch (const Error& problem) {
        Judge(audit).add("unreadable", 1e9, problem.what());
      }
    }
    report.tensors.push_back(std::move(audit));
    progress.advance(1);
  }
  AuditDoubts doubts;
  if (original == nullptr) doubts = find_doubts(report, model);
  for (std::string& note : doubts.notes) report.notes.push_back(std::move(note));
  for (TensorAudit& tensor : report.tensors) {
    judge_weights(tensor, doubts);
    if (const Tensor* stored = model.find(tensor.name); stored != nullptr && tensor.facts)
      judge_units(tensor, *stored->format, doubts);
  }
  judge_magnitudes(report);
  judge_repetitions(report, doubts);
  judge_norms(report, norms_are_shifted(model));
  for (TensorAudit& tensor : report.tensors)
    std::ranges::stable_sort(tensor.suspicions, std::greater(), &Suspicion::rank);
  std::ranges::sort(report.tensors, {}, &TensorAudit::name);
  return report;
}

void add_router_agreement(AuditReport& report, const CheckpointPtr& model, const CheckpointPtr& original,
                          const Context& context) {
  // Between chance and full agreement: two bits everywhere keep routers above half of the way
  // (docs/experts.md).
  constexpr double kLeastAboveChance = 0.25;
  try {
    report.routing = compare_routing(model, original, context);
  } catch (const Error& problem) {
    report.notes.push_back(fmt::format("routers were not compared: {}", problem.what()));
    return;
  }
  const double chance = report.routing->chance;
  const double limit = chance + kLeastAboveChance * (1 - chance);
  for (const auto& [layer, share] : report.routing->layers)
    if (share < limit)
      report.of_checkpoint.push_back(
          {"routers_disagree",
           fmt::format(
               "layer {}: {:.1f} % of the experts that a token visits are the original's, at least {:.1f} % "
               "expected (chance gives {:.1f} %)",
               layer, 100 * share, 100 * limit, 100 * chance),
           limit / std::max(share, 1e-3)});
}

}  // namespace assay
