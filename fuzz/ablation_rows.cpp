// Rows of an ablation, read, decided and reported.
#include "assay/ablation/verdict.h"
#include "assay/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::vector<assay::Cell> cells =
        assay::read_cells({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const assay::AblationVerdict& verdict : assay::decide(cells, 0.001)) verdict.to_json();
    assay::ablation_report(cells, assay::decide(cells, 0.001));
  } catch (const assay::Error&) {
  }
  return 0;
}
