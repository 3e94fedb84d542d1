#include "app/say.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <system_error>

#include "assay/base/error.h"

namespace assay::app {
namespace {

[[noreturn]] void refuse(int reason) {
  if (reason == EPIPE) throw ReaderIsGone();
  fail("standard output: cannot write: {}", std::generic_category().message(reason));
}

}  // namespace

void say_raw(std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) refuse(errno);
}

void say_raw_error(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
}

void say_generated(std::string_view text) {
  static const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  say_raw(terminal ? printable_lines(text) : std::string(text));
  if (std::fflush(stdout) != 0) refuse(errno);
}

void finish_saying() {
  if (std::fflush(stdout) != 0) refuse(errno);
  if (std::ferror(stdout) != 0) refuse(EIO);
}

void prepare_to_say() {
  // The lowest free number is taken each time. One that may not be written to makes writing an error.
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) < 0) [[maybe_unused]]
      const int opened = ::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace assay::app
