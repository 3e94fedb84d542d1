#pragma once
// The program as a user runs it, for tests: exit code, what came on standard output and on standard error.
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/support.h"

namespace assay::test {

struct Outcome {
  int code = 0;
  std::string out, error;
};

class Program : public testing::Test {
 protected:
  Outcome run(const std::string& arguments) const {
    const std::string command = program() + " " + arguments + " >" + folder.file("stdout") + " 2>" +
                                folder.file("stderr") + " </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_bytes(folder.file("stdout")),
            read_bytes(folder.file("stderr"))};
  }
  /// An error a user can cause: exit code 1, one line, nothing on stdout.
  void expect_error(const std::string& arguments, const std::vector<std::string>& parts) const {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 1) << arguments;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
    EXPECT_EQ(outcome.out, "") << arguments;
    for (const std::string& part : parts) EXPECT_THAT(outcome.error, testing::HasSubstr(part));
  }
  TemporaryFolder folder;
  std::string demo = demo_model();
};

}  // namespace assay::test
