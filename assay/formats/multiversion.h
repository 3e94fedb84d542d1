#pragma once
// One plain loop for several instruction sets: written once, compiled for each, called at the level in use
// (base/isa.h). No version may fuse a product with a sum (-ffp-contract=off), so all of them give the same
// bits; tests/formats/multiversion_test.cpp and its like hold them to it.
//
//   ASSAY_LOOP void scale_loop(float* values, std::size_t n, float by) { ... }
//   constexpr Multiversion<scale_loop> scale;
#include "assay/base/isa.h"

/// The loop itself: it must become part of each of its versions.
#define ASSAY_LOOP [[gnu::always_inline]] inline

namespace assay {

template <auto Loop>
class Multiversion;

template <class Result, class... Arguments, Result (*Loop)(Arguments...)>
class Multiversion<Loop> {
 public:
  Result operator()(Arguments... arguments) const {
#if defined(__x86_64__)
    switch (isa_in_use()) {
      case Isa::avx512:
        return avx512(arguments...);
      case Isa::avx2:
        return avx2(arguments...);
      case Isa::baseline:
      case Isa::neon:
        break;
    }
#endif
    return baseline(arguments...);
  }

  using Pointer = Result (*)(Arguments...);
  /// For tables of functions.
  constexpr operator Pointer() const {
    return [](Arguments... arguments) { return Multiversion()(arguments...); };
  }

 private:
  static Result baseline(Arguments... arguments) {
    return Loop(arguments...);
  }
#if defined(__x86_64__)
  [[gnu::target("arch=x86-64-v3")]] static Result avx2(Arguments... arguments) {
    return Loop(arguments...);
  }
  [[gnu::target("arch=x86-64-v4")]] static Result avx512(Arguments... arguments) {
    return Loop(arguments...);
  }
#endif
};

}  // namespace assay
