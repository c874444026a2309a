#include "kernels/eviction/score.h"

#include "kernels/eviction/select.h"
#include "tests/kernels/eviction/scene.h"

namespace batchmax::kernels::testing {
namespace {

class ScoreLayerTest : public OnBackend {};
BATCHMAX_ON_BACKENDS(ScoreLayerTest);

constexpr float kUntouched = 77.0F;
constexpr Score kScores[] = {Score::average, Score::key_distance, Score::key_diff, Score::recency,
                             Score::random};

Array workspace_for(const Stream& stream, const Scene& scene, int64_t layers, int64_t rows) {
  const size_t bytes = selection_workspace_bytes(stream, layers, rows, scene.shape.kv_heads, scene.pitch());
  return Array(stream, DType::u8, {static_cast<int64_t>(bytes)});
}

std::vector<float> score(const Stream& stream, const Scene& scene, const std::vector<Row>& rows) {
  const Scene::Loaded on = scene.load(stream, rows);
  const Candidates candidates = scene.candidates(on);
  const auto count = static_cast<int64_t>(rows.size());
  const Array workspace = workspace_for(stream, scene, candidates.layer_count, count);
  const int64_t elements = candidates.layer_count * count * scene.pitch();
  const Array out(stream, std::vector<float>(static_cast<size_t>(elements), kUntouched),
                  {candidates.layer_count, count, scene.pitch()});
  score_layer(stream, candidates, workspace.tensor(), out.tensor());
  return out.read<float>(stream);
}

// Σ over the heads; of `recency` and `random` one head's, the same on all ranks.
std::vector<double> expected_sum(const Scene& scene, const Row& row, int32_t layer) {
  if (scene.shape.score == Score::random) {
    std::vector<double> hashes;
    for (int32_t i = 0; i < scene.count(row); ++i) {
      hashes.push_back(
          static_cast<double>(random_score(row.seed, layer, 0, scene.position(row, layer, 0, i))));
    }
    return hashes;
  }
  std::vector<double> sum = scene.values(row, layer, 0);
  if (scene.shape.score == Score::recency) return sum;
  for (int32_t head = 1; head < scene.shape.kv_heads; ++head) {
    const auto values = scene.values(row, layer, head);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
  }
  return sum;
}

void check(const Stream& stream, const SceneShape& shape) {
  const Scene scene(shape);
  const auto scores = score(stream, scene, scene.rows);
  auto entry = scores.begin();
  for (int32_t layer = scene.first_layer(); layer < shape.layers; ++layer) {
    for (const Row& row : scene.rows) {
      const std::vector<float> given(entry, entry + scene.count(row));
      expect_close(
          given, expected_sum(scene, row, layer), 2e-6, 2e-6,
          shape.describe() + ", layer " + std::to_string(layer) + ", row " + std::to_string(row.sequence));
      for (auto rest = entry + scene.count(row); rest != entry + scene.pitch(); ++rest) {
        ASSERT_EQ(*rest, kUntouched) << shape.describe();
      }
      entry += scene.pitch();
    }
  }
}

std::vector<SceneShape::Sequence> sequences_of(Pool pool) {
  if (pool == Pool::block) return {{0, 7, 7}, {90, 33, 100}, {1, 1, 2}, {300, 128, 301}};
  if (pool == Pool::tail) return {{0, 7, 6}, {90, 33, 20}, {65, 64, 64}, {200, 99, 150}};
  return {{9, 1, 10, 1}, {128, 1, 129, 3}, {500, 1, 300, 2}};
}

TEST_P(ScoreLayerTest, SumsEveryScoreOverTheHeads) {
  for (const Score score : kScores) {
    for (const Pool pool : {Pool::block, Pool::tail, Pool::slots}) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const int32_t head_dim : {64, 96, 128}) {
          check(stream_, {pool, score, dtype, head_dim, 3, 2, sequences_of(pool)});
        }
      }
    }
  }
}

TEST_P(ScoreLayerTest, TakesMoreCandidatesThanFitIntoAKernelsOwnMemory) {
  for (const Score score : {Score::average, Score::key_distance}) {
    check(stream_, {Pool::tail, score, DType::bf16, 64, 2, 1, {{9000, 256, 1000}, {20, 20, 10}}});
    check(stream_, {Pool::slots, score, DType::bf16, 64, 2, 2, {{9300, 1, 9301, 4}}});
  }
}

// Of all 131,072 that longrope gives Phi-3.5.
TEST_P(ScoreLayerTest, TurnsKeysBackFromTheFarthestPositions) {
  SceneShape block{Pool::block, Score::key_distance, DType::f32, 96, 2, 1, {{300, 128, 301}}};
  block.evicted = 131'072 - 300 - 2 * 128;
  check(stream_, block);
  block.dtype = DType::bf16;
  check(stream_, block);
  SceneShape slots{Pool::slots, Score::key_diff, DType::bf16, 96, 2, 1, {{300, 1, 301, 1}}};
  slots.evicted = 131'072 - 300 - 2;
  check(stream_, slots);
}

TEST_P(ScoreLayerTest, OfARowDoesNotDependOnItsNeighbours) {
  for (const Score score_of : {Score::key_distance, Score::key_diff}) {
    const Scene scene({Pool::tail, score_of, DType::bf16, 96, 3, 1, {{300, 100, 120}, {70, 64, 90}}});
    const auto together = score(stream_, scene, scene.rows);
    const auto alone = score(stream_, scene, {scene.rows[1]});
    for (int32_t i = 0; i < scene.count(scene.rows[1]); ++i) {
      ASSERT_EQ(together[static_cast<size_t>(scene.pitch() + i)], alone[static_cast<size_t>(i)]) << i;
    }
  }
}

TEST_P(ScoreLayerTest, SkipsPadding) {
  for (const Score score_of : kScores) {
    const Scene scene({Pool::slots, score_of, DType::f32, 64, 2, 2, {{40, 1, 41, 2}}});
    Row padding = scene.rows[0];
    padding.sequence = kNoSequence;
    padding.keep = 1000000;
    const auto scores = score(stream_, scene, {padding, scene.rows[0]});
    const auto alone = score(stream_, scene, scene.rows);
    const auto pitch = static_cast<size_t>(scene.pitch());
    for (size_t i = 0; i < pitch; ++i) {
      EXPECT_EQ(scores[i], kUntouched);
      EXPECT_EQ(scores[pitch + i], alone[i]);
    }
  }
}

TEST(Score, IsFoundByItsName) {
  for (const Score score : kScores) EXPECT_EQ(score_from_name(name_of(score)), score);
  EXPECT_EQ(score_from_name("attention"), std::nullopt);
}

}  // namespace
}  // namespace batchmax::kernels::testing
