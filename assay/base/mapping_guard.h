#pragma once
// Reading a page of a mapped file that has shrunk raises SIGBUS. The guard knows all mappings, so that the
// process ends with a message that names the file, not with a core dump, and never with a made-up value.
#include "assay/base/file.h"

namespace assay {

void guard_mapping(const MappedFile* file);
void release_mapping(const MappedFile* file);

}  // namespace assay
