#pragma once
// Which format each tensor gets when the bytes are given: a multiple-choice knapsack, solved exactly in
// steps of the bytes that the sizes have in common (coarser where those are too many) by dynamic programming.
#include <cstddef>
#include <cstdint>
#include <vector>

namespace assay {

/// One format for one tensor (or group of tensors that must share it).
struct Choice {
  std::uint64_t bytes = 0;
  double damage = 0;  // what it adds to the model's loss, in any unit that adds up
};

/// Damage as a function of bytes made non-increasing: noise in a measurement must not make more bytes look
/// worse, or a solver will exploit it. Least squares (pool adjacent violators), in order of bytes.
void make_monotone(std::vector<Choice>& choices);

/// The choice of every item, least damage in all with at most `budget` bytes; ties go to fewer bytes, then to
/// the earlier choice. Memory: some twice the square root of the number of items in rows of 65,537 numbers
/// at most, a tenth of a gigabyte for 18,432 matrices; what fell between those rows is computed again.
/// Throws Error when even the smallest choices exceed the budget.
std::vector<std::size_t> allocate(const std::vector<std::vector<Choice>>& items, std::uint64_t budget);

}  // namespace assay
