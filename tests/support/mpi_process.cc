#include "tests/support/mpi_process.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

namespace batchmax::comm {
namespace {

// Set and cleared by main; the tests are functions that nothing can be passed to.
MpiRuntime* runtime = nullptr;

class EndAtFailure : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "rank %d: %s:%d: %s\n", runtime->world_rank(), result.file_name(),
                 result.line_number(), result.message());
    std::_Exit(1);
  }
};

}  // namespace

MpiRuntime& mpi_runtime() { return *runtime; }

std::vector<int> sizes_that_divide_the_world() {
  std::vector<int> sizes;
  for (int size = 1; size <= runtime->world_size(); ++size) {
    if (runtime->world_size() % size == 0) sizes.push_back(size);
  }
  return sizes;
}

int run(int argc, char** argv) {
  MpiRuntime made(&argc, &argv);
  runtime = &made;
  testing::InitGoogleTest(&argc, argv);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (made.world_rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new EndAtFailure);
  const int result = RUN_ALL_TESTS();
  runtime = nullptr;
  return result;
}

}  // namespace batchmax::comm

int main(int argc, char** argv) { return batchmax::comm::run(argc, argv); }
