#include "assay/measure/paired_test.h"

#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cassert>
#include <cmath>

namespace assay {

double student_probability(double t, double degrees_of_freedom) {
  return boost::math::cdf(boost::math::students_t(degrees_of_freedom), t);
}

PairedTest paired_test(std::span<const double> differences) {
  assert(differences.size() >= 2);
  PairedTest test;
  test.pairs = differences.size();
  const auto count = static_cast<double>(test.pairs);
  for (const double difference : differences) test.mean += difference;
  test.mean /= count;
  double squares = 0;
  bool equal = true;
  for (const double difference : differences) {
    squares += (difference - test.mean) * (difference - test.mean);
    equal = equal && difference == differences.front();
  }
  if (equal) {
    test.mean = differences.front();  // the sum may have rounded
    return test;
  }
  test.deviation = std::sqrt(squares / (count - 1));
  test.standard_error = test.deviation / std::sqrt(count);
  test.t = test.mean / test.standard_error;
  test.p_below = student_probability(*test.t, test.degrees_of_freedom());
  test.p_two_sided = 2 * student_probability(-std::fabs(*test.t), test.degrees_of_freedom());
  return test;
}

Interval PairedTest::interval(double confidence) const {
  const double reach = student_quantile(0.5 + confidence / 2, degrees_of_freedom()) * standard_error;
  return {mean - reach, mean + reach};
}

double PairedTest::detectable(double power) const {
  const double threshold = student_quantile(0.95, degrees_of_freedom());
  const auto found = [&](double shift) {
    return boost::math::cdf(
        boost::math::complement(boost::math::non_central_t(degrees_of_freedom(), shift), threshold));
  };
  double low = 0, high = 1;
  while (found(high) < power) high *= 2;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    (found(middle) < power ? low : high) = middle;
  }
  return high * standard_error;
}

}  // namespace assay
