#pragma once
// Arithmetic for sizes that come from files: nothing wraps, nothing narrows silently.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace assay {

/// a * b, or nothing when the product does not fit 64 bits.
inline std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// a + b, or nothing when the sum does not fit 64 bits.
inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// Product of all dims (1 for none), or nothing on overflow. A zero dim gives 0 even beside huge ones.
inline std::optional<std::uint64_t> checked_product(std::span<const std::uint64_t> dims) {
  std::uint64_t product = 1;
  for (std::uint64_t dim : dims)
    if (dim == 0) return 0;
  for (std::uint64_t dim : dims) {
    const auto next = checked_multiply(product, dim);
    if (!next) return std::nullopt;
    product = *next;
  }
  return product;
}

/// ceil(n / d) without the overflow of (n + d - 1) / d.
constexpr std::uint64_t ceil_divide(std::uint64_t n, std::uint64_t d) {
  return n / d + (n % d != 0 ? 1 : 0);
}

}  // namespace assay
