// The audit on sound checkpoints of every recipe and container (no alarm), and on copies with one fault
// planted (always found; without the original too, where the fault can be seen without it).
#include "assay/audit/audit.h"

#include <fmt/core.h>
#include <gmock/gmock.h>

#include <functional>
#include <set>

#include "assay/base/file.h"
#include "assay/base/half.h"
#include "assay/quantize/quantize_model.h"
#include "assay/recipes/mlx_conventions.h"
#include "tests/model/reference_forward.h"
#include "tests/quantize/audited.h"
#include "tests/support.h"

namespace assay::test {
namespace {

TEST(Audit, NoFalseAlarmOnSoundCheckpoints) {
  const TemporaryFolder folder;
  std::vector<Pair> pairs;
  unsigned seed = 1;
  for (const char* recipe : {"f16", "q8", "q4", "w3-mlp", "w3", "mlx4", "mlx3", "mlx2", "int6-row", "gf16"})
    for (const Method method : {Method::rtn, Method::search})
      pairs.push_back(make_pair(folder, dense_config(), seed++, recipe, Container::assay, method));
  for (const char* recipe : {"mlx4", "mlx3", "mlx2"}) {
    pairs.push_back(make_pair(folder, dense_config(), seed++, recipe, Container::mlx));
    pairs.push_back(make_pair(folder, mixture_config(), seed++, recipe, Container::mlx));
    pairs.push_back(make_pair(folder, mixture_config(), seed++, recipe, Container::assay, Method::search));
  }
  for (const char* recipe : {"q4", "w3-mlp"})
    pairs.push_back(make_pair(folder, dense_config(), seed++, recipe, Container::lattice));
  pairs.push_back(make_pair(folder, mixture_config(), seed++, "q4", Container::assay));
  pairs.push_back(make_pair(folder, mixture_config(), seed++, "", Container::huggingface));
  EXPECT_GE(pairs.size(), 30u);
  for (const Pair& pair : pairs) {
    EXPECT_EQ(findings(audit_checkpoint(*pair.model, pair.original.get())), "") << pair.what;
    EXPECT_EQ(findings(audit_checkpoint(*pair.model, nullptr)), "") << pair.what;
  }
}

TEST(Audit, NoFalseAlarmOnTheBundledModel) {
  const TemporaryFolder folder;
  const CheckpointPtr original = open_model(demo_model());
  EXPECT_EQ(findings(audit_checkpoint(*original, nullptr)), "");
  for (const char* recipe : {"q4", "w3-mlp", "mlx2", "int6-row"}) {
    QuantizeRequest request;
    request.source = original;
    request.recipe = load_recipe(recipe);
    request.out = folder.file(recipe);
    quantize_model(request);
    const CheckpointPtr model = open_model(request.out);
    EXPECT_EQ(findings(audit_checkpoint(*model, original.get())), "") << recipe;
    EXPECT_EQ(findings(audit_checkpoint(*model, nullptr)), "") << recipe;
  }
}

/// A copy of a checkpoint whose tensors can be written to.
class Copy {
 public:
  Copy(const Checkpoint& source, std::mt19937& random)
      : made_(std::make_shared<Checkpoint>(source)), random_(random) {
    for (Tensor& tensor : made_->tensors)
      for (Bytes& plane : tensor.planes) {
        const auto bytes = std::make_shared<std::vector<std::byte>>(plane.begin(), plane.end());
        plane = *bytes;
        tensor.owners.push_back(bytes);
      }
  }
  const Checkpoint& checkpoint() const { return *made_; }
  std::mt19937& random() { return random_; }
  std::vector<Tensor>& tensors() { return made_->tensors; }

