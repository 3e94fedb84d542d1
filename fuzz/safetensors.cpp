// A whole safetensors file; or, when the input begins like JSON, the index of a directory with two fixed
// shards.
#include "assay/storage/safetensors.h"

#include "assay/base/error.h"
#include "fuzz/temporary_directory.h"

namespace {

void read_file_of(assay::Bytes file) {
  for (const assay::SafetensorsEntry& entry : assay::parse_safetensors_header(file, "fuzz")) {
    const assay::StoredArray array{.dtype = entry.dtype,
                                   .shape = entry.shape,
                                   .bytes = file.subspan(entry.begin, entry.end - entry.begin),
                                   .file = "fuzz",
                                   .owner = nullptr};
    assay::decode_all(assay::plain_tensor(entry.name, array));
  }
}

void read_index(std::string_view index) {
  static const assay::fuzz::TemporaryDirectory directory;
  static const bool once = [] {
    const std::string x =
        assay::fuzz::zero_safetensors(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
    directory.write("a.safetensors", x);
    directory.write("again.safetensors", x);
    directory.write("b.safetensors", assay::fuzz::zero_safetensors(
                                         R"({"y":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", 8));
    std::filesystem::create_symlink("/dev/null", directory.path() + "/link.safetensors");
    return true;
  }();
  static_cast<void>(once);
  directory.write(assay::kSafetensorsIndex, index);
  assay::open_safetensors_directory(directory.path());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    if (text.starts_with('{'))
      read_index(text);
    else
      read_file_of(std::as_bytes(std::span(data, size)));
  } catch (const assay::Error&) {
  }
  return 0;
}
