// The ways to write error feedback, right and wrong. The right ones agree; each wrong one that has been
// published is written down here and must be caught by the property that is said to catch it, since on
// uncorrelated inputs all of them look alike.
#include <algorithm>
#include <functional>
#include <set>

#include "assay/rounding/gptq_factor.h"
#include "tests/rounding/random_layers.h"

namespace assay::test {
namespace {

using RowVector = Eigen::RowVectorXd;

/// One row rounded on a grid of steps of 1.
struct Rounded {
  RowVector q;
  double claimed = 0;           // the loss that the form adds up
  std::vector<RowVector> work;  // before each column: the whole row as the form has it
};
using Form = std::function<Rounded(const Matrix& moments, const RowVector& weights)>;

Rounded start(const RowVector& weights) {
  return {RowVector::Zero(weights.size()), 0, {}};
}

/// Upper triangular u with u^T u = matrix.
Matrix upper_cholesky(const Matrix& matrix) {
  return matrix.llt().matrixU();
}

// ---- The right forms.

/// H = V D V^T, V unit upper triangular: the Cholesky factor of the matrix turned end for end, turned back.
Rounded r_form(const Matrix& moments, const RowVector& weights) {
  const Eigen::Index n = weights.size();
  const Matrix reversed = moments.reverse();
  const Matrix lower = reversed.llt().matrixL();
  const Matrix r = lower.reverse();
  Rounded row = start(weights);
  for (Eigen::Index j = 0; j < n; ++j) {
    double work = weights(j);
    for (Eigen::Index i = 0; i < j; ++i) work += (weights(i) - row.q(i)) * r(i, j) / r(j, j);
    row.q(j) = std::nearbyint(work);
    row.claimed += r(j, j) * r(j, j) * (work - row.q(j)) * (work - row.q(j));
  }
  return row;
}

/// H^-1 = U^T U: GPTQ as published.
Rounded inverse_cholesky_with(const Matrix& u, const RowVector& weights) {
  Rounded row = start(weights);
  RowVector work = weights;
  for (Eigen::Index j = 0; j < weights.size(); ++j) {
    row.work.push_back(work);
    row.q(j) = std::nearbyint(work(j));
    const double error = (work(j) - row.q(j)) / u(j, j);
    for (Eigen::Index k = j + 1; k < weights.size(); ++k) work(k) -= error * u(j, k);
    row.claimed += error * error;
  }
  return row;
}

Rounded inverse_cholesky(const Matrix& moments, const RowVector& weights) {
  return inverse_cholesky_with(upper_cholesky(moments.inverse()), weights);
}

/// The inverse of what is left, down-dated after each column: OBQ.
Rounded down_date(const Matrix& moments, const RowVector& weights) {
  Rounded row = start(weights);
  RowVector work = weights;
  Matrix p = moments.inverse();
  for (Eigen::Index j = 0; j < weights.size(); ++j) {
    row.work.push_back(work);
    row.q(j) = std::nearbyint(work(j));
    const double error = (work(j) - row.q(j)) / p(j, j);
    for (Eigen::Index k = j + 1; k < weights.size(); ++k) work(k) -= error * p(j, k);
    row.claimed += error * error * p(j, j);
    p -= p.col(j) * p.row(j) / p(j, j);
  }
  return row;
}

// ---- The wrong ones.

/// Rows of the inverse of the whole matrix, never down-dated.
Rounded stale_inverse(const Matrix& moments, const RowVector& weights) {
  Rounded row = start(weights);
  RowVector work = weights;
  const Matrix p = moments.inverse();
  for (Eigen::Index j = 0; j < weights.size(); ++j) {
    row.work.push_back(work);
    row.q(j) = std::nearbyint(work(j));
    const double error = (work(j) - row.q(j)) / p(j, j);
    for (Eigen::Index k = j + 1; k < weights.size(); ++k) work(k) -= error * p(j, k);
    row.claimed += error * error * p(j, j);
  }
  return row;
}

/// The inverse with its factors in the wrong order: of H = L L^T it is L^-T L^-1.
Matrix swapped_inverse(const Matrix& moments) {
  const Matrix lower = moments.llt().matrixL();
  const Matrix inverse = lower.inverse();
  return inverse * inverse.transpose();
}
Rounded swapped_factors(const Matrix& moments, const RowVector& weights) {
  return inverse_cholesky_with(upper_cholesky(swapped_inverse(moments)), weights);
}

/// Rows of U, divided as if they were rows of the inverse.
Rounded mixed_divisor(const Matrix& moments, const RowVector& weights) {
  Rounded row = start(weights);
  RowVector work = weights;
  const Matrix p = moments.inverse(), u = upper_cholesky(p);
  for (Eigen::Index j = 0; j < weights.size(); ++j) {
    row.work.push_back(work);
    row.q(j) = std::nearbyint(work(j));
    const double error = (work(j) - row.q(j)) / p(j, j);
    for (Eigen::Index k = j + 1; k < weights.size(); ++k) work(k) -= error * u(j, k);
    row.claimed += error * error;
  }
  return row;
}

/// What was lost, in equal parts to all columns left.
Rounded equal_shares(const Matrix&, const RowVector& weights) {
  Rounded row = start(weights);
  RowVector work = weights;
  const Eigen::Index n = weights.size();
  for (Eigen::Index j = 0; j < n; ++j) {
    row.work.push_back(work);
    row.q(j) = std::nearbyint(work(j));
    const double error = work(j) - row.q(j);
    for (Eigen::Index k = j + 1; k < n; ++k) work(k) += error / static_cast<double>(n - j - 1);
    row.claimed += error * error;
  }
  return row;
}

Rounded plain(const Matrix&, const RowVector& weights) {
  Rounded row = start(weights);
  for (Eigen::Index j = 0; j < weights.size(); ++j) row.q(j) = std::nearbyint(weights(j));
  return row;
}

// ---- The detectors: how far a form is from what is true of error feedback.

Matrix random_rows(std::size_t rows, std::size_t columns, unsigned seed) {
  return 3.0 * random_matrix(rows, columns, seed);
}

double loss_of(const Matrix& moments, const RowVector& weights, const RowVector& q) {
  return ((weights - q) * moments * (weights - q).transpose())(0);
}

/// The loss that is added up against e H e^T, worst row.
double loss_identity_violation(const Form& form, const Matrix& moments, unsigned seed = 1) {
  const Matrix rows = random_rows(20, static_cast<std::size_t>(moments.rows()), seed);
  double worst = 0;
  for (Eigen::Index r = 0; r < rows.rows(); ++r) {
    const Rounded rounded = form(moments, rows.row(r));
    const double loss = loss_of(moments, rows.row(r), rounded.q);
    worst = std::max(worst, std::abs(rounded.claimed - loss) / loss);
  }
  return worst;
}

/// The columns left before step j against the optimum by dense solution, worst row.
double tail_violation(const Form& form, const Matrix& moments, Eigen::Index j, unsigned seed = 2) {
  const Eigen::Index n = moments.rows(), free = n - j;
  const Matrix rows = random_rows(20, static_cast<std::size_t>(n), seed);
  double worst = 0;
  for (Eigen::Index r = 0; r < rows.rows(); ++r) {
    const RowVector weights = rows.row(r);
    const Rounded rounded = form(moments, weights);
    const RowVector pull = (weights - rounded.q).head(j) * moments.topRightCorner(j, free);
    const RowVector optimum =
        weights.tail(free) + moments.bottomRightCorner(free, free).ldlt().solve(pull.transpose()).transpose();
    const RowVector tail = rounded.work[static_cast<std::size_t>(j)].tail(free);
    worst = std::max(worst, (tail - optimum).cwiseAbs().maxCoeff());
  }
  return worst;
}

/// Codes that differ from plain rounding where there is nothing to feed back.
Eigen::Index codes_moved(const Form& form, const Matrix& moments, unsigned seed = 3) {
  const Matrix rows = random_rows(20, static_cast<std::size_t>(moments.rows()), seed);
  Eigen::Index moved = 0;
  for (Eigen::Index r = 0; r < rows.rows(); ++r)
    moved += (form(moments, rows.row(r)).q.array() != plain(moments, rows.row(r)).q.array()).count();
  return moved;
}

/// Loss in parts of plain rounding's, over all rows.
double relative_loss(const Form& form, const Matrix& moments, unsigned seed = 4) {
  const Matrix rows = random_rows(100, static_cast<std::size_t>(moments.rows()), seed);
  double loss = 0, naive = 0;
  for (Eigen::Index r = 0; r < rows.rows(); ++r) {
    loss += loss_of(moments, rows.row(r), form(moments, rows.row(r)).q);
    naive += loss_of(moments, rows.row(r), plain(moments, rows.row(r)).q);
  }
  return loss / naive;
}

constexpr double kNoise = 1e-8;  // of f64 through an inverse
constexpr double kPlain = 1e-2;  // a violation that nobody can take for noise

Matrix correlated(std::size_t n, unsigned seed = 11) {
  return random_second_moments(Inputs::correlated, n, seed);
}
Matrix diagonal(std::size_t n) {
  return random_second_moments(Inputs::diagonal, n, 12);
}

struct NamedForm {
  const char* name;
  Form form;
};
const std::vector<NamedForm>& right_forms() {
  static const std::vector<NamedForm> forms = {
      {"R form", r_form}, {"Cholesky of the inverse", inverse_cholesky}, {"down-dated inverse", down_date}};
  return forms;
}
const std::vector<NamedForm>& wrong_forms() {
  static const std::vector<NamedForm> forms = {{"stale inverse", stale_inverse},
                                               {"swapped factors", swapped_factors},
                                               {"mixed divisor", mixed_divisor},
                                               {"equal shares", equal_shares}};
  return forms;
}

// ---- Right forms agree, with each other and with what ships.

TEST(GptqFormsTest, RightFormsChooseTheSameCodes) {
  for (const Inputs kind :
       {Inputs::independent, Inputs::correlated, Inputs::low_rank, Inputs::diagonal, Inputs::blocks})
    for (const std::size_t n : {1u, 2u, 5u, 64u}) {
      const Matrix moments = random_second_moments(kind, n, 21);
      const Matrix rows = random_rows(40, n, 22);
      for (Eigen::Index r = 0; r < rows.rows(); ++r) {
        const Rounded expected = r_form(moments, rows.row(r));
        for (const auto& [name, form] : right_forms()) {
          const Rounded found = form(moments, rows.row(r));
          EXPECT_EQ(found.q, expected.q) << name << ", " << input_name(kind) << " " << n;
          EXPECT_NEAR(found.claimed, expected.claimed, kNoise * expected.claimed) << name;
        }
      }
    }
}

TEST(GptqFormsTest, TheSweepIsTheRForm) {
  for (const Inputs kind : kAllInputs) {
    constexpr std::size_t n = 150;
    const Hessian hessian = random_hessian(kind, n, 23);
    const GptqFactor factor = factor_hessian(hessian, ColumnOrder::natural, 1, 0.01);
    Layer layer = grid_layer(12, n, 24);
    const std::vector<double> loss = sweep(layer, factor);
    const Matrix weights = errors(layer.weights, std::vector<float>(layer.weights.size()), n);
    for (std::size_t r = 0; r < layer.rows; ++r) {
      const Rounded expected = r_form(damped(hessian, factor), weights.row(index(r)));
      for (std::size_t j = 0; j < n; ++j)
        EXPECT_EQ(layer.stored.codes[r * n + j], static_cast<Code>(expected.q(index(j))))
            << input_name(kind) << ", row " << r << ", column " << j;
      EXPECT_NEAR(loss[r], expected.claimed, 1e-5 * expected.claimed);  // f32 meets the grid
    }
  }
}

TEST(GptqFormsTest, DetectorsAreSilentOnRightForms) {
  for (const auto& [name, form] : right_forms()) {
    EXPECT_LT(loss_identity_violation(form, correlated(12)), kNoise) << name;
    EXPECT_LT(loss_identity_violation(form, random_second_moments(Inputs::low_rank, 64, 13)), kNoise) << name;
    EXPECT_EQ(codes_moved(form, Matrix(2.0 * Matrix::Identity(40, 40))), 0) << name;
    EXPECT_EQ(codes_moved(form, diagonal(40)), 0) << name;
  }
  for (const Form& form : {Form(inverse_cholesky), Form(down_date)})
    for (Eigen::Index j = 0; j < 12; ++j) EXPECT_LT(tail_violation(form, correlated(12), j), kNoise) << j;
}

// ---- Wrong forms are caught, and pass what is no test.

TEST(GptqFormsTest, StaleInverseIsCaughtFromTheSecondColumnOn) {
  const Matrix moments = correlated(12);
  EXPECT_GT(loss_identity_violation(stale_inverse, moments), kPlain);
  for (Eigen::Index j = 2; j < 12; ++j) EXPECT_GT(tail_violation(stale_inverse, moments, j), kPlain) << j;
  EXPECT_GT(loss_identity_violation(stale_inverse, correlated(3)), kPlain);
  // Up to the step after the first column nothing is wrong yet.
  EXPECT_LT(tail_violation(stale_inverse, moments, 1), kNoise);
  EXPECT_EQ(codes_moved(stale_inverse, diagonal(40)), 0);
  EXPECT_LT(tail_violation(stale_inverse, correlated(2), 1), kNoise);
}

TEST(GptqFormsTest, SwappedFactorsAreCaughtAtTheFirstColumn) {
  const Matrix moments = correlated(12);
  EXPECT_GT(loss_identity_violation(swapped_factors, moments), kPlain);
  EXPECT_GT(tail_violation(swapped_factors, moments, 1), kPlain);
  const Matrix identity = Matrix::Identity(12, 12);
  EXPECT_GT((moments * swapped_inverse(moments) - identity).norm(), kPlain);
  EXPECT_LT((moments * moments.inverse() - identity).norm(), kNoise);
  EXPECT_EQ(codes_moved(swapped_factors, diagonal(40)), 0);
}

TEST(GptqFormsTest, MixedDivisorsAreCaughtAtTheFirstColumn) {
  const Matrix moments = correlated(12);
  EXPECT_GT(loss_identity_violation(mixed_divisor, moments), kPlain);
  EXPECT_GT(tail_violation(mixed_divisor, moments, 1), kPlain);
  EXPECT_EQ(codes_moved(mixed_divisor, diagonal(40)), 0);
}

TEST(GptqFormsTest, EqualSharesAreCaughtWhereThereIsNothingToShare) {
  EXPECT_GT(codes_moved(equal_shares, Matrix(2.0 * Matrix::Identity(40, 40))), 40);
  EXPECT_GT(relative_loss(equal_shares, Matrix::Identity(64, 64)), 1.01);
}

TEST(GptqFormsTest, WrongFormsLoseMoreOnCorrelatedInputs) {
  for (const Inputs kind : {Inputs::correlated, Inputs::low_rank}) {
    const Matrix moments = random_second_moments(kind, 64, 31);
    const double right = relative_loss(r_form, moments);
    EXPECT_LT(right, 0.5) << input_name(kind);
    for (const auto& [name, form] : wrong_forms())
      EXPECT_GT(relative_loss(form, moments), 1.2 * right) << name << ", " << input_name(kind);
  }
}

// ---- Parameters refitted for every column, of which only the last are stored: the loss identity holds, as
// ---- for any rounding, and only reading the stored bytes shows that they say something else.

/// Decodes like khq4 and rounds with a scale and bias fitted to each value alone, which nobody stores.
class RefittingFormat final : public Format {
 public:
  std::string name() const override { return "refitting"; }
  std::string summary() const override { return "test"; }
  Layout layout(std::uint64_t columns) const override { return stored_->layout(columns); }
  bool valid(const Params&, std::span<const Code>, std::string*) const override { return true; }
  void decode(std::span<const Params> params, std::span<const Code> codes,
              std::span<float> out) const override {
    stored_->decode(params, codes, out);
  }
  void round(std::span<const Params> params, std::span<const float> values, std::span<Code> codes,
             std::span<float> out) const override {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float scale = params[i].scale * (1.0f + 0.3f * std::abs(values[i]));
      fitted.insert(scale);
      const Params own = *stored_->store(scale, params[i].bias);
      stored_->round({&own, 1}, values.subspan(i, 1), codes.subspan(i, 1), out.subspan(i, 1));
      believed.push_back(out[i]);
    }
  }
  void unpack(std::span<const Bytes>, std::span<Params>, std::span<Code>) const override {}

