#include "kernels/attention/prefill_attention.h"

#include "tests/kernels/attention/scene.h"

namespace batchmax::kernels::testing {
namespace {

class PrefillAttentionOp : public OnBackend {};
BATCHMAX_ON_BACKENDS(PrefillAttentionOp);

void expect_formula(const Stream& stream, const Scene& scene) {
  const SceneShape& shape = scene.shape;
  const auto heads = static_cast<size_t>(scene.query_heads());
  const auto tokens = static_cast<size_t>(scene.tokens());
  std::vector<double> out(tokens * heads * scene.dim(), Scene::kUntouched);
  std::vector<double> lse(tokens * heads, Scene::kUntouched);
  for (size_t r = 0; r < scene.rows(); ++r) {
    const Row& row = scene.row(r);
    for (int32_t i = 0; i < row.token_count; ++i) {
      for (int32_t head = 0; head < scene.query_heads(); ++head) {
        const auto expected = scene.reference(row, row.token_begin + i, head, i + 1);
        const size_t at = static_cast<size_t>(row.token_begin + i) * heads + static_cast<size_t>(head);
        std::copy(expected.out.begin(), expected.out.end(),
                  out.begin() + static_cast<ptrdiff_t>(at * scene.dim()));
        lse[at] = expected.lse;
      }
    }
  }
  for (const Level& level : levels(stream.backend())) {
    const auto on = scene.load();
    scene.prefill_attention(on, level);
    // A weight and the result round to bf16: of one key with all the weight nothing averages out.
    expect_close(on.out.read_floats(stream), out, out_tolerance(shape), shape.q == DType::bf16 ? 4e-3 : 0,
                 shape.describe() + " out " + level.name);
    expect_close(on.lse.read_floats(stream), lse, 2e-5, 1e-6, shape.describe() + " lse " + level.name);
  }
}

void expect_formula(const Stream& stream, const SceneShape& shape) {
  expect_formula(stream, Scene(stream, shape));
}

const std::vector<SceneShape::Sequence> kSequences = {{0, 1}, {0, 7}, {5, 1}, {63, 65}, {130, 37}};

TEST_P(PrefillAttentionOp, EqualsTheFormulaForEveryShape) {
  for (const DType q : {DType::f32, DType::bf16}) {
    for (const DType kv : {DType::f32, DType::bf16}) {
      for (const int32_t head_dim : {64, 96, 128}) {
        for (const int32_t group : {1, 2, 4, 8})
          expect_formula(stream_, {q, kv, head_dim, group, 2, kSequences});
      }
    }
  }
}

TEST_P(PrefillAttentionOp, TakesGroupsThatDivideNothing) {
  for (const int32_t group : {3, 5, 6, 7}) {
    expect_formula(stream_, {DType::f32, DType::f32, 64, group, 1, {{64, 64}, {17, 41}}});
    expect_formula(stream_, {DType::bf16, DType::bf16, 64, group, 1, {{64, 64}, {17, 41}}});
  }
}

TEST_P(PrefillAttentionOp, TakesLongBlocks) {
  expect_formula(stream_, {DType::f32, DType::bf16, 64, 1, 1, {{301, 256}}});
  for (const int32_t head_dim : {64, 96, 128}) {
    expect_formula(stream_, {DType::bf16, DType::bf16, head_dim, 1, 1, {{301, 256}, {0, 129}}});
    expect_formula(stream_, {DType::bf16, DType::bf16, head_dim, 4, 1, {{64, 100}, {0, 33}}});
  }
}

// Later keys may score higher than earlier ones by more than a power of two can say in fp32.
TEST_P(PrefillAttentionOp, TakesScoresThatRiseLate) {
  for (const int32_t head_dim : {64, 96, 128}) {
    for (const int32_t group : {1, 4}) {
      Scene scene(stream_, {DType::bf16, DType::bf16, head_dim, group, 1, {{301, 256}, {0, 200}, {520, 1}}});
      const auto stretch = [&](float* key, float by) {
        for (size_t i = 0; i < scene.dim(); ++i) key[i] *= by;
      };
      for (size_t r = 0; r < scene.rows(); ++r) {
        const Row& row = scene.row(r);
        for (int32_t slot = 200; slot < row.resident; slot += 7)
          stretch(&scene.kv[scene.key_at(row, 0, slot)], 8);
        for (int32_t i = 140; i < row.token_count; i += 3)
          stretch(&scene.k[static_cast<size_t>(row.token_begin + i) * scene.dim()], 32);
      }
      expect_formula(stream_, scene);
    }
  }
}

// A row's result does not depend on the pages it lies in or on the rows beside it.
TEST_P(PrefillAttentionOp, DoesNotDependOnPagesOrCompany) {
  const SceneShape together{DType::bf16, DType::bf16, 64, 2, 2, kSequences};
  const Scene one(stream_, together, 1);
  const Scene other(stream_, together, 2);
  for (const Level& level : levels(stream_.backend())) {
    const auto a = one.load();
    one.prefill_attention(a, level);
    const auto b = other.load();
    other.prefill_attention(b, level);
    EXPECT_EQ(a.out.read_floats(stream_), b.out.read_floats(stream_)) << level.name;
    EXPECT_EQ(a.lse.read_floats(stream_), b.lse.read_floats(stream_)) << level.name;

    const auto alone = one.load();
    for (size_t r = 0; r < one.rows(); ++r)
      one.prefill_attention(alone, level, alone.span().sub(static_cast<int32_t>(r), 1));
    EXPECT_EQ(a.out.read_floats(stream_), alone.out.read_floats(stream_)) << level.name;
  }
}

// A token's result is the same, to the bit, whether others of its block follow it or not.
TEST_P(PrefillAttentionOp, DoesNotDependOnHowManyFollow) {
  for (const DType type : {DType::f32, DType::bf16}) {
    for (const int32_t group : {1, 2, 5, 8}) {
      const Scene scene(stream_, {type, type, 64, group, 1, {{130, 140}}});
      for (const Level& level : levels(stream_.backend())) {
        const auto whole = scene.load();
        scene.prefill_attention(whole, level);
        const auto out = whole.out.read_floats(stream_);
        for (int32_t count : {1, 3, 7, 50, 65, 97, 100}) {
          Row row = scene.row(0);
          row.token_count = count;
          const Values<Row> rows(stream_, {row});
          const auto on = scene.load();
          scene.prefill_attention(on, level, {rows.host(), rows.data(), 1});
          const size_t end = static_cast<size_t>(row.token_begin + count) *
                             static_cast<size_t>(scene.query_heads()) * scene.dim();
          auto expected = out;
          std::fill(expected.begin() + static_cast<ptrdiff_t>(end), expected.end(), Scene::kUntouched);
          EXPECT_EQ(on.out.read_floats(stream_), expected)
              << level.name << ", " << scene.shape.describe() << ", " << count << " tokens";
        }
      }
    }
  }
}

}  // namespace
}  // namespace batchmax::kernels::testing
