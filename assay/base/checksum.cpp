#include "assay/base/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <memory>
#include <new>

#include "assay/base/error.h"

namespace assay {
namespace {

using State = std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)>;

State new_state() {
  State state(XXH3_createState(), XXH3_freeState);
  if (!state) throw std::bad_alloc();
  return state;
}

/// Keys sorted, numbers as short as they go: the same for what was written and what is read.
std::string seal_of(const Json& object) {
  Json content = object;
  content.erase(kSealKey);
  const std::string text = content.dump(-1, ' ', false, Json::error_handler_t::replace);
  const Bytes bytes = std::as_bytes(std::span(text.data(), text.size()));
  return checksum128_hex({&bytes, 1});
}

}  // namespace

std::uint64_t checksum_of(std::span<const Bytes> pieces) {
  const State state = new_state();
  XXH3_64bits_reset(state.get());
  for (const Bytes piece : pieces) XXH3_64bits_update(state.get(), piece.data(), piece.size());
  return XXH3_64bits_digest(state.get());
}

std::string checksum128_hex(std::span<const Bytes> pieces) {
  const State state = new_state();
  XXH3_128bits_reset(state.get());
  for (const Bytes piece : pieces) XXH3_128bits_update(state.get(), piece.data(), piece.size());
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

OrderedJson sealed(OrderedJson object) {
  object[kSealKey] = seal_of(Json::parse(object.dump(-1, ' ', false, OrderedJson::error_handler_t::replace)));
  return object;
}

void require_seal(const Json& object, const std::string& origin) {
  const auto seal = json_get<std::string>(object, kSealKey, origin);
  if (seal != seal_of(object))
    fail("{}: its content does not have its checksum \"{}\": damaged, or edited", origin, kSealKey);
}

}  // namespace assay
