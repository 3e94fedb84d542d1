// Lattice directories. The first byte chooses what the rest is:
//   'i' quantize_index.json;  '4', 'w', '3', 'f' one .q4, .w3, .q3 or .f16 file;
//   'd' a directory, named by its index;  'a' a directory, named by a fixed architecture.
// A directory is a run of files: u8 length and name, u16 length and content.
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "assay/base/error.h"
#include "assay/storage/lattice_assembly.h"
#include "assay/storage/lattice_file.h"
#include "assay/storage/lattice_index.h"

namespace {

using namespace assay;

constexpr std::uint64_t kDecodedElements = 1 << 16;

Bytes bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// Files by name; what does not fit the form ends the directory.
std::map<std::string, std::string_view> unpack_directory(std::string_view rest) {
  std::map<std::string, std::string_view> files;
  while (!rest.empty()) {
    const std::size_t name_length = static_cast<unsigned char>(rest[0]);
    if (rest.size() < 1 + name_length + 2) break;
    const std::string name(rest.substr(1, name_length));
    rest.remove_prefix(1 + name_length);
    const std::size_t length = load<std::uint16_t>(bytes_of(rest).data());
    files[name] = rest.substr(2, length);
    rest.remove_prefix(std::min(rest.size(), 2 + length));
  }
  return files;
}

void open_directory(std::string_view packed, bool with_architecture) {
  const auto files = unpack_directory(packed);
  LatticeContents contents;
  contents.directory = "dir";
  for (const auto& [name, content] : files) {
    if (name == kLatticeIndexName)
      contents.index = content;
    else if (lattice_kind_of_file(name) != nullptr && !is_lattice_leftover(name))
      contents.weight_files.insert(name);
    else
      contents.sidecars[name] = content;
  }
  contents.open = [&](const std::string& path) {
    return LatticeBytes{bytes_of(files.at(path.substr(contents.directory.size() + 1))), nullptr};
  };
  OpenOptions options;
  if (with_architecture)
    options.architecture = [](const Json&) {
      return std::vector<ExpectedTensor>{{"a.norm.weight", {3}}, {"l.0.mlp.gate_proj.weight", {64, 32}}};
    };
  const CheckpointPtr model = assemble_lattice(contents, options);
  for (const Tensor& tensor : model->tensors)
    if (tensor.elements() <= kDecodedElements) decode_all(tensor);
}

/// A file that is accepted has the header that would be written for it.
void parse_file(std::string_view file, const std::string& path) {
  const LatticeHeader header = parse_lattice_file(bytes_of(file), path);
  const LatticeKind* kind = lattice_kind_of_format(header.format->name());
  if (kind != nullptr && lattice_header(*kind, header.shape) != file.substr(0, header.bytes)) std::abort();
}

void parse(char what, std::string_view rest) {
  switch (what) {
    case 'i':
      lattice_index_text(parse_lattice_index(rest, "index").tensors);
      break;
    case '4':
      parse_file(rest, "t.q4");
      break;
    case 'w':
      parse_file(rest, "t.w3");
      break;
    case '3':
      parse_file(rest, "t.q3");
      break;
    case 'f':
      parse_file(rest, "t.f16");
      break;
    default:
      open_directory(rest, what == 'a');
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  try {
    parse(static_cast<char>(data[0]), {reinterpret_cast<const char*>(data) + 1, size - 1});
  } catch (const assay::Error&) {  // what a bad file must lead to
  }
  return 0;
}
