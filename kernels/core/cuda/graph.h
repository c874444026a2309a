// Captured CUDA graphs, behind kernels/core/graph.h.
#pragma once

#include <functional>

#include "kernels/core/stream.h"

namespace batchmax::kernels::cuda {

// All throw std::runtime_error naming the call, the device and CUDA's message.
void* capture_graph(const Stream& stream, const std::function<void()>& work);
void destroy_graph(void* graph);
void launch_graph(void* graph, const Stream& stream);

}  // namespace batchmax::kernels::cuda
