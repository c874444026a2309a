// What a peer of the worker port and a leader's broadcast may hold: frames, requests in them, step plans.
#include <google/protobuf/stubs/common.h>

#include <cstdint>
#include <cstdlib>
#include <span>
#include <stdexcept>

#include "comm/protocol/messages.pb.h"
#include "worker/leader/submit_check.h"
#include "worker/plan/step_plan.h"

using namespace batchmax;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);  // it would speak of every string that is no UTF-8
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  comm::pb::Frame frame;
  if (frame.ParseFromArray(data, static_cast<int>(size)) && frame.has_submit()) {
    config::CompressionSettings server;
    server.budget = 64;
    server.block = 16;
    const auto checked = worker::check_submit(frame.submit(), {server, 4096, 1000});
    if (const auto* request = std::get_if<worker::SequenceRequest>(&checked)) {
      if (request->emitted() < 0 || request->remaining() < 1) std::abort();
    }
  }
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const worker::StepPlan plan = worker::deserialize_step_plan({bytes.begin(), bytes.end()});
    if (worker::plan_fault(plan)) std::abort();
  } catch (const std::runtime_error&) {
  }
  return 0;
}
