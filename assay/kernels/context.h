#pragma once
// In what somebody works: on how many threads, who is told how far it is, where memory comes from, who
// computes. Whoever calls the library hands one in (LoadOptions, a request, the last argument); none of it is
// the process's, so that several work side by side and do not notice each other. A LoadedModel keeps the one
// it was loaded in, and what takes a LoadedModel works in that. What is pointed to must outlive the work.
#include "assay/base/memory_source.h"
#include "assay/base/progress.h"
#include "assay/kernels/ops.h"
#include "assay/parallel/threads.h"

namespace assay {

struct Context {
  int threads = 0;                   // 0: as the calling thread has it, all unless set_thread_count was told
  ProgressSink* progress = nullptr;  // null: nobody
  /// Of activations. Null: the heap; when a model is quantised under calibration half of what is free, and
  /// files beside the output for the rest.
  MemorySource* memory = nullptr;
  /// Who computes in models that are loaded. Calibration, sensitivities and ablations look at inputs in the
  /// host's memory and round between two matrices: they compute with cpu_ops().
  const Ops* ops = &cpu_ops();

  MemorySource& activations() const { return memory != nullptr ? *memory : heap_memory(); }
};

}  // namespace assay
