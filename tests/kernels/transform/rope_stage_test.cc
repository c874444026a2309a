#include "kernels/transform/rope_stage.h"

#include <cmath>

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class RopeStageTest : public OnBackend {};
BATCHMAX_ON_BACKENDS(RopeStageTest);

struct Case {
  int64_t tokens, q_heads, kv_heads, head_dim;
  DType in, kv;
  bool norms;
  int32_t positions = 97;  // of each table
};

constexpr int32_t kTables = 2;
constexpr float kEps = 1e-6F;

struct Tables {
  std::vector<float> cos, sin;
};
Tables rotation_tables(int32_t positions, int64_t head_dim) {
  Tables tables;
  for (int32_t table = 0; table < kTables; ++table) {
    for (int32_t position = 0; position < positions; ++position) {
      for (int64_t i = 0; i < head_dim / 2; ++i) {
        const double frequency = std::pow(table == 0 ? 10000.0 : 500.0,
                                          -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
        tables.cos.push_back(static_cast<float>(std::cos(position * frequency)));
        tables.sin.push_back(static_cast<float>(std::sin(position * frequency)));
      }
    }
  }
  return tables;
}

// One head through norm and rotation, as complex numbers (x_i, x_{i + D/2}) turned by the position's angle.
std::vector<double> reference_head(const float* x, int64_t head_dim, const float* norm, const float* cos,
                                   const float* sin) {
  std::vector<double> head(x, x + head_dim);
  if (norm != nullptr) {
    double squares = 0;
    for (const double value : head) squares += value * value;
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(head_dim) + static_cast<double>(kEps));
    for (size_t i = 0; i < head.size(); ++i) head[i] *= scale * static_cast<double>(norm[i]);
  }
  const size_t half = head.size() / 2;
  std::vector<double> out(head.size());
  for (size_t i = 0; i < half; ++i) {
    out[i] = head[i] * static_cast<double>(cos[i]) - head[i + half] * static_cast<double>(sin[i]);
    out[i + half] = head[i + half] * static_cast<double>(cos[i]) + head[i] * static_cast<double>(sin[i]);
  }
  return out;
}

void append(std::vector<double>& to, const std::vector<double>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

void check(const Stream& stream, const Case& c, std::mt19937& random) {
  const int64_t width = (c.q_heads + 2 * c.kv_heads) * c.head_dim;
  const auto qkv = random_floats(random, static_cast<size_t>(c.tokens * width), c.in);
  const auto q_norm = random_floats(random, static_cast<size_t>(c.head_dim), c.in);
  const auto k_norm = random_floats(random, static_cast<size_t>(c.head_dim), c.in);
  const Tables tables = rotation_tables(c.positions, c.head_dim);
  std::vector<int32_t> positions, table_ids;
  std::vector<double> q_expected, k_expected, v_expected;
  for (int64_t t = 0; t < c.tokens; ++t) {
    positions.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(c.positions)));
    table_ids.push_back(static_cast<int32_t>(random() % kTables));
    if (t < kTables) {  // the ends of the tables
      positions.back() = c.positions - 1;
      table_ids.back() = static_cast<int32_t>(t);
    }
    const size_t row =
        static_cast<size_t>((table_ids.back() * c.positions + positions.back()) * c.head_dim / 2);
    const float* token = qkv.data() + t * width;
    for (int64_t head = 0; head < c.q_heads + 2 * c.kv_heads; ++head) {
      const float* x = token + head * c.head_dim;
      const float* cos = tables.cos.data() + row;
      const float* sin = tables.sin.data() + row;
      if (head < c.q_heads) {
        append(q_expected, reference_head(x, c.head_dim, c.norms ? q_norm.data() : nullptr, cos, sin));
      } else if (head < c.q_heads + c.kv_heads) {
        append(k_expected, reference_head(x, c.head_dim, c.norms ? k_norm.data() : nullptr, cos, sin));
      } else {
        append(v_expected, std::vector<double>(x, x + c.head_dim));
      }
    }
  }
  const Array qkv_array = Array::of_floats(stream, c.in, qkv, {c.tokens, width});
  const Array positions_array(stream, positions, {c.tokens});
  const Array tables_array(stream, table_ids, {c.tokens});
  const Array cos_array(stream, tables.cos, {kTables, c.positions, c.head_dim / 2});
  const Array sin_array(stream, tables.sin, {kTables, c.positions, c.head_dim / 2});
  const Array q_norm_array = Array::of_floats(stream, c.in, q_norm, {c.head_dim});
  const Array k_norm_array = Array::of_floats(stream, c.in, k_norm, {c.head_dim});
  const Array q(stream, c.in, {c.tokens, c.q_heads, c.head_dim});
  const Array k(stream, c.kv, {c.tokens, c.kv_heads, c.head_dim});
  const Array v(stream, c.kv, {c.tokens, c.kv_heads, c.head_dim});
  RopeStage args;
  args.qkv = qkv_array.tensor();
  args.positions = positions_array.tensor();
  args.tables = tables_array.tensor();
  args.rope = {cos_array.tensor().as<float>(), sin_array.tensor().as<float>(), c.positions};
  if (c.norms) {
    args.q_norm = q_norm_array.tensor();
    args.k_norm = k_norm_array.tensor();
  }
  args.eps = kEps;
  args.q = q.tensor();
  args.k = k.tensor();
  args.v = v.tensor();
  rope_stage(stream, args);
  const auto relative = [](DType dtype) { return dtype == DType::bf16 ? 1.0 / 256 : 2e-6; };
  expect_close(q.read_floats(stream), q_expected, 3e-6, relative(c.in), "q");
  expect_close(k.read_floats(stream), k_expected, 3e-6, relative(c.kv), "k");
  expect_close(v.read_floats(stream), v_expected, 0.0, c.kv == DType::bf16 ? 1.0 / 256 : 0.0, "v");
}

TEST_P(RopeStageTest, SplitsNormalisesAndRotates) {
  std::mt19937 random(4);
  for (const DType in : {DType::f32, DType::bf16}) {
    for (const DType kv : {DType::f32, DType::bf16}) {
      for (const bool norms : {false, true}) {
        check(stream_, {1, 1, 1, 64, in, kv, norms}, random);
        check(stream_, {37, 4, 4, 96, in, kv, norms}, random);
        check(stream_, {23, 9, 3, 64, in, kv, norms}, random);
        check(stream_, {130, 8, 1, 128, in, kv, norms}, random);
        check(stream_, {3, 40, 40, 128, in, kv, norms}, random);
        check(stream_, {7, 3, 2, 20, in, kv, norms}, random);
        check(stream_, {600, 7, 3, 64, in, kv, norms}, random);
        check(stream_, {2, 2, 1, 256, in, kv, norms}, random);
      }
    }
  }
}

// Short and long factors of Phi-3.5: two tables of 131,072 positions.
TEST_P(RopeStageTest, ReachesEveryPositionOfLongTables) {
  std::mt19937 random(5);
  check(stream_, {130, 4, 4, 96, DType::bf16, DType::f32, false, 131072}, random);
}

}  // namespace
}  // namespace batchmax::kernels::testing
