#include "kernels/eviction/slot_write.h"

#include "tests/kernels/eviction/scene.h"

namespace batchmax::kernels::testing {
namespace {

class SlotWriteTest : public OnBackend {};
BATCHMAX_ON_BACKENDS(SlotWriteTest);

constexpr int32_t kLayer = 1;
constexpr int32_t kDepth = 3;

SceneShape shape_of(Pool pool, DType dtype, int32_t head_dim, std::vector<SceneShape::Sequence> sequences) {
  return {pool, Score::average, dtype, head_dim, 3, 2, std::move(sequences)};
}

// The cache as it should be after the op: a copy of the scene, written slot by slot.
class Expected {
 public:
  explicit Expected(const Scene& scene) : scene_(scene), kv(scene.kv), mass(scene.mass), pos(scene.pos) {}

  void store(const Row& row, int32_t head, int32_t token, int32_t slot, bool with_mass) {
    const size_t staged = scene_.staged_at(row, token, head);
    copy_row(&scene_.k[staged * scene_.dim()], &scene_.v[staged * scene_.dim()], row, head, slot);
    const size_t state = scene_.state_at(row, kLayer, head, slot);
    pos[state] = row.position + token;
    mass[state] = with_mass ? scene_.mass_new[staged] : 0.0F;
  }
  void move(const Row& row, int32_t head, int32_t from, int32_t slot) {
    const float* key = &scene_.kv[scene_.key_at(row, kLayer, head, from)];
    copy_row(key, key + kPageSlots * scene_.dim(), row, head, slot);
    const size_t source = scene_.state_at(row, kLayer, head, from);
    const size_t state = scene_.state_at(row, kLayer, head, slot);
    pos[state] = scene_.pos[source];
    mass[state] = scene_.mass[source];
  }
  // Bits: most of the cache is NaN.
  void compare(const Stream& stream, const Scene::Loaded& on) const {
    const auto equal = [&](const auto& given, const auto& expected, const char* what) {
      ASSERT_EQ(given.size(), expected.size());
      for (size_t i = 0; i < given.size(); ++i) {
        ASSERT_EQ(std::memcmp(&given[i], &expected[i], sizeof(given[i])), 0)
            << scene_.shape.describe() << ": " << what << "[" << i << "] is " << given[i] << ", expected "
            << expected[i];
      }
    };
    equal(on.kv.read_floats(stream), kv, "kv");
    equal(on.pos.read<int32_t>(stream), pos, "pos");
    equal(on.mass.read<float>(stream), mass, "mass");
  }

 private:
  void copy_row(const float* key, const float* value, const Row& row, int32_t head, int32_t slot) {
    float* to = &kv[scene_.key_at(row, kLayer, head, slot)];
    std::copy(key, key + scene_.dim(), to);
    std::copy(value, value + scene_.dim(), to + kPageSlots * scene_.dim());
  }

  const Scene& scene_;
  std::vector<float> kv, mass;
  std::vector<int32_t> pos;
};

Row padding_like(const Row& row) {
  Row padding = row;
  padding.sequence = kNoSequence;
  padding.resident = padding.token_count = padding.token_begin = 1000000;
  return padding;
}

template <typename Check>
void for_each_shape(Pool pool, const std::vector<SceneShape::Sequence>& sequences, Check check) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int32_t head_dim : {64, 96, 128}) check(Scene(shape_of(pool, dtype, head_dim, sequences)));
  }
}

TEST_P(SlotWriteTest, AppendStoresBlocksBehindTheResidents) {
  for_each_shape(
      Pool::block, {{0, 5, 5}, {63, 2, 65}, {64, 70, 134}, {130, 1, 131}}, [&](const Scene& scene) {
        for (const bool with_mass : {false, true}) {
          std::vector<Row> rows = scene.rows;
          rows.insert(rows.begin() + 1, padding_like(rows[0]));
          const Scene::Loaded on = scene.load(stream_, rows);
          append_slots(stream_, on.view, kLayer, on.span(),
                       {on.k.tensor(), on.v.tensor(), with_mass ? on.mass_new.tensor() : Tensor()}, Tensor());
          Expected expected(scene);
          for (const Row& row : scene.rows) {
            for (int32_t head = 0; head < scene.shape.kv_heads; ++head) {
              for (int32_t i = 0; i < row.token_count; ++i)
                expected.store(row, head, i, row.resident + i, with_mass);
            }
          }
          expected.compare(stream_, on);
          if (HasFatalFailure()) return;
        }
      });
}

