#include "assay/runtime/expert_cache.h"

#include <gtest/gtest.h>

namespace assay {
namespace {

/// Experts are told apart by their key alone here.
class Cache : public testing::Test {
 protected:
  ExpertCache cache_{30};

  bool add(std::uint32_t expert, std::uint64_t bytes = 10) {
    if (!cache_.reserve(bytes)) return false;
    cache_.insert({0, expert},
                  std::make_shared<const DenseMlp>(cpu_ops(), Projection{one_, {}}, Projection{one_, {}},
                                                   Projection{one_, {}}),
                  bytes);
    return true;
  }
  void visit(std::uint32_t expert, std::uint64_t pass) { cache_.note_visit({0, expert}, pass); }
  bool held(std::uint32_t expert) const { return cache_.find({0, expert}) != nullptr; }

 private:
  class Nothing final : public Linear {
    void forward(const Rows&, const Rows&) const override {}
    std::uint64_t rows() const override { return 1; }
    std::uint64_t columns() const override { return 1; }
    void row(std::uint64_t, const Rows&) const override {}
    std::string kernel() const override { return {}; }
  };
  std::shared_ptr<const Linear> one_ = std::make_shared<Nothing>();
};

TEST_F(Cache, TheLeastVisitedMakesRoom) {
  for (std::uint32_t e = 0; e < 3; ++e) {
    visit(e, e);
    EXPECT_TRUE(add(e));
  }
  visit(0, 3);  // twice, though first
  visit(9, 4);
  EXPECT_TRUE(add(9));
  EXPECT_TRUE(held(0));
  EXPECT_FALSE(held(1)) << "of 1 and 2, visited once each, the one longer ago";
  EXPECT_TRUE(held(2));
  EXPECT_EQ(cache_.dropped(), 1u);
  EXPECT_EQ(cache_.used(), 30u);
}

TEST_F(Cache, OldVisitsFade) {
  visit(0, 0);
  visit(0, 1);
  EXPECT_TRUE(add(0));
  visit(1, 100);
  EXPECT_TRUE(add(1, 20));
  visit(2, 101);
  EXPECT_TRUE(add(2));
  EXPECT_FALSE(held(0)) << "two visits, three half-lives ago, are worth less than one";
  EXPECT_TRUE(held(1));
}

TEST_F(Cache, WhatIsWantedStaysAndTheBudgetHolds) {
  for (std::uint32_t e = 0; e < 3; ++e) {
    visit(e, 0);
    EXPECT_TRUE(add(e));
    cache_.want({0, e});
  }
  EXPECT_FALSE(cache_.reserve(1));
  EXPECT_EQ(cache_.used(), 30u);
  cache_.release({0, 1});
  EXPECT_TRUE(cache_.reserve(4));
  EXPECT_FALSE(held(1));
  EXPECT_EQ(cache_.used(), 24u);
  cache_.cancel(4);
  EXPECT_EQ(cache_.used(), 20u);
  EXPECT_FALSE(cache_.reserve(31)) << "more than everything";
  EXPECT_TRUE(held(0));
}

}  // namespace
}  // namespace assay
