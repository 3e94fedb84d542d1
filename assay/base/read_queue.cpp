#include "assay/base/read_queue.h"

#include <liburing.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cassert>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <system_error>
#include <vector>

#include "assay/base/error.h"

namespace assay {
namespace {

constexpr unsigned kRingEntries = 256;
constexpr unsigned kThreads = 8;
constexpr std::size_t kLargestRead = std::size_t{1} << 30;  // the kernel takes 2 GiB less a page at once

/// What is left of a request.
struct Read {
  ReadRequest request;
  std::uint64_t job = 0;
  std::size_t done = 0;

  std::size_t next_size() const { return std::min(request.into.size() - done, kLargestRead); }
};

/// Reads on their way, by job.
class Jobs {
 public:
  void start(std::uint64_t job, std::size_t reads) {
    assert(reads > 0);
    const bool fresh = jobs_.try_emplace(job, Progress{reads, {job, 0, false}}).second;
    assert(fresh && "a job of this name is on its way");
    (void)fresh;
  }
  /// One read of `job` has ended so. True: the last one; `outcome` is then the job's.
  bool finish(std::uint64_t job, int error, bool ended_early, ReadOutcome* outcome) {
    const auto found = jobs_.find(job);
    Progress& progress = found->second;
    if (progress.outcome.good()) {
      progress.outcome.error = error;
      progress.outcome.ended_early = ended_early;
    }
    if (--progress.left > 0) return false;
    *outcome = progress.outcome;
    jobs_.erase(found);
    return true;
  }

 private:
  struct Progress {
    std::size_t left;
    ReadOutcome outcome;
  };
  std::map<std::uint64_t, Progress> jobs_;
};

class RingQueue final : public ReadQueue {
 public:
  RingQueue() {
    if (const int status = ::io_uring_queue_init(kRingEntries, &ring_, 0); status < 0)
      fail("io_uring: {}", std::generic_category().message(-status));
  }
  ~RingQueue() override {
    try {
      while (flying_ > 0) reap();  // the kernel writes into our callers' memory until then
    } catch (const Error&) {       // a ring that is broken: leaving it ends its reads
    }
    ::io_uring_queue_exit(&ring_);
  }

  void submit(std::uint64_t job, std::span<const ReadRequest> requests) override {
    jobs_.start(job, requests.size());
    for (const ReadRequest& request : requests)
      waiting_.push_back(&reads_.emplace_back(Read{request, job, 0}));
    launch();
  }

  ReadOutcome wait() override {
    while (finished_.empty()) {
      assert(flying_ > 0 && "nothing was submitted");
      reap();
      launch();
    }
    const ReadOutcome outcome = finished_.front();
    finished_.pop_front();
    return outcome;
  }

  std::string name() const override { return "io_uring"; }

 private:
  /// As many of the waiting reads as the ring has room for.
  void launch() {
    bool any = false;
    while (!waiting_.empty() && flying_ < kRingEntries) {
      io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
      if (entry == nullptr) break;
      Read* read = waiting_.front();
      waiting_.pop_front();
      ::io_uring_prep_read(entry, read->request.descriptor, read->request.into.data() + read->done,
                           static_cast<unsigned>(read->next_size()), read->request.offset + read->done);
      ::io_uring_sqe_set_data(entry, read);
      ++flying_;
      any = true;
    }
    if (!any) return;
    if (const int status = ::io_uring_submit(&ring_); status < 0)
      fail("io_uring: cannot submit reads: {}", std::generic_category().message(-status));
  }

  /// Takes one completion.
  void reap() {
    io_uring_cqe* completion = nullptr;
    int status = 0;
    do status = ::io_uring_wait_cqe(&ring_, &completion);
    while (status == -EINTR);
    if (status < 0) fail("io_uring: cannot wait for reads: {}", std::generic_category().message(-status));
    auto* read = static_cast<Read*>(::io_uring_cqe_get_data(completion));
    const int result = completion->res;
    ::io_uring_cqe_seen(&ring_, completion);
    --flying_;
    if (result == -EINTR || result == -EAGAIN) {
      waiting_.push_back(read);
      return;
    }
    if (result > 0) read->done += static_cast<std::size_t>(result);
    if (result > 0 && read->done < read->request.required) {
      waiting_.push_back(read);
      return;
    }
    ReadOutcome outcome;
    if (jobs_.finish(read->job, result < 0 ? -result : 0, read->done < read->request.required, &outcome))
      finished_.push_back(outcome);
    std::erase_if(reads_, [&](const Read& entry) { return &entry == read; });
  }

  io_uring ring_{};
  Jobs jobs_;
  std::list<Read> reads_;  // stays where it is: the kernel gives back a pointer
  std::deque<Read*> waiting_;
  std::size_t flying_ = 0;
  std::deque<ReadOutcome> finished_;
};

class ThreadQueue final : public ReadQueue {
 public:
  ThreadQueue() : pool_(kThreads) {}
  ~ThreadQueue() override { pool_.join(); }

  void submit(std::uint64_t job, std::span<const ReadRequest> requests) override {
    {
      const std::lock_guard lock(mutex_);
      jobs_.start(job, requests.size());
    }
    for (const ReadRequest& request : requests)
      boost::asio::post(pool_, [this, job, request] { read({request, job, 0}); });
  }

  ReadOutcome wait() override {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return !finished_.empty(); });
    const ReadOutcome outcome = finished_.front();
    finished_.pop_front();
    return outcome;
  }

  std::string name() const override { return fmt::format("{} threads", kThreads); }

 private:
  void read(Read read) {
    int error = 0;
    while (read.done < read.request.required) {
      const ssize_t got = ::pread(read.request.descriptor, read.request.into.data() + read.done,
                                  read.next_size(), static_cast<off_t>(read.request.offset + read.done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) error = errno;
      if (got <= 0) break;
      read.done += static_cast<std::size_t>(got);
    }
    const std::lock_guard lock(mutex_);
    ReadOutcome outcome;
    if (!jobs_.finish(read.job, error, read.done < read.request.required, &outcome)) return;
    finished_.push_back(outcome);
    ended_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable ended_;
  Jobs jobs_;
  std::deque<ReadOutcome> finished_;
  boost::asio::thread_pool pool_;  // last: its threads use the others
};

}  // namespace

std::unique_ptr<ReadQueue> make_read_queue(ReadBackend backend) {
  if (backend == ReadBackend::threads) return std::make_unique<ThreadQueue>();
  try {
    return std::make_unique<RingQueue>();
  } catch (const Error&) {  // an old kernel, or a container that forbids it
    if (backend == ReadBackend::io_uring) throw;
    return std::make_unique<ThreadQueue>();
  }
}

}  // namespace assay
