#pragma once
// The program, while it runs: to be sent signals.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/support.h"

namespace assay::test {

class Running {
 public:
  /// Standard error goes to the file; SIGHUP is ignored from the start where asked for.
  Running(std::vector<std::string> arguments, const std::string& error_file, bool ignore_hangup = false) {
    arguments.insert(arguments.begin(), program());
    child_ = ::fork();
    if (child_ != 0) return;
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGHUP, ignore_hangup ? SIG_IGN : SIG_DFL);
    const int null = ::open("/dev/null", O_RDWR),
              error = ::open(error_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(null, 0);
    ::dup2(null, 1);
    ::dup2(error, 2);
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  ~Running() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  void send(int signal) const { ::kill(child_, signal); }
  pid_t id() const { return child_; }
  /// Whether `condition` came true while the program ran.
  bool reaches(const std::function<bool()>& condition) const {
    while (::kill(child_, 0) == 0 && ::waitpid(child_, nullptr, WNOHANG | WNOWAIT) <= 0) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return condition();
  }
  /// The exit code, or minus the signal that ended it.
  int wait() {
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t child_ = 0;
};

}  // namespace assay::test
