// batchmax-worker with a hash chain in place of the model (chain_replica.h): for tests of what happens around
// a model, with the real program on real ranks. CHAIN_LAYER_US: the time of each of its four layers.
#include <cstdlib>

#include "tests/support/chain_replica.h"
#include "worker/program.h"

int main(int argc, char** argv) {
  using namespace batchmax;
  using namespace batchmax::worker;
  ChainOptions options;
  if (const char* text = std::getenv("CHAIN_LAYER_US")) {
    options.layer_time = std::chrono::microseconds(std::atoi(text));
  }
  return run_program(
      argc, argv,
      [&options](const config::Settings& settings, comm::ControlGroup&, comm::TensorGroup& tensors,
                 const monitoring::Clock&, const monitoring::Log&, monitoring::Progress& progress) {
        return make_chain_replica(settings, tensors, progress, options);
      });
}
