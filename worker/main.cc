#include "worker/program.h"

int main(int argc, char** argv) {
  return batchmax::worker::run_program(argc, argv, batchmax::worker::make_replica);
}
