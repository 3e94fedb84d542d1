#include "assay/storage/lattice_file.h"

#include <algorithm>
#include <cassert>
#include <optional>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/formats/table.h"

namespace assay {
namespace {

constexpr std::size_t kFixedBytes = 12;  // magic, version, ndim

std::size_t header_bytes(std::uint64_t rank) {
  return 20 + 8 * static_cast<std::size_t>(rank);
}

/// Four bytes for a message: as text where they are printable, else in hex.
std::string magic_text(Bytes magic) {
  std::string text, hex;
  for (const std::byte byte : magic) {
    const int value = std::to_integer<int>(byte);
    hex += fmt::format("{:02x}", value);
    if (value > 0x20 && value < 0x7f) text += static_cast<char>(value);
  }
  return text.size() == magic.size() ? text : hex;
}

const LatticeKind& find_kind(Bytes file, const std::string& path) {
  const LatticeKind* first = lattice_kind_of_file(path);
  if (first == nullptr)
    fail("{}: not the name of a lattice tensor file (.q4, .w3, .q3 or .f16 expected)", path);

  const std::string magic = magic_text(file.first(4));
  if (magic != first->magic)
    fail("{}: magic is {}, {} expected in a {} file", path, magic, first->magic, first->extension);

  const auto version = load<std::uint32_t>(file.data() + 4);
  std::string known;
  for (const LatticeKind& kind : kLatticeKinds) {
    if (kind.extension != first->extension) continue;
    if (kind.version == version) return kind;
    known += (known.empty() ? "" : " or ") + std::to_string(kind.version);
  }
  fail("{}: {} version is {}, {} expected", path, magic, version, known);
}

/// Bytes of header and payload, or nothing when they do not fit 64 bits. The rounding up must not wrap:
/// shapes such as [2^64 - 1] would otherwise need no blocks at all.
std::optional<std::uint64_t> file_bytes(const Format& format, const Shape& shape, std::uint64_t elements) {
  const Layout layout = format.layout(shape.back());
  const auto payload =
      checked_multiply(ceil_divide(elements, layout.run), layout.planes.front().record_bytes);
  return payload ? checked_add(*payload, header_bytes(shape.size())) : std::nullopt;
}

}  // namespace

const LatticeKind* lattice_kind_of_file(std::string_view file_name) {
  const auto found = std::find_if(kLatticeKinds.begin(), kLatticeKinds.end(), [&](const LatticeKind& kind) {
    return file_name.ends_with(kind.extension);
  });
  return found == kLatticeKinds.end() ? nullptr : &*found;
}

const LatticeKind* lattice_kind_of_format(std::string_view format_name) {
  const auto found = std::find_if(kLatticeKinds.begin(), kLatticeKinds.end(), [&](const LatticeKind& kind) {
    return kind.writable && (kind.format == format_name || kind.same_bytes == format_name);
  });
  return found == kLatticeKinds.end() ? nullptr : &*found;
}

LatticeHeader parse_lattice_file(Bytes file, const std::string& path) {
  if (file.size() < kFixedBytes)
    fail("{}: {} bytes, a header needs at least {} (truncated)", path, file.size(), header_bytes(1));
  const LatticeKind& kind = find_kind(file, path);

  const auto rank = load<std::uint32_t>(file.data() + 8);
  if (rank < 1 || rank > kLatticeMaximumRank)
    fail("{}: {} dimensions, 1 to {} expected", path, rank, kLatticeMaximumRank);
  LatticeHeader header;
  header.bytes = header_bytes(rank);
  if (header.bytes > file.size())
    fail("{}: {} bytes, its header of {} dimensions needs {} (truncated)", path, file.size(), rank,
         header.bytes);

  for (std::size_t axis = 0; axis < rank; ++axis)
    header.shape.push_back(load<std::uint64_t>(file.data() + kFixedBytes + 8 * axis));
  const auto stored_count = load<std::uint64_t>(file.data() + kFixedBytes + 8 * std::size_t{rank});
  const auto elements = checked_product(header.shape);
  if (!elements) fail("{}: shape {} has more than 2^64 elements", path, shape_text(header.shape));
  if (*elements != stored_count)
    fail("{}: element count is {}, shape {} has {}", path, stored_count, shape_text(header.shape), *elements);

  for (const std::uint64_t dim : header.shape)
    if (*elements == 0 && dim > file.size())
      fail("{}: shape {} has no elements, but a dimension beyond the {} bytes of the file", path,
           shape_text(header.shape), file.size());

  header.format = find_format(kind.format);
  assert(header.format != nullptr);
  const auto needed = file_bytes(*header.format, header.shape, *elements);
  if (!needed) fail("{}: the payload of shape {} exceeds 2^64 bytes", path, shape_text(header.shape));
  // From here on every size is bounded by the file's, which fits size_t.
  if (*needed > file.size())
    fail("{}: payload is {} bytes, header needs {} (truncated)", path, file.size() - header.bytes,
         *needed - header.bytes);
  if (*needed < file.size()) fail("{}: {} bytes after the payload", path, file.size() - *needed);
  return header;
}

std::string lattice_header(const LatticeKind& kind, const Shape& shape) {
  const auto elements = checked_product(shape);
  assert(elements && !shape.empty() && shape.size() <= kLatticeMaximumRank);
  std::string header(header_bytes(shape.size()), '\0');
  const auto bytes = std::as_writable_bytes(std::span(header));
  std::copy(kind.magic.begin(), kind.magic.end(), header.begin());
  store(bytes.data() + 4, kind.version);
  store(bytes.data() + 8, static_cast<std::uint32_t>(shape.size()));
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    store(bytes.data() + kFixedBytes + 8 * axis, shape[axis]);
  store(bytes.data() + kFixedBytes + 8 * shape.size(), *elements);
  return header;
}

}  // namespace assay