  /// Some matrix inside the blocks that `fits`; null when there is none.
  Tensor* pick(const std::function<bool(const Tensor&)>& fits = {}) {
    std::vector<Tensor*> found;
    for (Tensor& tensor : made_->tensors) {
      const Role role = *classify_tensor(tensor.name);
      if (is_block_matrix(role) && role != Role::router && (!fits || fits(tensor))) found.push_back(&tensor);
    }
    return found.empty() ? nullptr : found[random_() % found.size()];
  }
  static MutableBytes plane(Tensor& tensor, std::size_t index) {
    return {const_cast<std::byte*>(tensor.planes[index].data()), tensor.planes[index].size()};
  }
  /// Rounds other weights into the tensor's place.
  static void rewrite(Tensor& tensor, const std::vector<float>& weights) {
    const MatrixShape shape = as_matrix(tensor.shape);
    const Layout layout = tensor.format->layout(shape.columns);
    const std::uint64_t units = unit_count(layout, shape.rows, shape.columns);
    std::vector<Params> params(layout.has_params ? units : 0);
    std::vector<Code> codes(units * layout.run);
    tensor.format->reference(weights, params, codes);
    std::vector<MutableBytes> planes;
    for (std::size_t p = 0; p < tensor.planes.size(); ++p) planes.push_back(plane(tensor, p));
    tensor.format->pack(params, codes, planes);
  }

