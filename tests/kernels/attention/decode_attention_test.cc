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

void expect_same_bits_on_cpu(const Stream& stream, const Scene& scene) {
  for (const Level& level : levels(stream.backend())) {
    if (level.any_backend) continue;
    std::vector<std::vector<float>> outs;
    std::vector<std::vector<float>> masses;
    for (const auto share : {cpu::DecodeShare::heads, cpu::DecodeShare::chunks}) {
      for (const bool with_mass : {false, true}) {
        const auto on = scene.load();
        cpu::decode_attention(scene.decode_args(on, on.span()), with_mass, level.isa, share);
        outs.push_back(on.out.read_floats(stream));
        if (with_mass) masses.push_back(on.mass.read_floats(stream));
      }
    }
    for (const auto& out : outs) EXPECT_EQ(out, outs[0]) << scene.shape.describe() << " " << level.name;
    EXPECT_EQ(masses[1], masses[0]) << scene.shape.describe() << " " << level.name;
  }
}

void expect_same_bits_on_cuda(const Stream& stream, const Scene& scene) {
  if constexpr (kCudaBuilt) {
    std::vector<std::vector<float>> outs;
    for (const auto cut : {cuda::DecodeCut::whole, cuda::DecodeCut::pieces}) {
      const auto on = scene.load();
      cuda::decode_attention(stream, scene.decode_args(on, on.span()), false, cut);
      outs.push_back(on.out.read_floats(stream));
    }
    EXPECT_EQ(outs[0], outs[1]) << scene.shape.describe();
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
  expect_formula(stream_, {DType::bf16, DType::bf16, 128, 1, 1, {{9001, 1}}});
}

// The scores of so many slots and heads fit no shared memory of a device.
TEST_P(DecodeAttentionOp, AddsMassToManySlots) {
  expect_formula(stream_, {DType::f32, DType::bf16, 64, 8, 1, {{5003, 1}, {40, 1}}});
  expect_formula(stream_, {DType::bf16, DType::bf16, 96, 8, 1, {{5003, 1}, {1100, 1}}});
  expect_formula(stream_, {DType::bf16, DType::bf16, 128, 5, 1, {{4100, 1}}});
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

// As a captured step has them behind its rows.
TEST_P(DecodeAttentionOp, SkipsPaddingRows) {
  const SceneShape shape{DType::bf16, DType::bf16, 128, 2, 2, {{700, 1}, {65, 1}, {3, 1}}};
  const Scene scene(stream_, shape);
  Row padding{};
  padding.sequence = -1;
  padding.token_begin = 1 << 20;
  const Values<Row> rows(stream_, {scene.row(0), padding, scene.row(2), padding});
  for (const Level& level : levels(stream_.backend())) {
    const auto expected = scene.load();
    scene.decode(expected, level, true);
    auto out = expected.out.read_floats(stream_);
    auto mass = expected.mass.read<float>(stream_);
    const Row& left_out = scene.row(1);
    const size_t width = static_cast<size_t>(scene.query_heads()) * scene.dim();
    const auto first = out.begin() + left_out.token_begin * static_cast<ptrdiff_t>(width);
    std::fill_n(first, width, Scene::kUntouched);
    for (int32_t head = 0; head < shape.kv_heads; ++head) {
      for (int32_t slot = 0; slot < left_out.resident; ++slot) {
        mass[scene.state_at(left_out, head, slot)] = Scene::kOldMass;
      }
    }
    for (const bool with_mass : {false, true}) {
      const auto on = scene.load();
      scene.decode(on, level, with_mass, {rows.host(), rows.data(), 4});
      EXPECT_EQ(on.out.read_floats(stream_), out) << level.name;
      if (with_mass) {
        EXPECT_EQ(on.mass.read<float>(stream_), mass) << level.name;
      }
    }
  }
}

// How the work is shared out (the ops choose by the number of rows) changes no bit. CUDA: a thread block for
// a whole row or for each piece of it; mass needs whole rows.
TEST_P(DecodeAttentionOp, GivesTheSameBitsHoweverRowsAreCut) {
  for (const DType type : {DType::bf16, DType::f32}) {
    for (const int32_t head_dim : {64, 96, 128}) {
      for (const int32_t group : {1, 3, 8}) {
        const int32_t longest = stream_.backend() == Backend::cpu ? 1300 : 9001;
        const Scene scene(stream_,
                          {type, DType::bf16, head_dim, group, 2, {{40, 1}, {513, 1}, {longest, 1}}});
        stream_.backend() == Backend::cpu ? expect_same_bits_on_cpu(stream_, scene)
                                          : expect_same_bits_on_cuda(stream_, scene);
      }
    }
  }
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
