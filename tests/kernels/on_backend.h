// Runs the tests of an op on every backend of this build that the machine can run, and moves data there and
// back. The names of instances begin with
// "cpu" or "cuda".
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/build.h"
#include "kernels/core/kv_view.h"
#include "kernels/core/stream.h"
#include "kernels/core/tensor.h"

namespace batchmax::kernels::testing {

inline Stream stream_of(Backend backend) {
  return backend == Backend::cuda ? Stream::cuda(0) : Stream::cpu();
}

inline std::vector<Backend> find_backends() {
  std::vector<Backend> found{Backend::cpu};
  if constexpr (kCudaBuilt) {
    try {
      const Stream device = Stream::cuda(0);
      found.push_back(Backend::cuda);
    } catch (const std::exception& reason) {
      // The CPU's instances still run; ctest reports the CUDA entry as skipped when it reads this.
      std::printf("no device: %s\n", reason.what());
    }
  }
  return found;
}
inline const std::vector<Backend>& backends() {
  static const std::vector<Backend> found = find_backends();
  return found;
}

class OnBackend : public ::testing::TestWithParam<Backend> {
 protected:
  Stream stream_ = stream_of(GetParam());
};

#define BATCHMAX_ON_BACKENDS(fixture)                                                               \
  INSTANTIATE_TEST_SUITE_P(                                                                         \
      Backends, fixture, ::testing::ValuesIn(::batchmax::kernels::testing::backends()),             \
      [](const auto& parameter) {                                                                   \
        return std::string(parameter.param == ::batchmax::kernels::Backend::cuda ? "cuda" : "cpu"); \
      })

// Elements on the backend; f32 values are rounded when the dtype is bf16.
class Array {
 public:
  Array() = default;
  template <typename T>
  Array(const Stream& stream, const std::vector<T>& values, std::initializer_list<int64_t> shape)
      : Array(stream, dtype_of<T>::value, shape) {
    EXPECT_EQ(tensor_.elements(), static_cast<int64_t>(values.size()));
    upload(stream, buffer_.data(), values.data(), tensor_.bytes());
    stream.synchronize();
  }
  static Array of_floats(const Stream& stream, DType dtype, const std::vector<float>& values,
                         std::initializer_list<int64_t> shape) {
    if (dtype == DType::f32) return Array(stream, values, shape);
    std::vector<bf16> rounded;
    for (const float value : values) rounded.push_back(to_bf16(value));
    return Array(stream, rounded, shape);
  }
  // Not initialised.
  Array(const Stream& stream, DType dtype, std::initializer_list<int64_t> shape) {
    const Tensor measured(nullptr, dtype, shape);
    buffer_ = Buffer(stream, std::max<size_t>(measured.bytes(), 1));
    tensor_ = Tensor(buffer_.data(), dtype, shape);
  }

  const Tensor& tensor() const { return tensor_; }
  template <typename T>
  std::vector<T> read(const Stream& stream) const {
    EXPECT_EQ(tensor_.dtype(), dtype_of<T>::value);
    std::vector<T> values(static_cast<size_t>(tensor_.elements()));
    stream.synchronize();
    download(stream, values.data(), tensor_.data(), tensor_.bytes());
    stream.synchronize();
    return values;
  }
  // bf16 or fp32 as fp32.
  std::vector<float> read_floats(const Stream& stream) const {
    if (tensor_.dtype() == DType::f32) return read<float>(stream);
    std::vector<float> values;
    for (const bf16 value : read<bf16>(stream)) values.push_back(to_float(value));
    return values;
  }

 private:
  Buffer buffer_;
  Tensor tensor_;
};

// A copy of plain values that both sides can read.
template <typename T>
class Values {
 public:
  Values(const Stream& stream, std::vector<T> host) : host_(std::move(host)), device_(stream, bytes()) {
    upload(stream, device_.data(), host_.data(), host_.size() * sizeof(T));
    stream.synchronize();
  }
  const T* host() const { return host_.data(); }
  const T* data() const { return static_cast<const T*>(device_.data()); }
  size_t size() const { return host_.size(); }

 private:
  size_t bytes() const { return std::max<size_t>(host_.size() * sizeof(T), 1); }
  std::vector<T> host_;
  Buffer device_;
};

inline float rounded(DType dtype, float value) {
  return dtype == DType::bf16 ? to_float(to_bf16(value)) : value;
}

// Normal deviates, rounded to `dtype`.
inline std::vector<float> random_floats(std::mt19937& random, size_t n, DType dtype, float scale = 1.0F) {
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> values(n);
  for (float& value : values) value = rounded(dtype, normal(random));
  return values;
}

// Each value against its reference: |value − expected| <= absolute + relative · |expected|, first mismatch
// named.
inline void expect_close(const std::vector<float>& values, const std::vector<double>& expected,
                         double absolute, double relative, const std::string& what) {
  ASSERT_EQ(values.size(), expected.size()) << what;
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_LE(std::abs(static_cast<double>(values[i]) - expected[i]),
              absolute + relative * std::abs(expected[i]))
        << what << ": element " << i << " is " << values[i] << ", expected " << expected[i];
  }
}

}  // namespace batchmax::kernels::testing
