// CUDA events and the device's clock, behind kernels/core/event.h.
#pragma once

#include <cstdint>

#include "kernels/core/stream.h"

namespace batchmax::kernels::cuda {

// All throw std::runtime_error naming the call, the device and CUDA's message.
void* create_event(const Stream& stream);
void destroy_event(void* event);
void record(void* event, const Stream& stream);
void wait(void* event);
void mark_time(const Stream& stream, int64_t* nanoseconds);

}  // namespace batchmax::kernels::cuda
