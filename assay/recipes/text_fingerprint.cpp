#include "assay/recipes/text_fingerprint.h"

#include <openssl/evp.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "assay/base/error.h"
#include "assay/base/split_mix.h"

namespace assay {
namespace {

constexpr std::size_t kWindow = TextFingerprint::kFoundForCertain - TextFingerprint::kRun + 1;  // hashes

}  // namespace

std::vector<std::uint64_t> run_hashes(std::span<const TokenId> tokens, std::size_t length) {
  std::vector<std::uint64_t> hashes;
  if (tokens.size() < length) return hashes;
  hashes.reserve(tokens.size() - length + 1);
  // A polynomial over a window that slides: each step adds one token and takes one away.
  constexpr std::uint64_t kBase = 0x9e3779b97f4a7c15u;
  std::uint64_t power = 1, hash = 0;
  for (std::size_t i = 0; i + 1 < length; ++i) power *= kBase;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i >= length) hash -= (static_cast<std::uint64_t>(tokens[i - length]) + 1) * power;
    hash = hash * kBase + static_cast<std::uint64_t>(tokens[i]) + 1;
    if (i + 1 >= length) hashes.push_back(split_mix(hash));
  }
  return hashes;
}

void TextFingerprint::add(std::span<const TokenId> passage) {
  const std::vector<std::uint64_t> hashes = run_hashes(passage, kRun);
  if (hashes.empty()) return;
  const std::size_t window = std::min(kWindow, hashes.size());
  for (auto first = hashes.begin(); hashes.end() - first >= static_cast<std::ptrdiff_t>(window); ++first)
    if (const std::uint64_t least = *std::min_element(first, first + static_cast<std::ptrdiff_t>(window));
        hashes_.empty() || hashes_.back() != least)
      hashes_.push_back(least);
  std::ranges::sort(hashes_);
  hashes_.erase(std::unique(hashes_.begin(), hashes_.end()), hashes_.end());
}

std::size_t TextFingerprint::count_shared(std::span<const TokenId> tokens) const {
  // All runs, not only those that winnowing would keep: what the tokens end with may be a part of a run.
  return static_cast<std::size_t>(std::ranges::count_if(
      run_hashes(tokens, kRun),
      [&](const std::uint64_t hash) { return std::ranges::binary_search(hashes_, hash); }));
}

std::string TextFingerprint::to_base64() const {
  std::vector<unsigned char> bytes;
  bytes.reserve(hashes_.size() * sizeof(std::uint64_t));
  for (const std::uint64_t hash : hashes_)
    for (unsigned shift = 0; shift < 64; shift += 8)
      bytes.push_back(static_cast<unsigned char>(hash >> shift & 0xff));
  if (bytes.size() > INT_MAX / 2) fail("a text of {} fingerprints is too long", hashes_.size());
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // the encoder adds a terminating zero
  text.resize(static_cast<std::size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                                       bytes.data(), static_cast<int>(bytes.size()))));
  return text;
}

TextFingerprint TextFingerprint::from_base64(const std::string& text, const std::string& origin) {
  TextFingerprint fingerprint;
  std::vector<unsigned char> bytes(text.size());
  const int decoded = text.size() > INT_MAX / 2
                          ? -1
                          : EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(text.data()),
                                            static_cast<int>(text.size()));
  constexpr std::size_t kBytes = sizeof(std::uint64_t);
  const std::size_t count = decoded < 0 ? 0 : static_cast<std::size_t>(decoded) / kBytes;  // padding apart
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t hash = 0;
    for (std::size_t b = kBytes; b-- > 0;) hash = hash << 8 | bytes[i * kBytes + b];
    fingerprint.hashes_.push_back(hash);
  }
  // Neither blanks nor half a number nor any other order: there is one way to write it.
  if (decoded < 0 || fingerprint.to_base64() != text ||
      std::ranges::adjacent_find(fingerprint.hashes_, std::greater_equal<>()) != fingerprint.hashes_.end())
    fail("{}: \"fingerprint\" is not base64 of ascending 64-bit numbers", origin);
  return fingerprint;
}

}  // namespace assay
