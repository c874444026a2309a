// Scope layer: Σ over the KV heads of every candidate's value, heads added in ascending order whatever the
// launch.
//
// Scores of a slot's state: a thread per candidate goes through the heads; moves 4 bytes per head, or the
// position. Scores of keys: a thread block per (layer, row, KV head) leaves values in the workspace, and a
// second kernel adds them up; with several layers (after a step) there are (layer, row)s enough, and a block
// goes through the heads of its own and adds to `out`, without workspace. Keys are read twice.
#include "kernels/core/cuda/check.h"
#include "kernels/eviction/backends.h"
#include "kernels/eviction/cuda/key_scores.h"
#include "kernels/eviction/cuda/plain_scores.h"
#include "kernels/eviction/cuda/words.h"

namespace batchmax::kernels::cuda {
namespace {

struct Args {
  CandidateArgs candidates;
  Words words;
  int32_t heads;  // that are summed
  float* out;     // [layers, rows, pitch]

  __device__ const Row& row() const { return candidates.rows[blockIdx.y]; }
  __device__ int32_t layer() const { return candidates.layer_begin + static_cast<int32_t>(blockIdx.z); }
  __device__ int64_t pair() const { return static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y; }
};

// Grid: blocks of candidates, rows, layers.
__global__ void __launch_bounds__(kThreads) plain_kernel(const Args args) {
  const Row& row = args.row();
  const auto i = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
  if (row.sequence == kNoSequence || i >= candidate_count(args.candidates.pool, row)) return;
  float sum = 0;
  for (int32_t head = 0; head < args.heads; ++head) {
    const HeadCandidates candidates(args.candidates, args.layer(), row, head);
    const int32_t position = needs_mass(args.candidates.score) ? 0 : candidates.position(i);
    const float value = plain_value(args.candidates, candidates, row, args.layer(), head, i, position);
    sum = head == 0 ? value : sum + value;
  }
  args.out[args.pair() * args.words.pitch + i] = sum;
}

// Grid: heads or 1, rows, layers.
template <typename Shape>
__global__ void __launch_bounds__(kThreads) key_kernel(const Args args) {
  using Scores = KeyScores<Shape, 1>;
  __shared__ typename Scores::Shared shared;
  const Row& row = args.row();
  if (row.sequence == kNoSequence) return;
  const bool adds = gridDim.x == 1;
  float* out = args.out + args.pair() * args.words.pitch;
  for (auto head = static_cast<int32_t>(blockIdx.x); head < args.heads; head += gridDim.x) {
    const HeadCandidates candidates(args.candidates, args.layer(), row, head);
    const int64_t index = args.pair() * args.heads + head;
    const Scores scores(args.candidates, candidates, row, nullptr, 0, shared);
    float* values = reinterpret_cast<float*>(args.words.workspace) + index * args.words.pitch;
    scores.each(args.candidates.score, [&](int32_t i, int32_t, float value) {
      float* to = adds ? out + i : values + i;
      *to = adds && head > 0 ? *to + value : value;
    });
    __syncthreads();  // the mean has been read
  }
}

// Grid: blocks of candidates, rows, layers.
__global__ void __launch_bounds__(kThreads) add_heads(const Args args) {
  const Row& row = args.row();
  const auto i = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
  if (row.sequence == kNoSequence || i >= candidate_count(args.candidates.pool, row)) return;
  const int64_t pitch = args.words.pitch;
  const float* values =
      reinterpret_cast<const float*>(args.words.workspace) + args.pair() * args.heads * pitch + i;
  float sum = values[0];
  for (int32_t head = 1; head < args.heads; ++head) sum += values[head * pitch];
  args.out[args.pair() * pitch + i] = sum;
}

}  // namespace

size_t selection_workspace_bytes(const Stream&, int64_t layers, int64_t rows, int64_t kv_heads,
                                 int64_t pitch) {
  if (layers > 1 && pitch <= kSharedWords) return 0;
  return static_cast<size_t>(layers * rows * kv_heads * pitch) * sizeof(float);
}

void score_layer(const Stream& stream, const Candidates& candidates, const Tensor& workspace,
                 const Tensor& out) {
  Args args{CandidateArgs(candidates), Words(workspace, out.dim(2)), candidates.kv.kv_heads, out.as<float>()};
  if (!needs_reduction(candidates.score)) {
    args.heads = 1;
    args.candidates.head_offset = 0;  // `random`: the same hash on every rank
  }
  const auto rows = static_cast<unsigned>(candidates.rows.count);
  const auto layers = static_cast<unsigned>(candidates.layer_count);
  const auto blocks = static_cast<unsigned>(ceil_div(out.dim(2), kThreads));
  if (rows * layers * blocks == 0) return;
  const cudaStream_t queue = stream_of(stream);
  if (!reads_keys(candidates.score)) {
    plain_kernel<<<dim3(blocks, rows, layers), kThreads, 0, queue>>>(args);
    return check_launch("score_layer");
  }
  const bool adds = layers > 1 || args.heads == 1;
  on_key_shape(candidates.kv, [&](auto shape) {
    key_kernel<decltype(shape)>
        <<<dim3(adds ? 1 : static_cast<unsigned>(args.heads), rows, layers), kThreads, 0, queue>>>(args);
  });
  if (!adds) add_heads<<<dim3(blocks, rows, layers), kThreads, 0, queue>>>(args);
  check_launch("score_layer");
}

}  // namespace batchmax::kernels::cuda
