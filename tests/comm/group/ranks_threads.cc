#include <thread>

#include "tests/comm/group/ranks.h"

namespace batchmax::comm {

void on_all_ranks(int group_size, const Body& body) {
  auto control = make_thread_control_groups(group_size);
  auto tensor = make_thread_tensor_groups(group_size);
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < control.size(); ++rank) {
    threads.emplace_back(
        [&body, own_control = std::move(control[rank]), own_tensor = std::move(tensor[rank])] {
          body(*own_control, *own_tensor, kernels::Stream::cpu());
        });
  }
  for (std::thread& thread : threads) thread.join();
}

bool sums_in_rank_order() { return true; }
std::vector<int> group_sizes() { return {1, 2, 3, 4, 8}; }

}  // namespace batchmax::comm
