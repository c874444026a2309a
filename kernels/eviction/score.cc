#include "kernels/eviction/score.h"

#include <array>

#include "kernels/core/build.h"
#include "kernels/eviction/backends.h"
#include "kernels/eviction/check_candidates.h"

namespace batchmax::kernels {
namespace {

struct NamedScore {
  const char* name;
  Score score;
};
constexpr std::array<NamedScore, 5> kScores{{{"average", Score::average},
                                             {"key_distance", Score::key_distance},
                                             {"key_diff", Score::key_diff},
                                             {"recency", Score::recency},
                                             {"random", Score::random}}};

}  // namespace

std::optional<Score> score_from_name(std::string_view name) {
  for (const NamedScore& entry : kScores) {
    if (name == entry.name) return entry.score;
  }
  return std::nullopt;
}

const char* name_of(Score score) {
  for (const NamedScore& entry : kScores) {
    if (score == entry.score) return entry.name;
  }
  return "unknown";
}

void check_candidates(Dims& dims, const Candidates& candidates) {
  CHECK_GE(candidates.layer_begin, 0);
  CHECK_LE(candidates.layer_begin + candidates.layer_count, candidates.kv.layers);
  CHECK(candidates.pool != Pool::block || candidates.layer_count == 1);
  const bool reads_keys = candidates.score == Score::key_distance || candidates.score == Score::key_diff;
  if (reads_keys) {
    CHECK(candidates.rope.cos != nullptr && candidates.rope.sin != nullptr &&
          candidates.rope.frequency != nullptr);
    CHECK_EQ(candidates.kv.head_dim % 32, 0);
    CHECK_LE(candidates.kv.head_dim, kMaxHeadDim);
  }
  if (candidates.pool == Pool::block && reads_keys) {
    dims.match("k", candidates.k, {"T", "Hkv", "D"}).dtype("k", candidates.k, {candidates.kv.dtype});
    CHECK_EQ(dims["Hkv"], candidates.kv.kv_heads);
    CHECK_EQ(dims["D"], candidates.kv.head_dim);
  }
  if (candidates.pool == Pool::block && needs_mass(candidates.score)) {
    dims.match("mass_new", candidates.mass_new, {"T", "Hkv"})
        .dtype("mass_new", candidates.mass_new, {DType::f32});
    CHECK_EQ(dims["Hkv"], candidates.kv.kv_heads);
  }
}

void check_pitch(const Candidates& candidates, int64_t pitch) {
  for (int32_t r = 0; r < candidates.rows.count; ++r) {
    const Row& row = candidates.rows.host[r];
    if (row.sequence != kNoSequence) CHECK_GE(pitch, candidate_count(candidates.pool, row));
  }
}

void score_layer(const Stream& stream, const Candidates& candidates, const Tensor& workspace,
                 const Tensor& out) {
  Dims dims("score_layer");
  check_candidates(dims, candidates);
  dims.match("out", out, {"layers", "rows", "pitch"}).dtype("out", out, {DType::f32});
  CHECK_EQ(dims["layers"], candidates.layer_count);
  CHECK_EQ(dims["rows"], candidates.rows.count);
  check_pitch(candidates, dims["pitch"]);
  CHECK_GE(workspace.bytes(), selection_workspace_bytes(stream, candidates.layer_count, candidates.rows.count,
                                                        candidates.kv.kv_heads, dims["pitch"]));
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::score_layer(stream, candidates, workspace, out);
  }
  cpu::score_layer(stream, candidates, workspace, out);
}

}  // namespace batchmax::kernels
