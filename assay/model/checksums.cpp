#include "assay/model/checksums.h"

#include "assay/model/roles.h"
#include "assay/parallel/threads.h"

namespace assay {

void require_checksums(const Checkpoint& checkpoint, bool without_experts) {
  parallel_for(checkpoint.tensors.size(), [&](std::size_t i) {
    const Tensor& tensor = checkpoint.tensors[i];
    if (!tensor.checksum) return;
    const std::optional<Role> role = classify_tensor(tensor.name);
    if (without_experts && role && is_expert_matrix(*role)) return;
    require_checksum(tensor);
  });
}

}  // namespace assay
