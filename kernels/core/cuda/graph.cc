#include "kernels/core/cuda/graph.h"

#include "kernels/core/cuda/check.h"

namespace batchmax::kernels::cuda {

void* capture_graph(const Stream& stream, const std::function<void()>& work) {
  const cudaStream_t native = stream_of(stream);
  cudaGraph_t graph = nullptr;
  // Thread-local: what other threads of this process ask CUDA for (NCCL's proxies) does not spoil the
  // recording.
  check(cudaStreamBeginCapture(native, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  try {
    work();
  } catch (...) {
    if (cudaStreamEndCapture(native, &graph) == cudaSuccess) cudaGraphDestroy(graph);
    cudaGetLastError();  // of the broken recording; what went wrong is on its way
    throw;
  }
  check(cudaStreamEndCapture(native, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t instantiated = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(instantiated, "cudaGraphInstantiate");
  // The first launch would allocate and upload: start-up is the time for that.
  check(cudaGraphUpload(executable, native), "cudaGraphUpload");
  return executable;
}

void destroy_graph(void* graph) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

void launch_graph(void* graph, const Stream& stream) {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)), "cudaGraphLaunch");
}

}  // namespace batchmax::kernels::cuda
