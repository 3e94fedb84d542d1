#pragma once
// How a process ends that is told to: SIGINT, SIGTERM and SIGHUP remove what is temporary (temporary.h) and
// exit with 128 + the signal's number. Only main asks for it; a library does not touch signals.

namespace assay {

/// From here on. Signals that the process was started to ignore (nohup) stay ignored; a second one ends at
/// once. `clear`: called before anything is printed, when work may still go on (a progress bar goes).
void watch_interruptions(void (*clear)() = nullptr);

/// Ends likewise with `code`, from inside a signal handler; at once where nobody watches. Async-signal-safe.
[[noreturn]] void end_from_handler(int code) noexcept;

}  // namespace assay