TEST_P(SlotWriteTest, AppendStoresDecodedTokensOverQueuedVictims) {
  for_each_shape(Pool::block, {{100, 1, 100}, {65, 1, 66}, {64, 1, 64}}, [&](const Scene& scene) {
    std::vector<Row> rows = scene.rows;
    rows[0].queue_index = 2;
    rows[2].queue_index = 0;
    const int64_t sequences = 3;
    const int64_t heads = scene.shape.kv_heads;
    std::vector<int32_t> slots(static_cast<size_t>(sequences * scene.shape.layers * heads * kDepth));
    std::mt19937 random(3);
    for (int32_t& slot : slots) slot = static_cast<int32_t>(random() % 64);
    const Array queues(stream_, slots, {sequences, scene.shape.layers, heads, kDepth});
    std::vector<Row> padded = rows;
    padded.push_back(padding_like(rows[0]));
    const Scene::Loaded on = scene.load(stream_, padded);
    append_slots(stream_, on.view, kLayer, on.span(), {on.k.tensor(), on.v.tensor(), Tensor()},
                 queues.tensor());
    Expected expected(scene);
    for (const Row& row : rows) {
      for (int32_t head = 0; head < heads; ++head) {
        const int64_t queue = ((row.sequence * scene.shape.layers + kLayer) * heads + head) * kDepth;
        const int32_t slot =
            row.queue_index < 0 ? row.resident : slots[static_cast<size_t>(queue + row.queue_index)];
        expected.store(row, head, 0, slot, false);
      }
    }
    expected.compare(stream_, on);
  });
}

TEST_P(SlotWriteTest, ReplaceStoresSurvivorsAndDropsTheRest) {
  for_each_shape(Pool::block, {{100, 40, 110}, {0, 9, 9}, {64, 65, 100}}, [&](const Scene& scene) {
    const int64_t heads = scene.shape.kv_heads;
    std::vector<int32_t> slots(static_cast<size_t>(scene.tokens() * heads), 0);
    std::mt19937 random(3);
    Expected expected(scene);
    for (const Row& row : scene.rows) {
      for (int32_t head = 0; head < heads; ++head) {
        std::vector<int32_t> all(static_cast<size_t>(row.keep));
        std::iota(all.begin(), all.end(), 0);
        std::shuffle(all.begin(), all.end(), random);
        for (int32_t i = 0; i < row.token_count; ++i) {
          const bool dropped = i % 3 == head || i >= row.keep;
          const int32_t slot = dropped ? -1 : all[static_cast<size_t>(i)];
          slots[static_cast<size_t>((row.token_begin + i) * heads + head)] = slot;
          if (!dropped) expected.store(row, head, i, slot, true);
        }
      }
    }
    const Array dest(stream_, slots, {scene.tokens(), heads});
    std::vector<Row> rows = scene.rows;
    rows.push_back(padding_like(rows[0]));
    const Scene::Loaded on = scene.load(stream_, rows);
    replace_slots(stream_, on.view, kLayer, on.span(), {on.k.tensor(), on.v.tensor(), on.mass_new.tensor()},
                  dest.tensor());
    expected.compare(stream_, on);
  });
}

TEST_P(SlotWriteTest, CompactMovesTheTailIntoGaps) {
  for_each_shape(
      Pool::tail, {{100, 40, 70}, {64, 64, 64}, {10, 5, 20}, {300, 20, 129}}, [&](const Scene& scene) {
        const int64_t heads = scene.shape.kv_heads;
        std::vector<int32_t> slots;
        std::mt19937 random(3);
        Expected expected(scene);
        for (const Row& row : scene.rows) {
          const int32_t surplus = tail_surplus(row);
          const size_t first = slots.size();
          slots.resize(first + static_cast<size_t>(surplus * heads));
          for (int32_t head = 0; head < heads; ++head) {
            std::vector<int32_t> all(static_cast<size_t>(std::max(row.keep, surplus)));
            std::iota(all.begin(), all.end(), 0);
            std::shuffle(all.begin(), all.end(), random);
            for (int32_t i = 0; i < surplus; ++i) {
              const int32_t slot =
                  all[static_cast<size_t>(i)] < row.keep && i % 4 != 1 ? all[static_cast<size_t>(i)] : -1;
              slots[first + static_cast<size_t>(i * heads + head)] = slot;
              if (slot >= 0) expected.move(row, head, row.keep + i, slot);
            }
          }
        }
        const Array dest(stream_, slots, {static_cast<int64_t>(slots.size()) / heads, heads});
        std::vector<Row> rows = scene.rows;
        rows.insert(rows.begin() + 1, padding_like(rows[0]));
        const Scene::Loaded on = scene.load(stream_, rows);
        compact_slots(stream_, on.view, kLayer, on.span(), dest.tensor());
        expected.compare(stream_, on);
      });
}

}  // namespace
}  // namespace batchmax::kernels::testing
