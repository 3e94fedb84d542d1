#include "assay/base/checksum.h"

#include <xxhash.h>

#include <memory>
#include <new>

namespace assay {

std::uint64_t checksum_of(std::span<const Bytes> pieces) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  if (!state) throw std::bad_alloc();
  XXH3_64bits_reset(state.get());
  for (const Bytes piece : pieces) XXH3_64bits_update(state.get(), piece.data(), piece.size());
  return XXH3_64bits_digest(state.get());
}

}  // namespace assay
