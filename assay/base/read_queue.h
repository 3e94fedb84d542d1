#pragma once
// Reads of files in the background: io_uring (liburing) where the kernel allows it, else a pool of threads
// that pread. One thread submits and waits.
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "assay/base/bytes.h"

namespace assay {

/// One range of a file and where it goes. `into` may reach behind the end of the file, when direct reads
/// round up: `required` of its bytes must come. The memory must live until the job is done.
struct ReadRequest {
  int descriptor = -1;
  std::uint64_t offset = 0;
  MutableBytes into;
  std::size_t required = 0;
};

/// How a job ended.
struct ReadOutcome {
  std::uint64_t job = 0;
  int error = 0;             // errno of the first read that failed
  bool ended_early = false;  // a file had fewer bytes than required
  bool good() const { return error == 0 && !ended_early; }
};

class ReadQueue {
 public:
  virtual ~ReadQueue() = default;
  /// Starts the reads of one job. `job` is the caller's name for it. Throws Error when the kernel refuses.
  virtual void submit(std::uint64_t job, std::span<const ReadRequest> requests) = 0;
  /// The next job of those submitted that has ended, well or not; waits for it. At least one must be on its
  /// way.
  virtual ReadOutcome wait() = 0;
  virtual std::string name() const = 0;  // as printed: "io_uring"
};

enum class ReadBackend { automatic, io_uring, threads };

/// Throws Error when io_uring is asked for and the kernel refuses it; automatic then takes threads.
std::unique_ptr<ReadQueue> make_read_queue(ReadBackend backend = ReadBackend::automatic);

}  // namespace assay
