#pragma once
// What every test program needs: temporary folders, hex, the project's data, the shared references.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace assay::test {

/// A folder under the system's temporary directory, removed at the end of the scope.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "assay-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline void write_bytes(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

inline std::string to_hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes) {
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return hex;
}

/// The checkout, and the program that was built from it (paths.cpp: the one source that depends on where they
/// lie).
std::string source_directory();
std::string program();

/// A file or folder of the project.
inline std::string project(const std::string& relative) {
  return source_directory() + "/" + relative;
}
/// The bundled model: a trained Qwen3 of 5.2 M parameters.
inline std::string demo_model() {
  return project("models/demo");
}

/// The shared references (models, texts, outputs of other implementations), which lie beside the checkout.
inline std::string shared(const std::string& relative) {
  return project("../shared/" + relative);
}

/// Lines of made-up words; texts of different seeds have no long passage in common.
inline std::string made_up_text(unsigned seed, int lines) {
  std::mt19937 random(seed);
  std::string text;
  for (int line = 0; line < lines; ++line) {
    for (unsigned word = 0; word < 5 + random() % 10; ++word) {
      for (unsigned letter = 0; letter < 2 + random() % 7; ++letter)
        text += static_cast<char>('a' + random() % 26);
      text += word % 6 == 5 ? ", " : " ";
    }
    text += "end.\n";
  }
  return text;
}

}  // namespace assay::test

/// Skips the test, aloud, when a shared reference is missing; fails instead when ASSAY_REQUIRE_SHARED=1.
#define ASSAY_NEEDS_SHARED(relative)                                                                  \
  if (!std::filesystem::exists(assay::test::shared(relative))) {                                      \
    if (std::getenv("ASSAY_REQUIRE_SHARED") != nullptr) FAIL() << "missing ../shared/" << (relative); \
    GTEST_SKIP() << "needs ../shared/" << (relative);                                                 \
  }                                                                                                   \
  static_assert(true, "")

/// The statement throws assay::Error whose message contains every one of the given substrings.
#define EXPECT_ERROR(statement, ...)                                       \
  try {                                                                    \
    statement;                                                             \
    ADD_FAILURE() << "no Error thrown";                                    \
  } catch (const assay::Error& problem) {                                  \
    for (const std::string& part : std::vector<std::string>{__VA_ARGS__})  \
      EXPECT_NE(std::string(problem.what()).find(part), std::string::npos) \
          << "message: " << problem.what() << "\nlacks: " << part;         \
  }                                                                        \
  static_assert(true, "")
