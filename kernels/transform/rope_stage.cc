#include "kernels/transform/rope_stage.h"

#include "kernels/core/build.h"
#include "kernels/transform/backends.h"

namespace batchmax::kernels {

void rope_stage(const Stream& stream, const RopeStage& args) {
  Dims dims("rope_stage");
  dims.match("qkv", args.qkv, {"T", "(Hq+2Hkv)D"}).match("q", args.q, {"T", "Hq", "D"});
  dims.match("k", args.k, {"T", "Hkv", "D"}).match("v", args.v, {"T", "Hkv", "D"});
  dims.match("positions", args.positions, {"T"}).match("tables", args.tables, {"T"});
  dims.dtype("qkv", args.qkv, {DType::bf16, DType::f32}).dtype("q", args.q, {args.qkv.dtype()});
  dims.dtype("k", args.k, {DType::bf16, DType::f32}).dtype("v", args.v, {args.k.dtype()});
  dims.dtype("positions", args.positions, {DType::i32}).dtype("tables", args.tables, {DType::i32});
  for (const Tensor* norm : {&args.q_norm, &args.k_norm}) {
    if (*norm) dims.match("norm", *norm, {"D"}).dtype("norm", *norm, {args.qkv.dtype()});
  }
  CHECK_EQ(args.qkv.dim(1), (dims["Hq"] + 2 * dims["Hkv"]) * dims["D"]);
  CHECK_EQ(dims["D"] % 2, 0);
  CHECK(args.rope.cos != nullptr && args.rope.sin != nullptr);
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::rope_stage(stream, args);
  }
  cpu::rope_stage(stream, args);
}

}  // namespace batchmax::kernels
