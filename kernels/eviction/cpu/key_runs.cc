// Two passes over the keys of a (layer, row, KV head): 2 · n · head_dim elements read, the second time mostly
// from cache, and one row of the rotation tables per key and pass.
#include "kernels/eviction/cpu/key_runs.h"

#include "kernels/core/cpu/lanes.h"

namespace batchmax::kernels::cpu {
namespace {

template <typename T>
[[gnu::always_inline]] inline const T* key_of(const Run& run, int32_t i) {
  return reinterpret_cast<const T*>(run.keys + static_cast<size_t>(i) * run.key_stride);
}
[[gnu::always_inline]] inline size_t table_row(const Run& run, const Rotations& rotations, int32_t i) {
  return static_cast<size_t>(run.position(i)) * static_cast<size_t>(rotations.half);
}

// The sums of 16 pairs of dimensions stay in registers while the keys pass.
template <typename T>
struct SumUnrotated {
  [[gnu::always_inline]] static void run(const Run& keys, const Rotations& rotations, float* sum) {
    for (int32_t d = 0; d < rotations.half; d += kLanes) {
      Floats low_sum = {};
      Floats high_sum = {};
      for (int32_t i = 0; i < keys.count; ++i) {
        const T* key = key_of<T>(keys, i) + d;
        const size_t row = table_row(keys, rotations, i) + static_cast<size_t>(d);
        Floats low, high, cosine, sine;
        load(key, low);
        load(key + rotations.half, high);
        load(rotations.cos + row, cosine);
        load(rotations.sin + row, sine);
        low_sum += low * cosine + high * sine;
        high_sum += high * cosine - low * sine;
      }
      store(low_sum, sum + d);
      store(high_sum, sum + rotations.half + d);
    }
  }
};

// Loads 16 pairs of a key and of the mean rotated to the key's position.
template <typename T>
[[gnu::always_inline]] inline void load_pair(const T* key, const float* mean, const Rotations& rotations,
                                             size_t row, int32_t d, Floats& low, Floats& high,
                                             Floats& mean_low, Floats& mean_high) {
  Floats cosine, sine, unrotated_low, unrotated_high;
  load(key + d, low);
  load(key + rotations.half + d, high);
  load(rotations.cos + row + d, cosine);
  load(rotations.sin + row + d, sine);
  load(mean + d, unrotated_low);
  load(mean + rotations.half + d, unrotated_high);
  mean_low = unrotated_low * cosine - unrotated_high * sine;
  mean_high = unrotated_high * cosine + unrotated_low * sine;
}

template <typename T>
struct SquaredDistances {
  [[gnu::always_inline]] static void run(const Run& keys, const Rotations& rotations, const float* mean,
                                         float* out) {
    for (int32_t i = 0; i < keys.count; ++i) {
      const size_t row = table_row(keys, rotations, i);
      Floats sum = {};
      for (int32_t d = 0; d < rotations.half; d += kLanes) {
        Floats low, high, mean_low, mean_high;
        load_pair(key_of<T>(keys, i), mean, rotations, row, d, low, high, mean_low, mean_high);
        low -= mean_low;
        high -= mean_high;
        sum += low * low + high * high;
      }
      out[i] = total(sum);
    }
  }
};

template <typename T>
struct KeyProducts {
  [[gnu::always_inline]] static void run(const Run& keys, const Rotations& rotations, const float* mean,
                                         float* dots, float* squares) {
    for (int32_t i = 0; i < keys.count; ++i) {
      const size_t row = table_row(keys, rotations, i);
      Floats dot = {};
      Floats square = {};
      for (int32_t d = 0; d < rotations.half; d += kLanes) {
        Floats low, high, mean_low, mean_high;
        load_pair(key_of<T>(keys, i), mean, rotations, row, d, low, high, mean_low, mean_high);
        dot += low * mean_low + high * mean_high;
        square += low * low + high * high;
      }
      dots[i] = total(dot);
      squares[i] = total(square);
    }
  }
};

}  // namespace

void sum_unrotated(Isa isa, DType dtype, const Run& run, const Rotations& rotations, float* sum) {
  dtype == DType::bf16 ? run_on<SumUnrotated<bf16>>(isa, run, rotations, sum)
                       : run_on<SumUnrotated<float>>(isa, run, rotations, sum);
}

void squared_distances(Isa isa, DType dtype, const Run& run, const Rotations& rotations, const float* mean,
                       float* out) {
  dtype == DType::bf16 ? run_on<SquaredDistances<bf16>>(isa, run, rotations, mean, out)
                       : run_on<SquaredDistances<float>>(isa, run, rotations, mean, out);
}

void key_products(Isa isa, DType dtype, const Run& run, const Rotations& rotations, const float* mean,
                  float* dots, float* squares) {
  dtype == DType::bf16 ? run_on<KeyProducts<bf16>>(isa, run, rotations, mean, dots, squares)
                       : run_on<KeyProducts<float>>(isa, run, rotations, mean, dots, squares);
}

}  // namespace batchmax::kernels::cpu
