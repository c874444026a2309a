#include "kernels/core/range.h"

#include "kernels/core/build.h"
#include "kernels/core/cuda/range.h"

namespace batchmax::kernels {

Range::Range(const char* name) {
  if constexpr (kCudaBuilt) {
    cuda::push_range(name);
  } else {
    static_cast<void>(name);
  }
}

Range::~Range() {
  if constexpr (kCudaBuilt) cuda::pop_range();
}

}  // namespace batchmax::kernels
