#include "tests/support.h"

namespace assay::test {

std::string source_directory() {
  return ASSAY_SOURCE_DIR;
}

std::string program() {
  return ASSAY_PROGRAM;
}

}  // namespace assay::test