  mutable std::set<float> fitted;
  mutable std::vector<float> believed;  // values in the order of the calls

 private:
  FormatPtr stored_ = find_format("khq4");
};

/// The largest difference, in parts of the loss, between two opinions of what each row lost.
double disagreement(const std::vector<double>& claimed, const Eigen::VectorXd& losses) {
  double worst = 0;
  for (std::size_t r = 0; r < claimed.size(); ++r)
    worst = std::max(worst, std::abs(claimed[r] - losses(index(r))) / claimed[r]);
  return worst;
}

TEST(GptqFormsTest, ParametersThatAreNotStoredAreCaughtByReadingBack) {
  constexpr std::size_t n = 64, kRows = 8;
  const Hessian hessian = random_hessian(Inputs::correlated, n, 41);
  const GptqFactor factor = factor_hessian(hessian, ColumnOrder::natural, 1, 0.01);
  const Matrix moments = damped(hessian, factor);
  const auto refitting = std::make_shared<RefittingFormat>();
  const FormatPtr khq4 = find_format("khq4");
  for (const FormatPtr& format : {FormatPtr(refitting), khq4}) {
    const bool right = format == khq4;
    Layer layer = random_layer(khq4, kRows, n, 42);
    layer.format = format;
    const std::vector<double> claimed = sweep(layer, factor);
    if (!right) {
      // The loss identity is content with what the sweep believes of its own rounding.
      std::vector<float> believed(layer.weights.size());
      for (std::size_t i = 0; i < believed.size(); ++i)
        believed[i] = refitting->believed[i % n * kRows + i / n];
      EXPECT_LT(disagreement(claimed, row_losses(errors(layer.weights, believed, n), moments)), kNoise);
      EXPECT_GT(refitting->fitted.size(), layer.stored.params.size());
    }
    const std::vector<float> read = read_back(*khq4, layer.stored, layer.weights.size(), n);
    const double lie = disagreement(claimed, row_losses(errors(layer.weights, read, n), moments));
    EXPECT_TRUE(right ? lie < kNoise : lie > kPlain) << format->name() << ": " << lie;
    // Nor does it keep to the codes of plain rounding where there is nothing to feed back.
    Layer apart = random_layer(khq4, kRows, n, 43);
    const std::vector<Code> nearest = nearest_codes(apart);
    apart.format = format;
    sweep(apart, factor_hessian(to_hessian(Matrix::Identity(n, n)), ColumnOrder::natural, 1, 0.01));
    EXPECT_EQ(apart.stored.codes == nearest, right) << format->name();
  }
}

}  // namespace
}  // namespace assay::test
