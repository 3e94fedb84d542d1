#include "assay/base/temporary.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "assay/base/error.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

constexpr const char* kMark = ".assay-tmp-";
constexpr std::size_t kLetters = 6;
constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";

/// Everything temporary of this process. Never destroyed: a thread that ends the process looks at it last.
struct Registry {
  std::mutex mutex;  // held by whoever makes, renames or removes
  std::set<std::string> paths;
  std::vector<std::string> folders;  // made for an output, the outermost first
  std::vector<std::pair<const void*, std::string>> notes;
  std::map<std::string, std::vector<std::string>>
      leftovers;  // by folder, as found when it was first looked at
};

Registry& registry() {
  static auto* const all = new Registry;
  return *all;
}

std::string random_letters() {
  static std::random_device device;
  std::string letters;
  for (std::size_t i = 0; i < kLetters; ++i) letters += kAlphabet[device() % kAlphabet.size()];
  return letters;
}

/// Whether the path still names what is open.
bool names(const std::string& path, int descriptor) {
  struct stat named {
  }, opened{};
  return ::lstat(path.c_str(), &named) == 0 && ::fstat(descriptor, &opened) == 0 &&
         named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

/// Letters as above, or the process id that earlier versions put there.
bool is_our_suffix(std::string_view suffix) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return !suffix.empty() &&
         (std::ranges::all_of(suffix, digit) ||
          (suffix.size() == kLetters && suffix.find_first_not_of(kAlphabet) == std::string_view::npos));
}

/// Removes `path` unless a process that lives has locked it.
void sweep(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return;
  struct stat status {};
  if (::fstat(file, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) &&
      ::flock(file, LOCK_EX | LOCK_NB) == 0 && names(path, file)) {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  ::close(file);
}

std::string folder_of(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

/// What killed runs left of this output. A folder is listed once: thousands of files may be written into it.
void sweep_leftovers(const std::string& prefix) {
  auto [entry, fresh] = registry().leftovers.try_emplace(folder_of(prefix));
  std::error_code problem;
  if (fresh)
    for (fs::directory_iterator at(entry->first, problem), end; !problem && at != end; at.increment(problem))
      if (const std::string name = at->path().filename().string(); name.find(kMark) != std::string::npos)
        entry->second.push_back(name);
  const std::string wanted = fs::path(prefix).filename().string();
  for (const std::string& name : entry->second)
    if (name.starts_with(wanted) && is_our_suffix(std::string_view(name).substr(wanted.size())))
      sweep((fs::path(entry->first) / name).string());
}

void remove_path(const std::string& path) {
  std::error_code problem;
  constexpr int kTries = 100;  // threads that do not know yet may go on writing into a folder
  for (int i = 0; i < kTries; ++i)
    if (fs::remove_all(path, problem); !problem) return;
}

}  // namespace

Temporary Temporary::create(const std::string& destination, const std::string& prefix, bool folder,
                            unsigned mode) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  sweep_leftovers(prefix);
  constexpr int kTries = 1000;
  for (int i = 0; i < kTries; ++i) {
    std::string path = prefix + random_letters();
    int descriptor = -1;
    bool made = true;
    if (folder) {
      made = ::mkdir(path.c_str(), 0777) == 0;
      if (made) descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    } else {
      descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    }
    if (descriptor < 0) {
      if (errno == EEXIST || (folder && made && errno == ENOENT)) continue;  // there; or swept already
      fail("{}: cannot create a temporary {} beside it: {}", destination, folder ? "folder" : "file",
           std::generic_category().message(errno));
    }
    // Another run may have taken it for a leftover before it was locked. Where locks are not supported nobody
    // sweeps either.
    const bool taken = ::flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (taken || !names(path, descriptor)) {
      ::close(descriptor);
      continue;
    }
    all.paths.insert(path);
    return {std::move(path), descriptor};
  }
  fail("{}: cannot create a temporary name beside it", destination);
}

Temporary Temporary::file(const std::string& destination, unsigned mode) {
  return create(destination, destination + kMark, false, mode);
}

Temporary Temporary::folder(const std::string& destination) {
  const fs::path path(destination);
  const std::string name = "." + path.filename().string() + kMark;
  return create(destination, (fs::path(folder_of(destination)) / name).string(), true, 0);
}

Temporary::Temporary(Temporary&& other) noexcept
    : path_(std::exchange(other.path_, {})), descriptor_(std::exchange(other.descriptor_, -1)) {}

Temporary::~Temporary() {
  if (!path_.empty()) {
    const std::lock_guard lock(registry().mutex);
    std::error_code ignored;
    fs::remove_all(path_, ignored);
    registry().paths.erase(path_);
  }
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Temporary::rename_to(const std::string& destination) {
  const std::lock_guard lock(registry().mutex);
  if (::rename(path_.c_str(), destination.c_str()) != 0)
    fail("{}: cannot rename {} to it: {}", destination, path_, std::generic_category().message(errno));
  registry().paths.erase(path_);
  path_.clear();
}

// Delegating: what was made before a failure goes with the destructor.
MadeFolders::MadeFolders(const std::string& path) : MadeFolders() {
  std::vector<std::string> missing;
  std::error_code problem;
  for (fs::path at = path; !at.empty() && !fs::exists(at, problem); at = at.parent_path())
    missing.push_back(at.string());
  const std::lock_guard lock(registry().mutex);
  for (; !missing.empty(); missing.pop_back()) {
    const std::string& folder = missing.back();
    if (::mkdir(folder.c_str(), 0777) == 0) {
      made_.push_back(folder);
      registry().folders.push_back(folder);
    } else if (errno != EEXIST) {
      fail("{}: cannot create the folder: {}", folder, std::generic_category().message(errno));
    }
  }
  if (!fs::is_directory(path, problem)) fail("{}: not a folder", path);
}

MadeFolders::~MadeFolders() {
  const std::lock_guard lock(registry().mutex);
  for (; !made_.empty(); made_.pop_back()) {
    ::rmdir(made_.back().c_str());  // only where it is empty
    std::erase(registry().folders, made_.back());
  }
}

int open_unnamed_file(const std::string& directory) {
  if (const int file = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); file >= 0)
    return file;
  const std::lock_guard lock(
      registry().mutex);  // a file system without: no interruption between the two calls
  std::string path = directory + "/.assay-unnamed-XXXXXX";
  const int file = ::mkostemp(path.data(), O_CLOEXEC);
  if (file >= 0) ::unlink(path.c_str());
  return file;
}

InterruptionNote::InterruptionNote(std::string line) {
  const std::lock_guard lock(registry().mutex);
  registry().notes.emplace_back(this, std::move(line));
}

InterruptionNote::~InterruptionNote() {
  const std::lock_guard lock(registry().mutex);
  std::erase_if(registry().notes, [this](const auto& note) { return note.first == this; });
}

std::string remove_temporaries_and_stop() {
  Registry& all = registry();
  all.mutex.lock();  // and never unlocked
  for (const std::string& path : all.paths) remove_path(path);
  for (; !all.folders.empty(); all.folders.pop_back()) ::rmdir(all.folders.back().c_str());
  std::string notes;
  for (const auto& [owner, line] : all.notes) notes += line + "\n";
  return notes;
}

void wait_if_ending() {
  const std::lock_guard lock(registry().mutex);
}

}  // namespace assay
