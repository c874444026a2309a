// One process of the suite over MPI. A failed check ends this process at once, and mpirun the others: ranks
// whose tests have gone different ways would wait for each other.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "comm/group/mpi_runtime.h"
#include "tests/comm/group/ranks.h"

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

// Smaller groups than the world: several of them at once.
void on_all_ranks(int group_size, const Body& body) {
  const auto control = runtime->control_group(group_size);
  const auto tensor = runtime->tensor_group(group_size);
  body(*control, *tensor);
}

std::vector<int> group_sizes() {
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
