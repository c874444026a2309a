// A Tensor is a view: pointer, dtype, shape. It owns nothing and is row-major without gaps.
// The memory belongs to a Buffer (kernels/core/buffer.h) of the backend that the op's Stream names.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "kernels/core/dtype.h"
#include "monitoring/check.h"

namespace batchmax::kernels {

class Tensor {
 public:
  static constexpr int kMaxRank = 4;

  Tensor() = default;  // "absent": data() == nullptr
  Tensor(void* data, DType dtype, std::initializer_list<int64_t> shape) : data_(data), dtype_(dtype) {
    CHECK_LE(shape.size(), static_cast<size_t>(kMaxRank));
    for (const int64_t extent : shape) shape_[static_cast<size_t>(rank_++)] = extent;
  }

  explicit operator bool() const { return data_ != nullptr; }
  void* data() const { return data_; }
  template <typename T>
  T* as() const {  // CHECKs the dtype
    CHECK(dtype_ == dtype_of<T>::value);
    return static_cast<T*>(data_);
  }
  DType dtype() const { return dtype_; }
  int rank() const { return rank_; }
  int64_t dim(int i) const { return shape_[static_cast<size_t>(i)]; }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= dim(i);
    return n;
  }
  size_t bytes() const { return static_cast<size_t>(elements()) * size_of(dtype_); }
  // Rows [begin, begin + count) of the first dimension.
  Tensor rows(int64_t begin, int64_t count) const;
  std::string describe() const;  // "bf16[3, 64]"

 private:
  void* data_ = nullptr;
  DType dtype_ = DType::f32;
  int rank_ = 0;
  std::array<int64_t, kMaxRank> shape_{};
};

// Binds named extents over several tensors and CHECKs that all agree, before a kernel starts:
//   Dims dims("rms_norm");
//   dims.match("x", x, {"T", "d"}).match("weight", weight, {"d"});
//   const int64_t T = dims["T"];
// A name that is a number ("4") must equal that extent. A failure prints op, tensor, expected and found.
class Dims {
 public:
  explicit Dims(const char* op) : op_(op) {}
  Dims& match(const char* tensor_name, const Tensor& tensor, std::initializer_list<const char*> names);
  Dims& dtype(const char* tensor_name, const Tensor& tensor, std::initializer_list<DType> allowed);
  int64_t operator[](const char* name) const;

 private:
  struct Binding {
    const char* name;
    int64_t extent;
  };
  const char* op_;
  std::array<Binding, 16> bindings_{};
  int bound_ = 0;
};

}  // namespace batchmax::kernels
