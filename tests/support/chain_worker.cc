// batchmax-worker with a hash chain in place of the model (chain_replica.h): for tests of what happens around
// a model, with the real program on real ranks.
#include "tests/support/chain_replica.h"
#include "worker/program.h"

int main(int argc, char** argv) {
  using namespace batchmax;
  using namespace batchmax::worker;
  return run_program(argc, argv,
                     [](const config::Settings& settings, comm::ControlGroup&, comm::TensorGroup& tensors,
                        const monitoring::Clock&, const monitoring::Log&, monitoring::Progress& progress) {
                       return make_chain_replica(settings, tensors, progress, {});
                     });
}
