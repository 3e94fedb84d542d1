#pragma once
// Which experts stay in memory: those visited often of late. A visit counts 1 and loses half of that every
// kHalfLife passes; of equals the one visited longest ago goes first.
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "assay/model/mlp.h"

namespace assay {

struct ExpertKey {
  int layer = 0;
  std::uint32_t expert = 0;
  auto operator<=>(const ExpertKey&) const = default;
};

class ExpertCache {
 public:
  /// `budget`: bytes of the experts held and of the room reserved for others, together.
  explicit ExpertCache(std::uint64_t budget) : budget_(budget) {}

  /// The expert, if it is held.
  std::shared_ptr<const DenseMlp> find(const ExpertKey& key) const;
  /// A visit in pass number `pass`, whether it is held or not.
  void note_visit(const ExpertKey& key, std::uint64_t pass);
  /// Held experts may not be dropped while somebody wants them: each want() has its release().
  void want(const ExpertKey& key);
  void release(const ExpertKey& key);

  /// Makes room for an expert of `bytes`, dropping what is worth least; false, with nothing reserved, when
  /// those that are wanted and the room reserved already leave too little.
  bool reserve(std::uint64_t bytes);
  void cancel(std::uint64_t bytes);  // gives reserved room back
  /// Fills room that was reserved; gives it back where another pass has filled in the same expert meanwhile.
  void insert(const ExpertKey& key, std::shared_ptr<const DenseMlp> expert, std::uint64_t bytes);

  std::uint64_t budget() const { return budget_; }
  std::uint64_t used() const { return used_; }  // held and reserved
  std::uint64_t dropped() const { return dropped_; }

 private:
  static constexpr double kHalfLife = 32;  // passes
  struct Held {
    std::shared_ptr<const DenseMlp> expert;
    std::uint64_t bytes = 0;
    int wanted = 0;
  };
  struct Popularity {
    double score = 0;
    std::uint64_t pass = 0;  // of the last visit
    double at(std::uint64_t now) const;
  };
  /// The one that is worth least of those not wanted.
  std::optional<ExpertKey> least() const;

  std::uint64_t budget_, used_ = 0, dropped_ = 0, now_ = 0;
  std::map<ExpertKey, Held> held_;
  std::map<ExpertKey, Popularity> popularity_;
};

}  // namespace assay
