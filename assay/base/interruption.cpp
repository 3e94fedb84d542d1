#include "assay/base/interruption.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <string>
#include <thread>

#include "assay/base/error.h"
#include "assay/base/printable.h"
#include "assay/base/temporary.h"

namespace assay {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};

std::atomic<int> bell{-1};  // a pipe: handlers write an exit code, the watching thread reads it

void ring(int code) noexcept {
  const auto byte = static_cast<unsigned char>(code);
  [[maybe_unused]] const ssize_t written = ::write(bell, &byte, 1);
}

void on_signal(int signal) {
  const int kept = errno;
  ring(128 + signal);
  errno = kept;
}

const char* name_of(int signal) {
  return signal == SIGINT ? "SIGINT" : signal == SIGTERM ? "SIGTERM" : "SIGHUP";
}

void put(const std::string& text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

void watch(int pipe, void (*clear)()) {
  unsigned char code = 0;
  while (::read(pipe, &code, 1) != 1) {
  }
  const std::string notes = remove_temporaries_and_stop();
  if (clear != nullptr) clear();
  if (code > 128) put(std::string("assay: interrupted by ") + name_of(code - 128) + "\n");
  put(printable_lines(notes));
  ::_exit(code);
}

}  // namespace

void watch_interruptions(void (*clear)()) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0)
    fail("cannot make a pipe: {}", std::generic_category().message(errno));
  std::thread(watch, pipe[0], clear).detach();
  bell = pipe[1];
  for (const int signal : kSignals) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = on_signal;
    action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
    ::sigemptyset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
  }
}

void end_from_handler(int code) noexcept {
  if (bell < 0) ::_exit(code);
  ring(code);
  while (true) ::pause();
}

}  // namespace assay
