#include "assay/base/dtype.h"

#include <array>

namespace assay {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  std::size_t bytes;
};
constexpr std::array<Row, 15> kRows = {{{DType::BOOL, "BOOL", 1},
                                        {DType::U8, "U8", 1},
                                        {DType::I8, "I8", 1},
                                        {DType::F8_E4M3, "F8_E4M3", 1},
                                        {DType::F8_E5M2, "F8_E5M2", 1},
                                        {DType::U16, "U16", 2},
                                        {DType::I16, "I16", 2},
                                        {DType::F16, "F16", 2},
                                        {DType::BF16, "BF16", 2},
                                        {DType::U32, "U32", 4},
                                        {DType::I32, "I32", 4},
                                        {DType::F32, "F32", 4},
                                        {DType::U64, "U64", 8},
                                        {DType::I64, "I64", 8},
                                        {DType::F64, "F64", 8}}};

}  // namespace

std::size_t dtype_size(DType dtype) {
  return kRows[static_cast<std::size_t>(dtype)].bytes;
}

std::string_view dtype_name(DType dtype) {
  return kRows[static_cast<std::size_t>(dtype)].name;
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const Row& row : kRows)
    if (row.name == name) return row.dtype;
  return std::nullopt;
}

}  // namespace assay
