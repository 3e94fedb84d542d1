#include "assay/runtime/expert_cache.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace assay {

double ExpertCache::Popularity::at(std::uint64_t now) const {
  return score * std::exp2(-static_cast<double>(now - pass) / kHalfLife);
}

std::shared_ptr<const DenseMlp> ExpertCache::find(const ExpertKey& key) const {
  const auto found = held_.find(key);
  return found == held_.end() ? nullptr : found->second.expert;
}

void ExpertCache::note_visit(const ExpertKey& key, std::uint64_t pass) {
  now_ = std::max(now_, pass);
  Popularity& popularity = popularity_[key];
  popularity = {popularity.at(now_) + 1, now_};
}

void ExpertCache::want(const ExpertKey& key) {
  ++held_.at(key).wanted;
}

void ExpertCache::release(const ExpertKey& key) {
  int& wanted = held_.at(key).wanted;
  assert(wanted > 0);
  --wanted;
}

std::optional<ExpertKey> ExpertCache::least() const {
  std::optional<ExpertKey> least;
  double least_score = 0;
  for (const auto& [key, held] : held_) {
    if (held.wanted > 0) continue;
    const double score = popularity_.at(key).at(now_);
    if (least && score >= least_score) continue;
    least = key;
    least_score = score;
  }
  return least;
}

bool ExpertCache::reserve(std::uint64_t bytes) {
  if (bytes > budget_) return false;
  while (used_ > budget_ - bytes) {
    const auto key = least();
    if (!key) return false;
    const auto held = held_.find(*key);
    used_ -= held->second.bytes;
    held_.erase(held);
    ++dropped_;
  }
  used_ += bytes;
  return true;
}

void ExpertCache::cancel(std::uint64_t bytes) {
  assert(bytes <= used_);
  used_ -= bytes;
}

void ExpertCache::insert(const ExpertKey& key, std::shared_ptr<const DenseMlp> expert, std::uint64_t bytes) {
  assert(popularity_.contains(key));
  if (!held_.emplace(key, Held{std::move(expert), bytes, 0}).second) cancel(bytes);
}

}  // namespace assay
