#include "kernels/attention/decode_attention.h"

#include "kernels/attention/backends.h"
#include "kernels/attention/check_rows.h"
#include "kernels/core/build.h"

namespace batchmax::kernels {
namespace {

void check(const char* op, const Stream& stream, const DecodeAttention& args) {
  Dims dims(op);
  dims.match("q", args.q, {"T", "Hq", "D"}).dtype("q", args.q, {DType::bf16, DType::f32});
  dims.match("out", args.out, {"T", "Hq", "D"}).dtype("out", args.out, {args.q.dtype()});
  check_view(args.kv, args.layer, dims["Hq"], dims["D"]);
  CHECK_GT(args.scale, 0.0F);
  for (int32_t r = 0; r < args.rows.count; ++r) {
    const Row& row = args.rows.host[r];
    if (row.sequence < 0) continue;
    CHECK_EQ(row.token_count, 1);
    CHECK_GE(decode_slots(row), 1);
    check_row(args.kv, row, decode_slots(row), dims["T"]);
  }
  CHECK_GE(args.workspace.bytes(), decode_workspace_bytes(stream, args.rows.count, dims["Hq"], dims["D"]));
}

}  // namespace

void decode_attention(const Stream& stream, const DecodeAttention& args) {
  check("decode_attention", stream, args);
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::decode_attention(stream, args);
  }
  cpu::decode_attention(args, false);
}

void decode_attention_mass(const Stream& stream, const DecodeAttention& args) {
  check("decode_attention_mass", stream, args);
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::decode_attention_mass(stream, args);
  }
  cpu::decode_attention(args, true);
}

size_t decode_workspace_bytes(const Stream& stream, int64_t rows, int64_t query_heads, int64_t head_dim) {
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) {
      return cuda::decode_workspace_bytes(stream, rows, query_heads, head_dim);
    }
  }
  return cpu::decode_workspace_bytes(rows, query_heads, head_dim);
}

}  // namespace batchmax::kernels
