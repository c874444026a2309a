#include "kernels/core/graph.h"

#include <utility>

#include "kernels/core/build.h"
#include "kernels/core/cuda/graph.h"
#include "monitoring/check.h"

namespace batchmax::kernels {

Graph::Graph(const Stream& stream, const std::function<void()>& work) : native_(nullptr) {
  CHECK(offers_graphs(stream.backend()));
  if constexpr (kCudaBuilt) native_ = cuda::capture_graph(stream, work);
}

Graph::Graph(Graph&& other) noexcept : native_(std::exchange(other.native_, nullptr)) {}

Graph& Graph::operator=(Graph&& other) noexcept {
  std::swap(native_, other.native_);
  return *this;
}

Graph::~Graph() {
  if constexpr (kCudaBuilt) {
    if (native_ != nullptr) cuda::destroy_graph(native_);
  }
}

void Graph::launch(const Stream& stream) const {
  CHECK(native_ != nullptr);
  if constexpr (kCudaBuilt) cuda::launch_graph(native_, stream);
}

}  // namespace batchmax::kernels
