#include "kernels/core/tensor.h"

#include <charconv>
#include <cstring>

namespace batchmax::kernels {

Tensor Tensor::rows(int64_t begin, int64_t count) const {
  CHECK_GE(rank_, 1);
  CHECK_GE(begin, 0);
  CHECK_GE(count, 0);
  CHECK_LE(begin + count, dim(0));
  Tensor part = *this;
  const size_t row_bytes = dim(0) == 0 ? 0 : bytes() / static_cast<size_t>(dim(0));
  part.data_ = static_cast<std::byte*>(data_) + static_cast<size_t>(begin) * row_bytes;
  part.shape_[0] = count;
  return part;
}

std::string Tensor::describe() const {
  std::string text = name_of(dtype_);
  text += "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(dim(i));
  }
  return text + "]";
}

Dims& Dims::match(const char* tensor_name, const Tensor& tensor, std::initializer_list<const char*> names) {
  const auto fail = [&](const std::string& expected) {
    monitoring::check_failed(
        op_, 0, std::string(tensor_name) + ": expected " + expected + ", found " + tensor.describe());
  };
  if (!tensor) fail("a tensor, not an absent one");
  if (tensor.rank() != static_cast<int>(names.size())) fail(std::to_string(names.size()) + " dimensions");
  int i = 0;
  for (const char* name : names) {
    const int64_t extent = tensor.dim(i++);
    int64_t literal = 0;
    const auto [end, error] = std::from_chars(name, name + std::strlen(name), literal);
    if (error == std::errc() && *end == '\0') {
      if (extent != literal) fail(std::string("extent ") + name + " in dimension " + std::to_string(i - 1));
      continue;
    }
    bool known = false;
    for (int b = 0; b < bound_; ++b) {
      const Binding& binding = bindings_[static_cast<size_t>(b)];
      if (std::strcmp(binding.name, name) != 0) continue;
      known = true;
      if (binding.extent != extent) fail(std::string(name) + " = " + std::to_string(binding.extent));
    }
    if (!known) {
      CHECK_LT(static_cast<size_t>(bound_), bindings_.size());
      bindings_[static_cast<size_t>(bound_++)] = {name, extent};
    }
  }
  return *this;
}

Dims& Dims::dtype(const char* tensor_name, const Tensor& tensor, std::initializer_list<DType> allowed) {
  std::string expected;
  for (const DType type : allowed) {
    if (tensor.dtype() == type) return *this;
    expected += std::string(expected.empty() ? "" : " or ") + name_of(type);
  }
  monitoring::check_failed(
      op_, 0, std::string(tensor_name) + ": expected " + expected + ", found " + tensor.describe());
}

int64_t Dims::operator[](const char* name) const {
  for (int b = 0; b < bound_; ++b) {
    const Binding& binding = bindings_[static_cast<size_t>(b)];
    if (std::strcmp(binding.name, name) == 0) return binding.extent;
  }
  monitoring::check_failed(op_, 0, std::string("no dimension is called ") + name);
}

}  // namespace batchmax::kernels
