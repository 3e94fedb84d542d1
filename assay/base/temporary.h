#pragma once
// What exists only while the process makes something: files and folders under temporary names beside what
// they will become. Each is locked (flock) by its process, so that what a killed run left is told from what
// another run is making, in whatever PID namespace. An interrupted process removes all of its own
// (interruption.h).
#include <string>
#include <vector>

namespace assay {

/// A new empty file or folder, removed by the destructor unless rename_to() gave it its name.
class Temporary {
 public:
  /// DESTINATION.assay-tmp-XXXXXX. `mode` as for open(2). Throws Error.
  static Temporary file(const std::string& destination, unsigned mode = 0644);
  /// .NAME.assay-tmp-XXXXXX beside the destination. Throws Error.
  static Temporary folder(const std::string& destination);
  ~Temporary();
  Temporary(Temporary&& other) noexcept;
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  Temporary& operator=(Temporary&&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }  // a file's is open for writing
  void rename_to(const std::string& destination);

 private:
  Temporary(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  static Temporary create(const std::string& destination, const std::string& prefix, bool folder,
                          unsigned mode);
  std::string path_;  // empty when there is nothing to remove
  int descriptor_;
};

/// The folder that an output goes into, made with those above it where they are missing. What was made goes
/// again, with this or with an interrupted process, if it is still empty.
class MadeFolders {
 public:
  explicit MadeFolders(const std::string& path);  // throws Error
  ~MadeFolders();
  MadeFolders(const MadeFolders&) = delete;
  MadeFolders& operator=(const MadeFolders&) = delete;

 private:
  MadeFolders() = default;
  std::vector<std::string> made_;  // the outermost first
};

/// A file without a name in `directory`, open for reading and writing; -1 and errno when it cannot be made.
int open_unnamed_file(const std::string& directory);

/// A line for standard error, printed when the process is interrupted while the note lives.
class InterruptionNote {
 public:
  explicit InterruptionNote(std::string line);
  ~InterruptionNote();
  InterruptionNote(const InterruptionNote&) = delete;
  InterruptionNote& operator=(const InterruptionNote&) = delete;
};

/// For a process that ends at once: removes everything temporary of this process, and lets nobody make,
/// rename or remove any from here on (they wait for ever). Returns the notes.
std::string remove_temporaries_and_stop();

/// Returns unless the process is being ended; then never.
void wait_if_ending();

}  // namespace assay
