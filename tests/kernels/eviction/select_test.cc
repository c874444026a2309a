#include "kernels/eviction/select.h"

#include "tests/kernels/eviction/judge.h"

namespace batchmax::kernels::testing {
namespace {

class SelectTest : public OnBackend {};
BATCHMAX_ON_BACKENDS(SelectTest);

constexpr int32_t kUntouched = -77;
constexpr int32_t kDecodeBlock = 40;
constexpr Score kScores[] = {Score::average, Score::key_distance, Score::key_diff, Score::recency,
                             Score::random};

// A scene on its backend with what a selection needs beside it. Scope layer: scores of score_layer.
struct Bench {
  Bench(const Stream& stream, const Scene& of, const std::vector<Row>& rows, bool layer_scope)
      : on(of.load(stream, rows)) {
    selection.candidates = of.candidates(on);
    selection.pitch = of.pitch();
    const int64_t layers = selection.candidates.layer_count;
    const auto count = static_cast<int64_t>(rows.size());
    const size_t bytes = selection_workspace_bytes(stream, layers, count, of.shape.kv_heads, selection.pitch);
    workspace = Array(stream, DType::u8, {static_cast<int64_t>(bytes)});
    selection.workspace = workspace.tensor();
    if (!layer_scope) return;
    layer_scores = Array(stream, DType::f32, {layers, count, selection.pitch});
    score_layer(stream, selection.candidates, workspace.tensor(), layer_scores.tensor());
    selection.layer_scores = layer_scores.tensor();
  }
  Scene::Loaded on;
  Array workspace, layer_scores;
  Selection selection;
};

std::vector<double> layer_values(const Scene& scene, const Row& row, int32_t layer) {
  std::vector<double> sum(static_cast<size_t>(scene.count(row)), 0.0);
  for (int32_t head = 0; head < scene.shape.kv_heads; ++head) {
    const auto values = scene.values(row, layer, head);
    for (size_t i = 0; i < sum.size(); ++i) {
      // The kernels add fp32 masses in this order.
      sum[i] = head == 0 ? values[i]
                         : static_cast<double>(static_cast<float>(sum[i]) + static_cast<float>(values[i]));
    }
  }
  return sum;
}

std::vector<double> values_of(const Scene& scene, const Row& row, int32_t layer, int32_t head,
                              bool layer_scope) {
  if (!layer_scope) return scene.values(row, layer, head);
  if (scene.shape.score == Score::recency) return scene.values(row, layer, 0);
  if (scene.shape.score != Score::random) return layer_values(scene, row, layer);
  std::vector<double> hashes;
  for (int32_t i = 0; i < scene.count(row); ++i) {
    hashes.push_back(static_cast<double>(random_score(row.seed, layer, 0, scene.position(row, layer, 0, i))));
  }
  return hashes;
}

// dest of one (row, head), entries of the new candidates, against the contract; what is evicted, against the
// scores.
void expect_kept(const Scene& scene, const Row& row, int32_t head, const std::vector<int32_t>& dest,
                 bool layer_scope, const std::string& what) {
  const int32_t layer = scene.first_layer();
  const int32_t first_new = scene.shape.pool == Pool::tail ? row.keep : row.resident;
  std::set<int32_t> victims;
  int32_t last = -1;
  int32_t next_free = first_new;
  for (size_t i = 0; i < dest.size(); ++i) {
    if (dest[i] < 0) {
      ASSERT_EQ(dest[i], -1) << what << ", new candidate " << i;
      victims.insert(first_new + static_cast<int32_t>(i));
      continue;
    }
    ASSERT_GT(dest[i], last) << what << ", new candidate " << i;
    last = dest[i];
    if (last >= first_new) {
      ASSERT_EQ(last, next_free++) << what << ", new candidate " << i;
    } else {
      victims.insert(last);
    }
  }
  ASSERT_LE(next_free, std::max(row.keep, scene.count(row))) << what;
  const int32_t surplus = std::max(0, scene.count(row) - row.keep);
  ASSERT_EQ(static_cast<int32_t>(victims.size()), surplus) << what;
  if (surplus == 0) return;
  const auto values = values_of(scene, row, layer, head, layer_scope);
  expect_victims(judge(scene, row, layer, head, values), victims, computed_exactly(scene.shape.score), what);
}

void check_keep(const Stream& stream, const Scene& scene, const std::vector<Row>& rows, bool layer_scope) {
  const Bench bench(stream, scene, rows, layer_scope);
  const int64_t heads = scene.shape.kv_heads;
  const bool tail = scene.shape.pool == Pool::tail;
  int64_t entries = scene.tokens();
  if (tail) {
    entries = 0;
    for (const Row& row : rows) entries += tail_surplus(row);
  }
  const Array dest(stream, std::vector<int32_t>(static_cast<size_t>(entries * heads), kUntouched),
                   {entries, heads});
  select_keep(stream, bench.selection, dest.tensor());
  const auto given = dest.read<int32_t>(stream);
  std::vector<bool> written(given.size(), false);
  int64_t packed = 0;
  for (const Row& row : rows) {
    if (row.sequence == kNoSequence) continue;
    const int64_t first = tail ? packed : row.token_begin;
    const int32_t number = tail ? tail_surplus(row) : row.token_count;
    packed += number;
    for (int32_t head = 0; head < heads; ++head) {
      std::vector<int32_t> own;
      for (int32_t i = 0; i < number; ++i) {
        const auto at = static_cast<size_t>((first + i) * heads + head);
        own.push_back(given[at]);
        written[at] = true;
      }
      expect_kept(scene, row, head, own, layer_scope,
                  scene.shape.describe() + (layer_scope ? ", scope layer" : "") + ", row " +
                      std::to_string(row.sequence) + ", head " + std::to_string(head));
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  for (size_t i = 0; i < given.size(); ++i) {
    ASSERT_TRUE(written[i] || given[i] == kUntouched) << "entry " << i << " belongs to nobody";
  }
}

// Each layer's queue entries of one row, judged one by one: entry v is the (v + 1)-th victim.
void expect_queue(const Scene& scene, const Row& row, int32_t layer, int32_t head, const int32_t* queue,
                  bool layer_scope, const std::string& what) {
  const auto judged = judge(scene, row, layer, head, values_of(scene, row, layer, head, layer_scope));
  const bool exact = computed_exactly(scene.shape.score);
  const std::set<int32_t> victims(queue, queue + row.victims);
  ASSERT_EQ(static_cast<int32_t>(victims.size()), row.victims) << what;
  expect_victims(judged, victims, exact, what);
  for (int32_t v = 0; v < row.victims; ++v) {
    const int32_t expected = judged.order[static_cast<size_t>(v)];
    if (queue[v] == expected) continue;
    ASSERT_FALSE(exact) << what << ", victim " << v << " is " << queue[v] << ", expected " << expected;
    const double score = judged.scores[static_cast<size_t>(expected)];
    ASSERT_LE(std::abs(judged.scores[static_cast<size_t>(queue[v])] - score), 1e-5 * std::abs(score))
        << what << ", victim " << v;
  }
}

void check_victims(const Stream& stream, const Scene& scene, const std::vector<Row>& rows, bool layer_scope) {
  const Bench bench(stream, scene, rows, layer_scope);
  const auto sequences = static_cast<int64_t>(scene.rows.size());
  const int64_t layers = scene.shape.layers;
  const int64_t heads = scene.shape.kv_heads;
  const int64_t elements = sequences * layers * heads * kDecodeBlock;
  const Array queues(stream, std::vector<int32_t>(static_cast<size_t>(elements), kUntouched),
                     {sequences, layers, heads, kDecodeBlock});
  select_victims(stream, bench.selection, queues.tensor());
  const auto given = queues.read<int32_t>(stream);
  for (const Row& row : rows) {
    if (row.sequence == kNoSequence) continue;
    for (int32_t layer = 0; layer < layers; ++layer) {
      for (int32_t head = 0; head < heads; ++head) {
        const int32_t* queue =
            &given[static_cast<size_t>(((row.sequence * layers + layer) * heads + head) * kDecodeBlock)];
        const std::string what = scene.shape.describe() + ", row " + std::to_string(row.sequence) +
                                 ", layer " + std::to_string(layer) + ", head " + std::to_string(head);
        for (int32_t v = row.victims; v < kDecodeBlock; ++v) ASSERT_EQ(queue[v], kUntouched) << what;
        if (row.victims > 0) expect_queue(scene, row, layer, head, queue, layer_scope, what);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// {resident, tokens, keep, victims}: without surplus, one victim, all that may be, budgets below a page.
const std::vector<SceneShape::Sequence> kBlocks = {
    {0, 30, 30}, {0, 40, 12}, {20, 16, 20}, {100, 50, 149}, {100, 27, 101}, {1024, 256, 1024}, {61, 3, 62}};
const std::vector<SceneShape::Sequence> kTails = {
    {0, 30, 30}, {0, 40, 12}, {100, 64, 100}, {300, 99, 50}, {700, 41, 700}};
const std::vector<SceneShape::Sequence> kSlots = {
    {11, 1, 12, 1}, {63, 1, 64, 40}, {64, 1, 65, 0}, {500, 1, 300, 16}, {1023, 1, 1024, 16}};

TEST_P(SelectTest, KeepsTheBestOfABlockAndItsResidents) {
  for (const Score score : kScores) {
    for (const bool layer_scope : {false, true}) {
      SceneShape shape{Pool::block, score, DType::f32, 64, 3, 2, kBlocks};
      shape.same_positions = layer_scope;
      const Scene scene(shape);
      check_keep(stream_, scene, scene.rows, layer_scope);
    }
  }
}

TEST_P(SelectTest, KeepsTheBestOfAWholePrompt) {
  for (const Score score : kScores) {
    for (const bool layer_scope : {false, true}) {
      SceneShape shape{Pool::tail, score, DType::f32, 64, 3, 2, kTails};
      shape.same_positions = layer_scope;
      const Scene scene(shape);
      check_keep(stream_, scene, scene.rows, layer_scope);
    }
  }
}

TEST_P(SelectTest, ReadsKeysOfEveryShape) {
  for (const Score score : {Score::key_distance, Score::key_diff}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const int32_t head_dim : {32, 64, 96, 128}) {
        const Scene block({Pool::block, score, dtype, head_dim, 2, 1, {{130, 61, 140}, {3, 60, 40}}});
        check_keep(stream_, block, block.rows, false);
        const Scene slots({Pool::slots, score, dtype, head_dim, 2, 2, {{200, 1, 201, 16}, {70, 1, 50, 3}}});
        check_victims(stream_, slots, slots.rows, false);
      }
    }
  }
}

TEST_P(SelectTest, QueuesVictimsOfAllLayersLowestFirst) {
  for (const Score score : kScores) {
    for (const bool layer_scope : {false, true}) {
      SceneShape shape{Pool::slots, score, DType::f32, 64, 3, 3, kSlots};
      shape.same_positions = layer_scope;
      const Scene scene(shape);
      check_victims(stream_, scene, scene.rows, layer_scope);
    }
  }
}

TEST_P(SelectTest, TakesMoreCandidatesThanFitIntoAKernelsOwnMemory) {
  for (const Score score : {Score::average, Score::key_distance, Score::random}) {
    const Scene tail({Pool::tail, score, DType::bf16, 64, 1, 1, {{8100, 93, 300}, {33000, 256, 1024}}});
    check_keep(stream_, tail, tail.rows, false);
    const Scene slots({Pool::slots, score, DType::bf16, 64, 1, 2, {{9000, 1, 9001, 40}}});
    check_victims(stream_, slots, slots.rows, false);
  }
  const Scene prompt({Pool::tail, Score::key_distance, DType::bf16, 64, 1, 1, {{130000, 77, 1024}}});
  check_keep(stream_, prompt, prompt.rows, false);
}

TEST_P(SelectTest, OfEqualScoresKeepsTheOlder) {
  for (const Pool pool : {Pool::block, Pool::tail}) {
    Scene scene({pool, Score::average, DType::f32, 64, 2, 1, {{400, 100, 430}, {9000, 100, 9010}}});
    std::fill(scene.mass.begin(), scene.mass.end(), 0.0F);
    for (size_t i = 0; i < scene.mass_new.size(); ++i) scene.mass_new[i] = i % 2 == 0 ? 0.0F : -0.0F;
    check_keep(stream_, scene, scene.rows, false);
  }
  Scene scene({Pool::slots, Score::average, DType::f32, 64, 2, 2, {{400, 1, 401, 30}}});
  for (size_t i = 0; i < scene.mass.size(); ++i) scene.mass[i] = i % 5 == 0 ? 1.0F : 0.0F;
  check_victims(stream_, scene, scene.rows, false);
}

TEST_P(SelectTest, EvictsNaNFirstAndInfinityLast) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const int32_t victims : {5, 38}) {
    Scene scene({Pool::slots, Score::average, DType::f32, 64, 2, 2, {{60, 1, 61, victims}}});
    for (size_t i = 0; i < scene.mass.size(); ++i) {
      if (i % 7 == 0) scene.mass[i] = i % 2 == 0 ? nan : -nan;
      if (i % 3 == 0) scene.mass[i] = infinity;
      if (i % 11 == 0) scene.mass[i] = -infinity;
    }
    check_victims(stream_, scene, scene.rows, false);
  }
  Scene scene({Pool::block, Score::average, DType::f32, 64, 2, 1, {{90, 40, 60 + 40}}});
  for (size_t i = 0; i < scene.mass_new.size(); i += 3) scene.mass_new[i] = nan;
  check_keep(stream_, scene, scene.rows, false);
}

// Keys that differ by nothing but the rounding of their rotation: a score that came out one bit different
// would choose others. The company has so many candidates that less is left of what a kernel keeps at hand.
TEST_P(SelectTest, DoesNotDependOnCompany) {
  for (const Score score : {Score::key_distance, Score::key_diff}) {
    for (const int32_t head_dim : {64, 96, 128}) {
      SceneShape shape{
          Pool::block, score, DType::bf16, head_dim, 2, 1, {{1024, 256, 1024}, {7900, 200, 8000}}};
      shape.spread = 0;
      const Scene scene(shape);
      const auto select = [&](const std::vector<Row>& rows) {
        const Bench bench(stream_, scene, rows, false);
        Selection selection = bench.selection;
        if (rows.size() == 1) selection.pitch = scene.count(rows[0]);
        const int64_t entries = scene.tokens();
        const Array dest(stream_, std::vector<int32_t>(static_cast<size_t>(entries * 2), kUntouched),
                         {entries, 2});
        select_keep(stream_, selection, dest.tensor());
        std::vector<int32_t> all = dest.read<int32_t>(stream_);
        const Row& row = scene.rows[0];
        return std::vector<int32_t>(all.begin() + row.token_begin * 2,
                                    all.begin() + (row.token_begin + row.token_count) * 2);
      };
      const std::vector<int32_t> alone = select({scene.rows[0]});
      EXPECT_EQ(alone, select(scene.rows)) << shape.describe();
      std::vector<Row> padded(300, scene.rows[0]);  // launched for as many as fill a device
      for (size_t i = 1; i < padded.size(); ++i) padded[i].sequence = kNoSequence;
      EXPECT_EQ(alone, select(padded)) << shape.describe();
    }
  }
}

TEST_P(SelectTest, SkipsPadding) {
  for (const Pool pool : {Pool::block, Pool::tail, Pool::slots}) {
    const Scene scene({pool, Score::key_distance, DType::f32, 64, 2, 2, {{90, 30, 95, 4}, {50, 20, 55, 3}}});
    Row padding = scene.rows[0];
    padding.sequence = kNoSequence;
    padding.resident = padding.token_count = 1000000;
    const std::vector<Row> rows{scene.rows[0], padding, scene.rows[1]};
    pool == Pool::slots ? check_victims(stream_, scene, rows, false)
                        : check_keep(stream_, scene, rows, false);
  }
}

}  // namespace
}  // namespace batchmax::kernels::testing
