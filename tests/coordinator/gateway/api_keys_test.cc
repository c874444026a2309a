#include "coordinator/gateway/api_keys.h"

#include <gtest/gtest.h>

namespace batchmax::coordinator {
namespace {

TEST(ApiKeys, AdmitsEverybodyWhereNoneIsSet) {
  EXPECT_TRUE(ApiKeys({}).admits(""));
  EXPECT_TRUE(ApiKeys({}).admits("Bearer anything"));
}

TEST(ApiKeys, AdmitsOnlyWholeKeys) {
  const ApiKeys keys({"alpha", "beta"});
  EXPECT_TRUE(keys.admits("Bearer alpha"));
  EXPECT_TRUE(keys.admits("bearer beta"));
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer alph", "Bearer alphaa", "Bearer Alpha",
                            "Bearer  alpha", "alpha", "Basic alpha", "Bearer alpha,beta"}) {
    EXPECT_FALSE(keys.admits(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace batchmax::coordinator
