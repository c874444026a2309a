#include "worker/kv/page_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace batchmax::worker {
namespace {

TEST(PagePool, EveryPageHasOneHolder) {
  PagePool pool(10);
  EXPECT_EQ(pool.capacity(), 10);
  const auto a = pool.take(4);
  const auto b = pool.take(6);
  EXPECT_EQ(pool.free(), 0);
  std::set<int32_t> all(a.begin(), a.end());
  all.insert(b.begin(), b.end());
  EXPECT_EQ(all.size(), 10U);
  EXPECT_EQ(*all.begin(), 0);
  EXPECT_EQ(*all.rbegin(), 9);
  pool.give_back(a);
  EXPECT_EQ(pool.free(), 4);
  const auto c = pool.take(4);
  EXPECT_EQ(std::set<int32_t>(c.begin(), c.end()), std::set<int32_t>(a.begin(), a.end()));
}

TEST(PagePoolDeathTest, MisuseIsOurBug) {
  PagePool pool(2);
  const auto held = pool.take(1);
  EXPECT_DEATH(pool.take(2), "CHECK failed");
  EXPECT_DEATH(pool.give_back(std::array<int32_t, 2>{held[0], held[0]}), "CHECK failed");
  EXPECT_DEATH(pool.give_back(std::array<int32_t, 1>{2}), "CHECK failed");
  EXPECT_DEATH(pool.give_back(std::array<int32_t, 1>{-1}), "CHECK failed");
}

}  // namespace
}  // namespace batchmax::worker
