#pragma once
// How far a piece of work is, and who is told. The library prints nothing: it tells a sink, if it was given
// one.
#include <cstdint>
#include <mutex>
#include <string>

namespace assay {

class Progress;

/// Told of pieces of work: each begins, advances and ends, and some go on inside others. An object stands for
/// its piece from begin() to end(); of one piece there is one call at a time, from any thread. What begin()
/// or advance() throws ends the work.
class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  virtual void begin(const Progress& work) = 0;
  virtual void advance(const Progress& work) = 0;  // done() has grown
  virtual void end(const Progress& work) noexcept = 0;
};

/// A piece of work, begun with the object and ended with it.
class Progress {
 public:
  /// sink: null tells nobody. label: any text. total, unit: of the work ("bytes", "tokens", "tensors").
  Progress(ProgressSink* sink, std::string label, std::uint64_t total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::uint64_t amount);  // any thread

  // For the sink.
  const std::string& label() const { return label_; }
  const std::string& unit() const { return unit_; }
  std::uint64_t total() const { return total_; }
  std::uint64_t done() const { return done_; }

 private:
  ProgressSink* sink_;
  std::string label_, unit_;
  std::uint64_t total_, done_ = 0;
  std::mutex mutex_;
};

}  // namespace assay