 private:
  std::shared_ptr<Checkpoint> made_;
  std::mt19937& random_;
};

bool is_packed(const Tensor& tensor) {
  return tensor.format->layout(as_matrix(tensor.shape).columns).has_params;
}
bool is_single(const Tensor& tensor) {
  return tensor.shape.size() == 2;
}
bool is_affine_mlx(const Tensor& tensor) {
  return tensor.planes.size() == 3;
}
double bits_of(const Tensor& tensor) {
  const auto view = tensor.format->affine();
  return view ? std::log2(static_cast<double>(view->codes)) : 16;
}

using Names = std::vector<std::string>;

/// One kind of fault: plants it and names the tensors that may be accused of it; none where the checkpoint
/// has no place for it.
struct Fault {
  const char* name;
  bool alone;                   // must be found without the original
  std::set<std::string> kinds;  // of finding that tell it: one of them must be there
  std::function<Names(Copy&)> plant;
};

using Weights = std::vector<float>;

/// A fault in the weights of a matrix that `fits`.
Fault weights_fault(const char* name, bool alone, const std::set<std::string>& kinds,
                    const std::function<bool(const Tensor&)>& fits,
                    const std::function<void(Weights&, const MatrixShape&, std::mt19937&)>& harm) {
  return {name, alone, kinds, [=](Copy& copy) {
            Tensor* tensor = copy.pick(fits);
            if (tensor == nullptr) return Names{};
            Weights weights = decode_all(*tensor);
            harm(weights, as_matrix(tensor->shape), copy.random());
            Copy::rewrite(*tensor, weights);
            return Names{tensor->name};
          }};
}

/// Codes of `from` bits written where those of the tensor are expected.
void write_codes_of(Tensor& tensor, const char* format_name, MutableBytes codes) {
  const FormatPtr format = find_format(format_name);
  const MatrixShape shape = as_matrix(tensor.shape);
  const Layout layout = format->layout(shape.columns);
  const std::uint64_t units = unit_count(layout, shape.rows, shape.columns);
  std::vector<Params> params(units);
  std::vector<Code> values(units * layout.run);
  // As if rounded from the original: between the steps of this tensor's own codes.
  std::vector<float> weights = decode_all(tensor);
  std::mt19937 random(3);
  std::normal_distribution<float> noise(0, 0.03f);
  for (float& weight : weights) weight += noise(random);
  format->reference(weights, params, values);
  std::vector<std::vector<std::byte>> planes;
  for (const Plane& plane : layout.planes) planes.emplace_back(layout.bytes(plane, units));
  format->pack(params, values, std::vector<MutableBytes>(planes.begin(), planes.end()));
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = planes[0][i % planes[0].size()];
}

std::vector<Fault> faults() {
  const auto any = [](const Tensor&) { return true; };
  const auto packed_single = [](const Tensor& t) { return is_packed(t) && is_single(t); };
  return {
      {"scales and biases swapped",
       true,
       {"off_centre"},
       [](Copy& copy) {
         Tensor* tensor = copy.pick(is_affine_mlx);
         if (tensor == nullptr) return Names{};
         std::swap(tensor->planes[1], tensor->planes[2]);
         return Names{tensor->name};
       }},
      {"8-bit codes read as 4-bit",
       true,
       {"wrong_width"},
       [](Copy& copy) {
         Tensor* tensor = copy.pick([](const Tensor& t) { return is_affine_mlx(t) && bits_of(t) == 4; });
         if (tensor == nullptr) return Names{};
         write_codes_of(*tensor, "mlx8-g64-f32", Copy::plane(*tensor, 0));
         return Names{tensor->name};
       }},
      {"4-bit codes read as 8-bit",
       true,
       {"wrong_width"},
       [](Copy& copy) {
         Tensor* tensor = copy.pick([](const Tensor& t) { return is_affine_mlx(t) && bits_of(t) == 8; });
         if (tensor == nullptr) return Names{};
         write_codes_of(*tensor, "mlx4-g64-f32", Copy::plane(*tensor, 0));
         return Names{tensor->name};
       }},
      weights_fault("rows shifted by one", true, {"repeated_rows"}, is_single,
                    [](Weights& w, const MatrixShape& shape, std::mt19937&) {
                      std::copy_backward(w.begin(), w.end() - static_cast<std::ptrdiff_t>(shape.columns),
                                         w.end());
                    }),
      weights_fault(
          "a matrix never written", true, {"all_zero"},
          [](const Tensor& t) { return is_single(t) && !is_packed(t); },
          [](Weights& w, const MatrixShape&, std::mt19937&) { std::ranges::fill(w, 0.0f); }),
      {"an expert of zeros",
       true,
       {"zero_expert"},
       [](Copy& copy) {
         Tensor* tensor = copy.pick([](const Tensor& t) { return t.shape.size() == 3; });
         if (tensor == nullptr) return Names{};
         const std::size_t expert = copy.random()() % tensor->shape[0];
         for (std::size_t p = 0; p < tensor->planes.size(); ++p) {
           const MutableBytes plane = Copy::plane(*tensor, p);
           const std::size_t bytes = plane.size() / tensor->shape[0];
           std::ranges::fill(plane.subspan(expert * bytes, bytes), std::byte{0});
         }
         return Names{tensor->name};
       }},
      {"an expert repeated",
       true,
       {"repeated_matrix"},
       [](Copy& copy) {
         Tensor* tensor = copy.pick([](const Tensor& t) { return t.shape.size() == 3; });
         if (tensor == nullptr) return Names{};
         const std::size_t expert = copy.random()() % (tensor->shape[0] - 1);
         for (std::size_t p = 0; p < tensor->planes.size(); ++p) {
           const MutableBytes plane = Copy::plane(*tensor, p);
           const std::size_t bytes = plane.size() / tensor->shape[0];
           std::ranges::copy(plane.subspan(expert * bytes, bytes),
                             plane.subspan((expert + 1) * bytes).begin());
         }
         return Names{tensor->name};
       }},
      {"a layer's matrix copied over another's",
       true,
       {"repeated_matrix"},
       [](Copy& copy) {
         Tensor* from = copy.pick();
         Tensor* to = copy.pick([&](const Tensor& t) {
           return t.name != from->name && t.shape == from->shape && t.format->name() == from->format->name();
         });
         if (to == nullptr) return Names{};
         for (std::size_t p = 0; p < to->planes.size(); ++p)
           std::ranges::copy(from->planes[p], Copy::plane(*to, p).begin());
         return Names{from->name, to->name};
       }},
      weights_fault(
          "the last rows zero", true, {"zero_rows"},
          [](const Tensor& t) { return is_single(t) && !is_packed(t); },
          [](Weights& w, const MatrixShape& shape, std::mt19937&) {
            std::fill(w.end() - static_cast<std::ptrdiff_t>(3 * shape.columns), w.end(), 0.0f);
          }),
      {"scales in the wrong byte order",
       true,
       {"wild_scales", "unreadable"},
       [](Copy& copy) {
         Tensor* tensor = copy.pick(is_affine_mlx);
         if (tensor == nullptr) return Names{};
         const std::size_t width = tensor->format->layout(64).planes[1].record_bytes;
         const MutableBytes scales = Copy::plane(*tensor, 1);
         for (std::size_t at = 0; at + width <= scales.size(); at += width)
           std::ranges::reverse(scales.subspan(at, width));
         return Names{tensor->name};
       }},
      {"a scale that is no number",
       true,
       {"not_finite", "unreadable"},
       [](Copy& copy) {
         Tensor* tensor = copy.pick(is_affine_mlx);
         if (tensor == nullptr) return Names{};
         const MutableBytes scales = Copy::plane(*tensor, 1);
         const std::size_t width = tensor->format->layout(64).planes[1].record_bytes;
         const std::size_t at = copy.random()() % (scales.size() / width) * width;
         std::fill_n(scales.begin() + static_cast<std::ptrdiff_t>(at), width, std::byte{0xFF});
         return Names{tensor->name};
       }},
      weights_fault(
          "a scale of 2^8 over a tensor", true, {"magnitude"}, [](const Tensor& t) { return is_single(t); },
          [](Weights& w, const MatrixShape&, std::mt19937&) {
            for (float& value : w) value *= 256;
          }),
      {"groups never written",
       true,
       {"dead_groups"},
       [](Copy& copy) {
         Tensor* tensor = copy.pick([](const Tensor& t) { return is_affine_mlx(t) && bits_of(t) >= 3; });
         if (tensor == nullptr) return Names{};
         const MutableBytes codes = Copy::plane(*tensor, 0);
         std::ranges::fill(codes.subspan(0, codes.size() / 8), std::byte{0});
         return Names{tensor->name};
       }},
      {"norms stored less one",
       true,
       {"norm_without_its_one"},
       [](Copy& copy) {
         std::vector<Tensor*> norms;
         for (Tensor& tensor : copy.tensors())
           if (classify_tensor(tensor.name) == Role::norm && tensor.name.ends_with("layernorm.weight"))
             norms.push_back(&tensor);
         Tensor* tensor = norms[copy.random()() % norms.size()];
         Copy::rewrite(*tensor, Weights(tensor->elements(), 0.0f));
         return Names{tensor->name};
       }},
      {"two tensors swapped",
       false,
       {"unrelated", "changed"},
       [](Copy& copy) {
         Tensor* a = copy.pick();
         Tensor* b = copy.pick([&](const Tensor& t) {
           return t.name != a->name && t.shape == a->shape && t.format->name() == a->format->name();
         });
         if (b == nullptr) return Names{};
         std::swap(a->planes, b->planes);
         return Names{a->name, b->name};
       }},
      weights_fault("negated", false, {"unrelated", "changed"}, any,
                    [](Weights& w, const MatrixShape&, std::mt19937&) {
                      for (float& value : w) value = -value;
                    }),
      weights_fault(
          "half as large again", false, {"scaled", "changed"},
          [](const Tensor& t) { return bits_of(t) >= 3; },
          [](Weights& w, const MatrixShape&, std::mt19937&) {
            for (float& value : w) value *= 1.5f;
          }),
      weights_fault(
          "transposed", false, {"unrelated", "changed"},
          [](const Tensor& t) { return is_single(t) && t.shape[0] == t.shape[1]; },
          [](Weights& w, const MatrixShape& shape, std::mt19937&) {
            for (std::uint64_t r = 0; r < shape.rows; ++r)
              for (std::uint64_t c = 0; c < r; ++c) std::swap(w[r * shape.rows + c], w[c * shape.rows + r]);
          }),
      weights_fault("one row of other weights", false, {"wrong_row", "changed"}, any,
                    [](Weights& w, const MatrixShape& shape, std::mt19937& random) {
                      const std::uint64_t row = random() % shape.rows;
                      std::normal_distribution<float> normal(0, 0.25f);
                      for (std::uint64_t c = 0; c < shape.columns; ++c)
                        w[row * shape.columns + c] = normal(random);
                    }),
      weights_fault(
          "rounded to 2 bits before", false, {"too_far_off"},
          [](const Tensor& t) { return is_packed(t) && bits_of(t) >= 4; },
          [](Weights& w, const MatrixShape&, std::mt19937&) {
            for (float& value : w) value = std::round(value / 0.4f) * 0.4f;
          }),
      {"a tensor missing",
       true,
       {"missing"},
       [](Copy& copy) {
         Tensor* tensor = copy.pick();
         const Names names = {tensor->name};
         copy.tensors().erase(copy.tensors().begin() + (tensor - copy.tensors().data()));
         return names;
       }},
      {"a weight changed in what was kept",
       false,
       {"changed", "too_far_off"},
       [](Copy& copy) {
         for (Tensor& tensor : copy.tensors()) {
           if (is_packed(tensor) || tensor.shape.size() != 1) continue;
           Weights weights = decode_all(tensor);
           weights[copy.random()() % weights.size()] *= 1.25f;
           Copy::rewrite(tensor, weights);
           return Names{tensor.name};
         }
         return Names{};
       }},
      weights_fault("columns shifted by one", false, {"unrelated"}, packed_single,
                    [](Weights& w, const MatrixShape&, std::mt19937&) {
                      std::rotate(w.begin(), w.begin() + 1, w.end());
                    }),
  };
}

/// The finding tells the fault, of the tensor that has it, and nobody else is accused.
void expect_accused(const AuditReport& report, const Fault& fault, const Names& harmed,
                    const std::string& what) {
  bool told = false;
  std::string text;
  for (const TensorAudit& tensor : report.tensors)
    for (const Suspicion& suspicion : tensor.suspicions) {
      const bool is_harmed = std::ranges::find(harmed, tensor.name) != harmed.end();
      EXPECT_TRUE(is_harmed) << fault.name << " in " << harmed[0] << " of " << what << ", but accused is "
                             << tensor.name << ": " << suspicion.kind << ", " << suspicion.why;
      told |= is_harmed && fault.kinds.contains(suspicion.kind);
      text += suspicion.kind + " ";
    }
  for (const Suspicion& finding : report.of_checkpoint) {
    const bool of_harmed = finding.why.find(harmed[0]) != std::string::npos;
    EXPECT_TRUE(of_harmed) << fault.name << " in " << harmed[0] << " of " << what << ": " << finding.why;
    told |= of_harmed && fault.kinds.contains(finding.kind);
    text += finding.kind + " ";
  }
  EXPECT_TRUE(told) << fault.name << " in " << harmed[0] << " of " << what << "; told: " << text;
}

TEST(Audit, FindsEveryPlantedFault) {
  const TemporaryFolder folder;
  std::vector<Pair> pairs = {
      make_pair(folder, dense_config(), 101, "", Container::huggingface),
      make_pair(folder, dense_config(), 102, "q4", Container::assay),
      make_pair(folder, dense_config(), 103, "w3", Container::lattice),
      make_pair(folder, dense_config(), 104, "mlx4", Container::mlx),
      make_pair(folder, mixture_config(), 105, "mlx4", Container::mlx),
      make_pair(folder, mixture_config(), 106, "mlx3", Container::assay),
  };
  // 8 bits too: routers are, but too small for figures of their codes.
  pairs.push_back(make_pair(folder, dense_config(), 107, "q8", Container::assay));
  {
    const std::string recipe = folder.file("mlx8.json");
    write_bytes(recipe, R"({"name": "mlx8", "rules": [{"roles": ["matrices"], "format": "mlx8-g64"}]})");
    pairs.push_back(make_pair(folder, dense_config(), 108, recipe, Container::mlx));
  }
  std::mt19937 random(7);
  std::map<std::string, int> planted;
  std::set<std::string_view> containers;
  int total = 0;
  for (const Pair& pair : pairs)
    for (int round = 0; round < 3; ++round)
      for (const Fault& fault : faults()) {
        Copy copy(*pair.model, random);
        const Names harmed = fault.plant(copy);
        if (harmed.empty()) continue;
        ++planted[fault.name];
        ++total;
        containers.insert(container_name(pair.model->container));
        expect_accused(audit_checkpoint(copy.checkpoint(), pair.original.get()), fault, harmed,
                       pair.what + " with the original");
        if (fault.alone)
          expect_accused(audit_checkpoint(copy.checkpoint(), nullptr), fault, harmed,
                         pair.what + " without the original");
      }
  EXPECT_GE(total, 200);
  EXPECT_EQ(planted.size(), faults().size());
  EXPECT_GE(containers.size(), 4u);
}

TEST(Audit, SharesAreNeverAboveOneHundredPercent) {
  const TemporaryFolder folder;
  const auto zeros = [](const std::string& name, Weights& w, const Shape&) {
    if (name.ends_with("2.self_attn.o_proj.weight")) std::ranges::fill(w, 0.0f);
    if (name.ends_with("1.mlp.up_proj.weight")) std::ranges::fill(w, 0.125f);
  };
  QuantizeRequest request;
  request.source = open_model(edited_source(folder, dense_config(), zeros, "zeros"));
  request.recipe = load_recipe("q4");
  request.out = folder.file("q4");
  quantize_model(request);
  const AuditReport report = audit_checkpoint(*open_model(request.out), nullptr);
  EXPECT_FALSE(report.sound());
  for (const TensorAudit& tensor : report.tensors) {
    EXPECT_LE(tensor.facts->extreme_codes, 1) << tensor.name;
    EXPECT_LE(tensor.facts->constant_units, 1) << tensor.name;
  }
}

TEST(Audit, WhatTheConfigAsksForIsHeldAgainstWhatIsThere) {
  const TemporaryFolder folder;
  write_source(dense_config(), 5, folder.file("model"));
  const CheckpointPtr whole = open_model(folder.file("model"));
  Checkpoint model = *whole;
  std::erase_if(model.tensors, [](const Tensor& t) { return t.name == "model.layers.3.mlp.up_proj.weight"; });
  AuditReport report = audit_checkpoint(model, nullptr);
  ASSERT_EQ(report.of_checkpoint.size(), 1u);
  EXPECT_EQ(report.of_checkpoint[0].kind, "missing");
  EXPECT_EQ(report.of_checkpoint[0].why, "model.layers.3.mlp.up_proj.weight is not there");
  EXPECT_EQ(audit_checkpoint(model, whole.get()).of_checkpoint.size(), 1u) << "told once";

  model = *whole;
  model.config["num_hidden_layers"] = 3;
  report = audit_checkpoint(model, nullptr);
  ASSERT_EQ(report.of_checkpoint.size(), 11u);
  EXPECT_EQ(report.of_checkpoint[0].kind, "surplus");
  EXPECT_THAT(report.of_checkpoint[0].why, testing::HasSubstr("model.layers.3."));

  model = *whole;
  model.config["vocab_size"] = 97;
  report = audit_checkpoint(model, nullptr);
  ASSERT_EQ(report.of_checkpoint.size(), 1u);
  EXPECT_EQ(report.of_checkpoint[0].kind, "shape");

  model = *whole;
  model.tensors.clear();
  EXPECT_FALSE(audit_checkpoint(model, nullptr).sound());

  model = *whole;
  model.warnings = {"model/stray.safetensors: ignored"};
  report = audit_checkpoint(model, nullptr);
  EXPECT_TRUE(report.sound());
  EXPECT_THAT(report.notes, testing::Contains("model/stray.safetensors: ignored"));

  model = *whole;
  model.config["model_type"] = "gpt2";
  report = audit_checkpoint(model, nullptr);
  EXPECT_TRUE(report.sound());
  EXPECT_THAT(report.notes, testing::Contains(testing::HasSubstr("gpt2")));

  model = *whole;
  ASSERT_EQ(model.tensors.back().name, "model.norm.weight");
  model.tensors.back().name = "model.strange.weight";
  report = audit_checkpoint(model, nullptr);
  EXPECT_THAT(audit_text(report),
              testing::HasSubstr("surplus: " + folder.file("model") + ": tensor model.strange"));

  model = *whole;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    model.sidecars[name] = read_bytes(demo_model() + "/" + name);
  report = audit_checkpoint(model, nullptr);
  ASSERT_EQ(report.of_checkpoint.size(), 1u);
  EXPECT_EQ(report.of_checkpoint[0].kind, "tokenizer");
}

}  // namespace
}  // namespace assay::test
