#pragma once
// Which tokens of a run each matrix sees: all of them, but of an expert its visitors alone, in the order in
// which they come.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "assay/kernels/observed_ops.h"

namespace assay {

class Visitors {
 public:
  /// For the backend of the model that runs, once; the object must outlive it.
  RouteObserver observer();
  /// How many rows a matrix sees of the first `tokens` tokens.
  std::size_t among(const std::string& tensor, std::size_t tokens) const;

 private:
  std::map<int, std::size_t> routed_;                                           // tokens of a layer so far
  std::map<std::pair<int, std::uint32_t>, std::vector<std::size_t>> visitors_;  // of a layer's expert
};

}  // namespace assay
