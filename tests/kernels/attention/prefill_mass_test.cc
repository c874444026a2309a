#include "kernels/attention/prefill_mass.h"

#include "tests/kernels/attention/scene.h"

namespace batchmax::kernels::testing {
namespace {

class PrefillMassOp : public OnBackend {};
BATCHMAX_ON_BACKENDS(PrefillMassOp);

struct Masses {
  std::vector<double> cache;    // as KvView lays it out
  std::vector<double> staging;  // [T, Hkv]
  double diagonal = 0;          // what was left out
};

Masses reference_masses(const Scene& scene) {
  Masses masses;
  masses.cache.assign(scene.mass.begin(), scene.mass.end());
  masses.staging.assign(static_cast<size_t>(scene.tokens() * scene.shape.kv_heads), Scene::kUntouched);
  for (size_t r = 0; r < scene.rows(); ++r) {
    const Row& row = scene.row(r);
    const auto staged = [&](int32_t i, int32_t head) {
      return static_cast<size_t>((row.token_begin + i) * scene.shape.kv_heads + head);
    };
    for (int32_t head = 0; head < scene.shape.kv_heads; ++head) {
      for (int32_t i = 0; i < row.token_count; ++i) masses.staging[staged(i, head)] = 0;
    }
    for (int32_t i = 0; i < row.token_count; ++i) {
      for (int32_t query_head = 0; query_head < scene.query_heads(); ++query_head) {
        const int32_t head = query_head / scene.shape.group;
        const auto p = scene.reference(row, row.token_begin + i, query_head, i + 1).probabilities;
        for (int32_t slot = 0; slot < row.resident; ++slot) {
          masses.cache[scene.state_at(row, head, slot)] += p[static_cast<size_t>(slot)];
        }
        for (int32_t j = 0; j < i; ++j)
          masses.staging[staged(j, head)] += p[static_cast<size_t>(row.resident + j)];
        masses.diagonal += p.back();
      }
    }
  }
  return masses;
}

void expect_formula(const Stream& stream, const SceneShape& shape) {
  const Scene scene(stream, shape);
  const Masses expected = reference_masses(scene);
  for (const Level& level : levels(stream.backend())) {
    const auto on = scene.load();
    scene.prefill_attention(on, level);
    scene.prefill_mass(on, level);
    const std::string what = shape.describe() + " " + level.name;
    expect_close(on.mass.read_floats(stream), expected.cache, 1e-5, 1e-5, what + " mass");
    expect_close(on.mass_new.read_floats(stream), expected.staging, 1e-5, 1e-5, what + " mass_new");
  }
}

const std::vector<SceneShape::Sequence> kSequences = {{0, 1}, {0, 7}, {5, 1}, {63, 65}, {130, 37}};

TEST_P(PrefillMassOp, EqualsTheFormulaForEveryShape) {
  for (const DType q : {DType::f32, DType::bf16}) {
    for (const DType kv : {DType::f32, DType::bf16}) {
      for (const int32_t head_dim : {64, 96, 128}) {
        for (const int32_t group : {1, 2, 4, 8})
          expect_formula(stream_, {q, kv, head_dim, group, 2, kSequences});
      }
    }
  }
}

TEST_P(PrefillMassOp, TakesLongBlocksAndOddGroups) {
  expect_formula(stream_, {DType::bf16, DType::bf16, 64, 1, 1, {{301, 300}}});
  expect_formula(stream_, {DType::bf16, DType::bf16, 128, 4, 1, {{200, 150}, {0, 130}}});
  expect_formula(stream_, {DType::f32, DType::f32, 64, 3, 1, {{301, 100}}});
}

// Each query gives 1 in all: to the slots, to the block's earlier keys, and to itself, which is left out.
TEST_P(PrefillMassOp, GivesAwayAllButTheDiagonal) {
  const SceneShape shape{DType::f32, DType::f32, 64, 4, 2, {{100, 77}}};
  const Scene scene(stream_, shape);
  for (const Level& level : levels(stream_.backend())) {
    const auto on = scene.load();
    scene.prefill_attention(on, level);
    scene.prefill_mass(on, level);
    double given = reference_masses(scene).diagonal;
    for (const float mass : on.mass.read<float>(stream_))
      given += static_cast<double>(mass - Scene::kOldMass);
    const auto staging = on.mass_new.read<float>(stream_);
    const Row& row = scene.row(0);
    for (int32_t i = 0; i < row.token_count * shape.kv_heads; ++i) {
      given += static_cast<double>(staging[static_cast<size_t>(row.token_begin * shape.kv_heads + i)]);
    }
    EXPECT_NEAR(given, row.token_count * scene.query_heads(), 1e-2) << level.name;
    EXPECT_EQ(staging[static_cast<size_t>((row.token_begin + row.token_count - 1) * shape.kv_heads)], 0.0F)
        << "the last key is seen by its own query only";
  }
}

TEST_P(PrefillMassOp, DoesNotDependOnPagesOrCompany) {
  const SceneShape together{DType::bf16, DType::bf16, 96, 2, 2, kSequences};
  const Scene one(stream_, together, 1);
  const Scene other(stream_, together, 2);
  for (const Level& level : levels(stream_.backend())) {
    const auto a = one.load();
    one.prefill_attention(a, level);
    one.prefill_mass(a, level);
    const auto b = other.load();
    other.prefill_attention(b, level);
    for (size_t r = 0; r < other.rows(); ++r) {
      const PrefillMass args{b.q.tensor(),
                             b.lse.tensor(),
                             b.k.tensor(),
                             b.view,
                             Scene::kLayer,
                             b.span().sub(static_cast<int32_t>(r), 1),
                             static_cast<float>(other.scale()),
                             b.mass_new.tensor()};
      level.any_backend ? prefill_mass(stream_, args) : cpu::prefill_mass(args, level.isa);
    }
    EXPECT_EQ(a.mass_new.read<float>(stream_), b.mass_new.read<float>(stream_)) << level.name;
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
