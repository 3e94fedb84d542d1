#include "assay/base/mapping_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <mutex>

#include "assay/base/error.h"
#include "assay/base/interruption.h"

namespace assay {
namespace {

// Linux maps no more (vm.max_map_count). A fixed array, because a signal handler may take no lock.
constexpr std::size_t kMaxMappings = 65536;
std::array<std::atomic<const MappedFile*>, kMaxMappings> mappings;
std::atomic<std::size_t> used{0};  // slots that were ever taken
std::mutex slots;                  // guards the taking of slots

const MappedFile* find_mapping(const std::byte* at) {
  const std::size_t count = used.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    const MappedFile* file = mappings[i].load(std::memory_order_acquire);
    if (file == nullptr) continue;
    const Bytes bytes = file->bytes();
    if (at >= bytes.data() && at < bytes.data() + bytes.size()) return file;
  }
  return nullptr;
}

void put(const char* text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
}

/// Nothing that a terminal obeys; a handler may not allocate.
void put_printable(const std::string& text) {
  for (const char c : text) {
    const char shown[] = {c < ' ' || c > '~' ? '?' : c, '\0'};
    put(shown);
  }
}

void end_with_message(int signal, siginfo_t* info, void*) {
  const MappedFile* file = find_mapping(static_cast<const std::byte*>(info->si_addr));
  if (file == nullptr) {  // not ours: as if there were no handler
    ::signal(signal, SIG_DFL);
    return;
  }
  put("assay: ");
  put_printable(file->path());
  put(": cannot be read any more: it shrank, or its disk failed, while in use\n");
  end_from_handler(1);
}

}  // namespace

void end_with_message_on_lost_pages() {
  struct sigaction action {};
  action.sa_sigaction = end_with_message;
  action.sa_flags = SA_SIGINFO;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

void guard_mapping(const MappedFile* file) {
  const std::lock_guard lock(slots);
  const std::size_t count = used.load();
  std::size_t slot = 0;
  while (slot < count && mappings[slot].load() != nullptr) ++slot;
  if (slot == kMaxMappings) fail("{}: more than {} files are mapped", file->path(), kMaxMappings);
  mappings[slot].store(file, std::memory_order_release);
  used.store(std::max(count, slot + 1), std::memory_order_release);
}

void release_mapping(const MappedFile* file) {
  const std::lock_guard lock(slots);
  const std::size_t count = used.load();
  for (std::size_t i = 0; i < count; ++i)
    if (mappings[i].load() == file) {
      mappings[i].store(nullptr, std::memory_order_release);
      return;
    }
}

const MappedFile* mapped_file_of(Bytes bytes) {
  return find_mapping(bytes.data());
}

void leave_mapped_pages(Bytes bytes) {
  if (bytes.empty() || mapped_file_of(bytes) == nullptr) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  // Whole pages: the first begins at or behind the first byte.
  const std::size_t skipped = (page - reinterpret_cast<std::uintptr_t>(bytes.data()) % page) % page;
  if (skipped >= bytes.size()) return;
  const std::size_t length = (bytes.size() - skipped) / page * page;
  // The mapping is private, read-only and of a file: what is read again comes from there. Advice may be
  // refused.
  if (length > 0) ::madvise(const_cast<std::byte*>(bytes.data() + skipped), length, MADV_DONTNEED);
}

}  // namespace assay
