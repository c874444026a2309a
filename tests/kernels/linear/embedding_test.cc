#include "kernels/linear/embedding.h"

#include "tests/kernels/on_backend.h"

namespace batchmax::kernels::testing {
namespace {

class EmbeddingTest : public OnBackend {};
BATCHMAX_ON_BACKENDS(EmbeddingTest);

TEST_P(EmbeddingTest, CopiesTheRowOfEachId) {
  std::mt19937 random(10);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t d : {1, 6, 24, 576, 5121, 9000}) {
      const int64_t vocabulary = 53;
      const int64_t tokens = 301;
      const auto table = random_floats(random, static_cast<size_t>(vocabulary * d), dtype);
      std::vector<int32_t> ids{0, 52};
      while (static_cast<int64_t>(ids.size()) < tokens) ids.push_back(static_cast<int32_t>(random() % 53));
      std::vector<float> expected;
      for (const int32_t id : ids) {
        expected.insert(expected.end(), table.begin() + id * d, table.begin() + (id + 1) * d);
      }
      const Array ids_array(stream_, ids, {tokens});
      const Array table_array = Array::of_floats(stream_, dtype, table, {vocabulary, d});
      const Array out(stream_, dtype, {tokens, d});
      embedding(stream_, ids_array.tensor(), table_array.tensor(), out.tensor());
      EXPECT_EQ(out.read_floats(stream_), expected) << "d " << d;
    }
  }
}

}  // namespace
}  // namespace batchmax::kernels::testing
