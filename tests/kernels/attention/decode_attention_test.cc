#include "kernels/attention/decode_attention.h"

#include "tests/kernels/attention/scene.h"

namespace batchmax::kernels::testing {
namespace {

class DecodeAttentionOp : public OnBackend {};
BATCHMAX_ON_BACKENDS(DecodeAttentionOp);

void expect_formula(const Stream& stream, const SceneShape& shape) {
  const Scene scene(stream, shape);
  const auto heads = static_cast<size_t>(scene.query_heads());
  std::vector<double> out(static_cast<size_t>(scene.tokens()) * heads * scene.dim(), Scene::kUntouched);
  std::vector<double> mass(scene.mass.begin(), scene.mass.end());
  for (size_t r = 0; r < scene.rows(); ++r) {
    const Row& row = scene.row(r);
    for (int32_t head = 0; head < scene.query_heads(); ++head) {
      const auto expected = scene.reference(row, row.token_begin, head, 0);
      const size_t at = static_cast<size_t>(row.token_begin) * heads + static_cast<size_t>(head);
      std::copy(expected.out.begin(), expected.out.end(),
                out.begin() + static_cast<ptrdiff_t>(at * scene.dim()));
      for (int32_t slot = 0; slot < row.resident; ++slot) {
        if (slot == Scene::own_slot(row)) continue;
        mass[scene.state_at(row, head / shape.group, slot)] +=
            expected.probabilities[static_cast<size_t>(slot)];
      }
    }
  }
  const std::vector<double> old_mass(scene.mass.begin(), scene.mass.end());
  for (const Level& level : levels(stream.backend())) {
    const std::string what = shape.describe() + " " + level.name;
    const auto plain = scene.load();
    scene.decode(plain, level, false);
    expect_close(plain.out.read_floats(stream), out, out_tolerance(shape), 0, what + " out");
    expect_close(plain.mass.read_floats(stream), old_mass, 0, 0, what + " mass of the op without mass");
    const auto massed = scene.load();
    scene.decode(massed, level, true);
    EXPECT_EQ(massed.out.read_floats(stream), plain.out.read_floats(stream))
        << what << ": with and without mass";
    expect_close(massed.mass.read_floats(stream), mass, 1e-5, 1e-5, what + " mass");
  }
}

TEST_P(DecodeAttentionOp, EqualsTheFormulaForEveryShape) {
  for (const DType q : {DType::f32, DType::bf16}) {
    for (const DType kv : {DType::f32, DType::bf16}) {
      for (const int32_t head_dim : {64, 96, 128}) {
        for (const int32_t group : {1, 2, 4, 8}) {
          expect_formula(stream_,
                         {q, kv, head_dim, group, 2, {{1, 1}, {2, 1}, {63, 1}, {64, 1}, {65, 1}, {211, 1}}});
        }
      }
    }
  }
}

TEST_P(DecodeAttentionOp, TakesGroupsThatDivideNothing) {
  for (const int32_t group : {3, 5, 6, 7}) {
    expect_formula(stream_, {DType::bf16, DType::bf16, 64, group, 1, {{129, 1}, {7, 1}}});
  }
}

// Past 512 slots the work is split, past 4096 into longer pieces.
TEST_P(DecodeAttentionOp, TakesManySlots) {
  expect_formula(stream_,
                 {DType::f32, DType::f32, 64, 2, 1, {{511, 1}, {512, 1}, {513, 1}, {1100, 1}, {5003, 1}}});
  expect_formula(stream_, {DType::bf16, DType::bf16, 64, 2, 1, {{513, 1}, {1100, 1}, {5003, 1}}});
}

TEST_P(DecodeAttentionOp, CountsTheTokenThatTookAFreeSlot) {
  const SceneShape shape{DType::f32, DType::f32, 64, 1, 1, {{65, 1}}};
  const Scene scene(stream_, shape);
  const auto on = scene.load();
  scene.decode(on, levels(stream_.backend())[0], false);
  Row row = scene.row(0);
  row.resident = 64;
  row.queue_index = -1;
  EXPECT_EQ(decode_slots(row), 65);
  const Values<Row> rows(stream_, {row});
  const auto appended = scene.load();
  const Tensor workspace(appended.workspace.tensor().data(), DType::u8,
                         {static_cast<int64_t>(appended.workspace.tensor().bytes())});
  decode_attention(stream_,
                   {appended.q.tensor(), appended.view, Scene::kLayer, Rows{rows.host(), rows.data(), 1},
                    static_cast<float>(scene.scale()), appended.out.tensor(), workspace});
  EXPECT_EQ(on.out.read_floats(stream_), appended.out.read_floats(stream_));
}

TEST_P(DecodeAttentionOp, DoesNotDependOnPagesOrCompany) {
  const SceneShape shape{DType::bf16, DType::bf16, 128, 4, 2, {{1300, 1}, {63, 1}, {700, 1}}};
  const Scene one(stream_, shape, 1);
  const Scene other(stream_, shape, 2);
  for (const Level& level : levels(stream_.backend())) {
    const auto a = one.load();
    one.decode(a, level, true);
    const auto b = other.load();
    const Tensor workspace(b.workspace.tensor().data(), DType::u8,
                           {static_cast<int64_t>(b.workspace.tensor().bytes())});
    for (int32_t r = 0; r < 3; ++r) {
      const DecodeAttention args{
          b.q.tensor(),   b.view,   Scene::kLayer, b.span().sub(r, 1), static_cast<float>(other.scale()),
          b.out.tensor(), workspace};
      if (level.any_backend) {
        decode_attention_mass(stream_, args);
      } else {
        cpu::decode_attention(args, true, level.isa);
      }
    }
    EXPECT_EQ(a.out.read_floats(stream_), b.out.read_floats(stream_)) << level.name;
    const auto mass_a = a.mass.read<float>(stream_);
    const auto mass_b = b.mass.read<float>(stream_);
    for (size_t r = 0; r < one.rows(); ++r) {
      for (int32_t slot = 0; slot < one.row(r).resident; ++slot) {
        ASSERT_EQ(mass_a[one.state_at(one.row(r), 1, slot)], mass_b[other.state_at(other.row(r), 1, slot)])
            << level.name << " row " << r << " slot " << slot;
      }
    }
  }
}

}  // namespace
}  // namespace batchmax::kernels::testing
