#pragma once
// A sink that keeps what it was told.
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "assay/base/progress.h"
#include "assay/parallel/threads.h"

namespace assay::test {

class ProgressRecord : public ProgressSink {
 public:
  struct Piece {
    std::string label, unit;
    std::uint64_t total = 0, done = 0;
    int threads = 0;  // of whoever began it
    bool operator==(const Piece&) const = default;
  };

  void begin(const Progress& work) override {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(
        open_.emplace(&work, Piece{work.label(), work.unit(), work.total(), 0, thread_count()}).second);
  }
  void advance(const Progress& work) override {
    const std::lock_guard lock(mutex_);
    Piece& piece = open_.at(&work);
    EXPECT_GT(work.done(), piece.done) << piece.label;
    piece.done = work.done();
  }
  void end(const Progress& work) noexcept override {
    const std::lock_guard lock(mutex_);
    ended_.push_back(open_.at(&work));
    open_.erase(&work);
  }

  bool all_ended() const { return open_.empty(); }
  const std::vector<Piece>& ended() const { return ended_; }  // in the order of their ends

 private:
  std::mutex mutex_;
  std::map<const Progress*, Piece> open_;
  std::vector<Piece> ended_;
};

}  // namespace assay::test
