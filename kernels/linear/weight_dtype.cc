#include "kernels/linear/weight_dtype.h"

#include <type_traits>

namespace batchmax::kernels {
namespace {

// Our own loop: oneDNN converts between dtypes only where the machine has instructions for both.
template <typename From, typename To>
void convert(const void* from, int64_t elements, std::vector<std::byte>& to) {
  to.resize(static_cast<size_t>(elements) * sizeof(To));
  const auto* source = static_cast<const From*>(from);
  auto* target = reinterpret_cast<To*>(to.data());
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < elements; ++i) {
    if constexpr (std::is_same_v<To, float>) {
      target[i] = to_float(source[i]);
    } else {
      target[i] = to_bf16(to_float(source[i]));
    }
  }
}

}  // namespace

const void* in_dtype(const Tensor& tensor, DType dtype, std::vector<std::byte>& storage) {
  if (!tensor || tensor.dtype() == dtype) return tensor.data();
  if (dtype == DType::f32) {
    convert<bf16, float>(tensor.data(), tensor.elements(), storage);
  } else {
    convert<float, bf16>(tensor.data(), tensor.elements(), storage);
  }
  return storage.data();
}

std::vector<float> bias_values(const Tensor& bias, DType compute) {
  std::vector<float> values;
  if (!bias) return values;
  for (int64_t i = 0; i < bias.dim(0); ++i) {
    const float value = bias.dtype() == DType::bf16 ? to_float(bias.as<bf16>()[i]) : bias.as<float>()[i];
    values.push_back(compute == DType::bf16 ? to_float(to_bf16(value)) : value);
  }
  return values;
}

}  // namespace batchmax::kernels
