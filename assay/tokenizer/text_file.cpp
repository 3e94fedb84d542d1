#include "assay/tokenizer/text_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/utf8.h"

namespace assay {
namespace {

constexpr std::size_t kTextLimit = std::size_t{4} << 30;
constexpr double kControlShare = 0.01, kInvalidShare = 0.005;
constexpr std::size_t kFewInvalid = 3;  // a character that a cut left incomplete
constexpr std::string_view kMark = "\xEF\xBB\xBF";

/// How bytes begin that no text begins with.
struct Magic {
  std::string_view bytes;
  const char* name;
};
using namespace std::string_view_literals;
constexpr Magic kMagics[] = {{"\x1F\x8B"sv, "gzip data"},
                             {"PK\x03\x04"sv, "a zip archive"},
                             {"PK\x05\x06"sv, "a zip archive"},
                             {"\xFD"
                              "7zXZ\x00"sv,
                              "xz data"},
                             {"\x28\xB5\x2F\xFD"sv, "zstd data"},
                             {"\x04\x22\x4D\x18"sv, "lz4 data"},
                             {"7z\xBC\xAF\x27\x1C"sv, "a 7z archive"},
                             {"%PDF-"sv, "a PDF document"},
                             {"\x89PNG"sv, "a PNG image"},
                             {"\xFF\xD8\xFF"sv, "a JPEG image"},
                             {"\x93NUMPY"sv, "a NumPy array"},
                             {"\x89HDF"sv, "an HDF5 file"},
                             {"SQLite format 3\x00"sv, "a SQLite database"},
                             {"\x7F"
                              "ELF"sv,
                              "a program"},
                             // The longer mark first: UTF-32's begins with UTF-16's.
                             {"\xFF\xFE\x00\x00"sv, "UTF-32 text"},
                             {"\x00\x00\xFE\xFF"sv, "UTF-32 text"},
                             {"\xFF\xFE"sv, "UTF-16 text"},
                             {"\xFE\xFF"sv, "UTF-16 text"}};

struct ByteCounts {
  std::array<std::size_t, 4> zeros{};  // by offset modulo 4
  std::size_t control = 0;             // zeros included; not tabs, line ends, form feeds, ESC
  std::size_t invalid = 0;             // in no UTF-8 character

  std::size_t all_zeros() const { return zeros[0] + zeros[1] + zeros[2] + zeros[3]; }
};

bool is_control(unsigned char byte) {
  constexpr std::uint32_t kUsual = 1u << '\b' | 1u << '\t' | 1u << '\n' | 1u << '\v' | 1u << '\f' |
                                   1u << '\r' | 1u << 0x1B;  // colours of a terminal
  return byte < 0x20 && (kUsual >> byte & 1u) == 0;
}

ByteCounts count_bytes(std::string_view bytes) {
  ByteCounts counts;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto byte = static_cast<unsigned char>(bytes[at]);
    if (byte < 0x80) {
      counts.control += is_control(byte);
      if (byte == 0) ++counts.zeros[at % 4];
      ++at;
      continue;
    }
    const std::size_t length = decode_utf8(bytes, at).length;
    counts.invalid += length == 0;
    at += std::max<std::size_t>(length, 1);
  }
  return counts;
}

/// A header of JSON behind its length in eight bytes.
bool is_safetensors(std::string_view bytes) {
  std::uint64_t header = 0;
  if (bytes.size() < sizeof header + 2) return false;
  std::memcpy(&header, bytes.data(), sizeof header);
  return bytes[sizeof header] == '{' && header >= 2 && header <= bytes.size() - sizeof header;
}

std::string name_by_magic(std::string_view bytes) {
  for (const Magic& magic : kMagics)
    if (bytes.starts_with(magic.bytes)) return magic.name;
  // Letters alone prove nothing: "GGUF" may begin a sentence.
  const bool zero_behind = bytes.substr(0, 8).find('\0') != std::string_view::npos;
  if (bytes.starts_with("GGUF") && zero_behind) return "a GGUF file";
  if (bytes.starts_with("BZh") && bytes.substr(4).starts_with("1AY&SY")) return "bzip2 data";
  if (bytes.size() > 262 && bytes.substr(257, 5) == "ustar" && bytes[156] < '8') return "a tar archive";
  return is_safetensors(bytes) ? "a safetensors file" : "";
}

/// Wide characters without a mark: zeros that stand at the same place of each.
std::string name_by_zeros(const ByteCounts& counts, std::size_t size) {
  const auto& z = counts.zeros;
  const auto share = [&](std::size_t zeros) {
    return static_cast<double>(zeros) / static_cast<double>(size);
  };
  if (share(z[1] + z[2] + z[3]) > 0.6 || share(z[0] + z[1] + z[2]) > 0.6) return "UTF-32 text";
  const double even = share(z[0] + z[2]), odd = share(z[1] + z[3]);
  if (std::max(even, odd) > 0.25 && std::min(even, odd) < 0.05) return "UTF-16 text";
  return "";
}

}  // namespace

std::string describe_non_text(std::string_view bytes) {
  if (bytes.empty()) return "";
  if (std::string name = name_by_magic(bytes); !name.empty()) return name;
  const ByteCounts counts = count_bytes(bytes);
  if (std::string name = name_by_zeros(counts, bytes.size()); !name.empty()) return name;
  const auto size = static_cast<double>(bytes.size());
  if (static_cast<double>(counts.control) > kControlShare * size)
    return fmt::format("binary data ({} of {} bytes are control characters)", counts.control, bytes.size());
  if (counts.invalid > kFewInvalid && static_cast<double>(counts.invalid) > kInvalidShare * size)
    return fmt::format("text in another encoding, perhaps Latin-1 ({} of {} bytes are not valid UTF-8)",
                       counts.invalid, bytes.size());
  return "";
}

TextFile read_text_file(const std::string& path, bool insist) {
  TextFile file;
  file.text = read_file(path, kTextLimit);
  file.sha256 = sha256_hex(std::as_bytes(std::span<const char>(file.text.data(), file.text.size())));
  const std::string other = describe_non_text(file.text);
  if (!other.empty()) {
    if (!insist)
      fail("{}: this seems to be {}, UTF-8 text expected; --any-text takes it all the same", path, other);
    file.notes.push_back(fmt::format("taken as text with --any-text: seems to be {}", other));
  }
  if (file.text.starts_with(kMark)) {
    file.text.erase(0, kMark.size());
    file.notes.emplace_back("its UTF-8 byte-order mark was dropped");
  }
  if (file.text.empty()) fail("{}: the file is empty, text expected", path);
  if (other.empty()) {
    const ByteCounts counts = count_bytes(file.text);
    if (counts.invalid > 0)
      file.notes.push_back(
          fmt::format("{} of {} bytes are not valid UTF-8", counts.invalid, file.text.size()));
    if (counts.control > 0)
      file.notes.push_back(
          fmt::format("{} of {} bytes are control characters", counts.control, file.text.size()));
  }
  return file;
}

}  // namespace assay
