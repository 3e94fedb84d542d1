#include "assay/tokenizer/character_map.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/utf8.h"

namespace assay {
namespace {

constexpr int kLongestKey = 256;     // bytes of a key
constexpr std::size_t kGrowth = 16;  // U+FDFA, 3 bytes, becomes 33 under NFKC: nothing grows more
constexpr int kMostLeaves = 32;  // prefixes of a key that are keys too: what libsentencepiece has room for

/// Each unit of the trie is 32 bits; child c of the node at i lies at i ^ offset ^ c. Where the node ends a
/// key, child 0 is no node but holds where the key's replacement starts.
class CharacterMap {
 public:
  CharacterMap(std::string_view bytes, const std::string& origin) : origin_(origin) {
    std::uint32_t size = 0;
    if (bytes.size() <= sizeof size) refuse("is too short");
    std::memcpy(&size, bytes.data(), sizeof size);
    bytes.remove_prefix(sizeof size);
    if (size >= bytes.size() || size == 0 || size % sizeof(std::uint32_t) != 0)
      refuse("has a table of an impossible size");
    units_.resize(size / sizeof(std::uint32_t));
    std::memcpy(units_.data(), bytes.data(), size);
    replacements_ = bytes.substr(size);
    if (replacements_.back() != '\0') refuse("has a replacement that does not end");
    leaves_.resize(units_.size(), kUnseen);
  }

  std::size_t check() {
    leaves_below(0, 0);
    const std::size_t growth = largest_growth();
    for (std::size_t at = 0; at < replacements_.size();) {
      const std::string_view text = replacements_.substr(at, replacements_.find('\0', at) - at);
      if (valid_utf8_prefix(text) != text.size()) refuse("has a replacement that is not UTF-8");
      at += text.size() + 1;
    }
    return growth;
  }

 private:
  static constexpr signed char kUnseen = -1, kOpen = -2;

  [[noreturn]] void refuse(const char* reason) const {
    fail("{}: the normalizer's character map {}", origin_, reason);
  }

  static std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
  static bool ends_key(std::uint32_t unit) { return ((unit >> 8) & 1u) == 1; }

  /// Most ends of keys on any way down from the node. Ways may meet (the trie shares tails) but never close a
  /// circle.
  int leaves_below(std::size_t node, int depth) {  // recursion: kLongestKey levels
    if (leaves_[node] == kOpen || depth > kLongestKey) refuse("has a key without end");
    if (leaves_[node] != kUnseen) return leaves_[node];
    leaves_[node] = kOpen;
    const std::size_t first = node ^ offset(units_[node]);
    if ((first | 0xFFu) >= units_.size()) refuse("points outside its table");
    int most = 0;
    for (std::uint32_t label = 1; label < 256; ++label)
      if ((units_[first ^ label] & 0x800000FFu) == label)
        most = std::max(most, leaves_below(first ^ label, depth + 1));
    if (ends_key(units_[node])) {
      check_replacement(units_[first] & 0x7FFFFFFFu);
      ++most;
    }
    if (most > kMostLeaves) refuse("has too many keys that begin alike");
    leaves_[node] = static_cast<signed char>(most);
    return most;
  }

  /// Walks down breadth first, so that a node that several keys lead to is met by the shortest.
  std::size_t largest_growth() const {
    std::size_t growth = 1;
    std::vector<std::size_t> level{0}, next;
    std::vector<bool> seen(units_.size());
    for (std::size_t depth = 0; !level.empty(); ++depth, level.swap(next)) {
      next.clear();
      for (const std::size_t node : level) {
        const std::size_t first = node ^ offset(units_[node]);
        if (depth > 0 && ends_key(units_[node])) {
          const std::size_t at = units_[first] & 0x7FFFFFFFu;
          const std::size_t length = replacements_.substr(at, kGrowth * depth + 1).find('\0');
          if (length == std::string_view::npos) refuse("makes a text grow more than sixteenfold");
          growth = std::max(growth, ceil_divide(length, depth));
        }
        for (std::uint32_t label = 1; label < 256; ++label) {
          const std::size_t child = first ^ label;
          if ((units_[child] & 0x800000FFu) != label || seen[child]) continue;
          seen[child] = true;
          next.push_back(child);
        }
      }
    }
    return growth;
  }

  void check_replacement(std::size_t at) const {
    if (at >= replacements_.size() || (at > 0 && replacements_[at - 1] != '\0'))
      refuse("points outside its replacements");
  }

  const std::string& origin_;
  std::vector<std::uint32_t> units_;
  std::string_view replacements_;
  std::vector<signed char> leaves_;  // by node
};

}  // namespace

std::size_t check_character_map(std::string_view bytes, const std::string& origin) {
  return CharacterMap(bytes, origin).check();
}

}  // namespace assay
