#include "worker/model/weight_source.h"

#include <cmath>

namespace batchmax::worker {
namespace {

class CheckpointSource final : public WeightSource {
 public:
  explicit CheckpointSource(const std::string& folder) : checkpoint_(folder) {}
  void matrix(const std::string& name, const Checkpoint::Part& part, kernels::DType dtype,
              void* to) override {
    checkpoint_.read(name, part, dtype, to);
  }
  void vector(const std::string& name, int64_t all, int64_t begin, int64_t count, kernels::DType dtype,
              void* to) override {
    checkpoint_.read(name, all, begin, count, dtype, to);
  }
  bool has(const std::string& name) const override { return checkpoint_.has(name); }
  void refuse(const std::string& prefix, const std::string& reason) override {
    checkpoint_.refuse(prefix, reason);
  }

 private:
  Checkpoint checkpoint_;
};

class DummySource final : public WeightSource {
 public:
  explicit DummySource(uint64_t seed) : seed_(seed) {}

  void matrix(const std::string& name, const Checkpoint::Part& part, kernels::DType dtype,
              void* to) override {
    const uint64_t key = hash(name);
    const float scale = std::sqrt(3.0F / static_cast<float>(part.all_columns));
    // Billions of numbers for a large model: each depends on its place alone.
#pragma omp parallel for
    for (int64_t row = 0; row < part.rows; ++row) {
      for (int64_t column = 0; column < part.columns; ++column) {
        const auto index = static_cast<uint64_t>((part.row + row) * part.all_columns + part.column + column);
        store(dtype, to, static_cast<size_t>(row * part.columns + column), scale * symmetric(key + index));
      }
    }
  }
  void vector(const std::string& name, int64_t, int64_t begin, int64_t count, kernels::DType dtype,
              void* to) override {
    const uint64_t key = hash(name);
    for (int64_t i = 0; i < count; ++i) {
      store(dtype, to, static_cast<size_t>(i),
            1.0F + 0.1F * symmetric(key + static_cast<uint64_t>(begin + i)));
    }
  }
  bool has(const std::string&) const override { return false; }  // more than is asked for
  void refuse(const std::string&, const std::string&) override {}

 private:
  uint64_t hash(const std::string& name) const {  // FNV-1a
    uint64_t value = 0xcbf29ce484222325ULL ^ seed_;
    for (const char c : name) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return value;
  }
  static float symmetric(uint64_t x) {  // [-1, 1), splitmix64
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    x ^= x >> 31;
    return static_cast<float>(x >> 40) * (2.0F / 16777216.0F) - 1.0F;
  }
  static void store(kernels::DType dtype, void* to, size_t at, float value) {
    if (dtype == kernels::DType::f32) {
      static_cast<float*>(to)[at] = value;
    } else {
      static_cast<kernels::bf16*>(to)[at] = kernels::to_bf16(value);
    }
  }
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<WeightSource> checkpoint_source(const std::string& folder) {
  return std::make_unique<CheckpointSource>(folder);
}
std::unique_ptr<WeightSource> dummy_source(uint64_t seed) { return std::make_unique<DummySource>(seed); }

}  // namespace batchmax::worker
