#pragma once
// Progress as a bar on stderr: where that is a terminal, erased when the work is done.
#include "assay/base/progress.h"

namespace assay::app {

/// The terminal's; draws the piece of work that has advanced last.
ProgressSink& progress_bar();

/// And draws none any more: the process ends. From any thread.
void erase_progress_bar();

}  // namespace assay::app
