#include "assay/base/float_buffer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/temporary.h"

namespace assay {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::uint64_t kNoBudget = std::numeric_limits<std::uint64_t>::max();

std::string spill_directory;  // read by buffers, written by scopes: steps of one thread
std::atomic<std::uint64_t> budget{kNoBudget};
std::atomic<std::uint64_t> in_memory{0};  // bytes of buffers alive
std::atomic<std::uint64_t> in_files{0};   // ever

float* map_unnamed_file(std::size_t bytes) {
  const int file = open_unnamed_file(spill_directory);
  if (file < 0) fail("{}: cannot make a file for activations: {}", spill_directory, std::strerror(errno));
  // Allocated, not just sized: a disk that fills up later would kill the process on a page fault.
  const int problem = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
  void* data =
      problem == 0 ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  const int reason = problem != 0 ? problem : errno;
  ::close(file);
  if (data == MAP_FAILED)
    fail("{}: no room for {} bytes of activations: {}", spill_directory, bytes, std::strerror(reason));
  in_files += bytes;
  return static_cast<float*>(data);
}

}  // namespace

FloatBuffer::FloatBuffer(std::size_t count) : count_(count) {
  if (count == 0) return;
  if (count > std::numeric_limits<std::size_t>::max() / sizeof(float) / 2) throw std::bad_alloc();
  const std::size_t bytes = count * sizeof(float);
  if (budget != kNoBudget && in_memory + bytes > budget) {
    data_ = map_unnamed_file(bytes);
    mapped_ = true;
    return;
  }
  data_ = static_cast<float*>(::operator new (bytes, std::align_val_t{kAlignment}));
  in_memory += bytes;
}

void FloatBuffer::release() {
  if (data_ == nullptr) return;
  if (mapped_) {
    ::munmap(data_, count_ * sizeof(float));
  } else {
    ::operator delete (data_, std::align_val_t{kAlignment});
    in_memory -= count_ * sizeof(float);
  }
  data_ = nullptr;
  count_ = 0;
  mapped_ = false;
}

FloatBuffer::FloatBuffer(FloatBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      count_(std::exchange(other.count_, 0)),
      mapped_(std::exchange(other.mapped_, false)) {}

FloatBuffer& FloatBuffer::operator=(FloatBuffer&& other) noexcept {
  if (this == &other) return *this;
  release();
  data_ = std::exchange(other.data_, nullptr);
  count_ = std::exchange(other.count_, 0);
  mapped_ = std::exchange(other.mapped_, false);
  return *this;
}

SpillScope::SpillScope(std::string directory, std::uint64_t bytes) {
  assert(budget == kNoBudget && "one scope at a time");
  spill_directory = std::move(directory);
  budget = bytes;
}

SpillScope::~SpillScope() {
  budget = kNoBudget;
}

std::uint64_t SpillScope::spilled() {
  return in_files;
}

}  // namespace assay
