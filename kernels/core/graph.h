// Work that was recorded once and is handed to the device as a whole: one call instead of hundreds of
// launches. Everything the recorded work was given stays as it was: addresses, shapes, numbers. Only what
// lies at the addresses may change between launches. One thread; the graph ends before the memory, the stream
// and the communicators that its work refers to.
#pragma once

#include <functional>

#include "kernels/core/stream.h"

namespace batchmax::kernels {

// Whether this backend can record graphs: cuda can, cpu has nothing to gain.
constexpr bool offers_graphs(Backend backend) { return backend == Backend::cuda; }

class Graph {
 public:
  // Records what `work` hands to `stream`; nothing is executed. `work` neither waits for the stream nor
  // allocates, and has been run once before without a graph, so that code is loaded and algorithms are
  // chosen. REQUIRES offers_graphs. Throws what `work` throws, and std::runtime_error naming CUDA's message.
  Graph(const Stream& stream, const std::function<void()>& work);
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;
  ~Graph();

  // In stream order, any number of times.
  void launch(const Stream& stream) const;

 private:
  void* native_;  // cudaGraphExec_t
};

}  // namespace batchmax::kernels
