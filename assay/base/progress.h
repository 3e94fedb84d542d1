#pragma once
// A progress bar on stderr: drawn only where main has asked for it and on a terminal, erased when done,
// silent otherwise.
#include <cstdint>
#include <mutex>
#include <string>

#include "assay/base/clock.h"

namespace assay {

class Progress {
 public:
  /// label: any text, made printable. total: units of work (bytes, tokens, tensors); unit is printed behind
  /// the count.
  Progress(const std::string& label, std::uint64_t total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::uint64_t amount);     // any thread
  static void set_enabled(bool enabled);  // for the process; off until main says otherwise
  static void erase_all();                // and draws none any more: the process ends

 private:
  void draw();
  std::string label_, unit_;
  std::uint64_t total_, done_ = 0;
  bool visible_;
  Clock::time_point start_, drawn_;
  std::mutex mutex_;
};

}  // namespace assay
