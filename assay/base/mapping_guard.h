#pragma once
// Reading a page of a mapped file that has shrunk raises SIGBUS. The guard knows all mappings, so that a
// process can end with a message that names the file, not with a core dump, and never with a made-up value.
#include "assay/base/file.h"

namespace assay {

/// For main: from here on that signal ends the process so. A library leaves signals to its program.
void end_with_message_on_lost_pages();

void guard_mapping(const MappedFile* file);
void release_mapping(const MappedFile* file);

}  // namespace assay
