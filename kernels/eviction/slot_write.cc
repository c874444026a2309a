#include "kernels/eviction/slot_write.h"

#include "kernels/core/build.h"
#include "kernels/eviction/backends.h"

namespace batchmax::kernels {
namespace {

void check_tokens(Dims& dims, const KvView& kv, const NewTokens& tokens) {
  dims.match("k", tokens.k, {"T", "Hkv", "D"}).match("v", tokens.v, {"T", "Hkv", "D"});
  dims.dtype("k", tokens.k, {kv.dtype}).dtype("v", tokens.v, {kv.dtype});
  if (tokens.mass_new) {
    dims.match("mass_new", tokens.mass_new, {"T", "Hkv"}).dtype("mass_new", tokens.mass_new, {DType::f32});
  }
  CHECK_EQ(dims["Hkv"], kv.kv_heads);
  CHECK_EQ(dims["D"], kv.head_dim);
}

}  // namespace

void append_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                  const NewTokens& tokens, const Tensor& queues) {
  Dims dims("append_slots");
  check_tokens(dims, kv, tokens);
  if (queues) {
    dims.match("queues", queues, {"S", "L", "Hkv", "decode_block"}).dtype("queues", queues, {DType::i32});
    CHECK_EQ(dims["L"], kv.layers);
  }
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::append_slots(stream, kv, layer, rows, tokens, queues);
  }
  cpu::append_slots(stream, kv, layer, rows, tokens, queues);
}

void replace_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                   const NewTokens& tokens, const Tensor& dest) {
  Dims dims("replace_slots");
  check_tokens(dims, kv, tokens);
  dims.match("dest", dest, {"T", "Hkv"}).dtype("dest", dest, {DType::i32});
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::replace_slots(stream, kv, layer, rows, tokens, dest);
  }
  cpu::replace_slots(stream, kv, layer, rows, tokens, dest);
}

void compact_slots(const Stream& stream, const KvView& kv, int32_t layer, const Rows& rows,
                   const Tensor& dest) {
  Dims dims("compact_slots");
  dims.match("dest", dest, {"N", "Hkv"}).dtype("dest", dest, {DType::i32});
  CHECK_EQ(dims["Hkv"], kv.kv_heads);
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::compact_slots(stream, kv, layer, rows, dest);
  }
  cpu::compact_slots(stream, kv, layer, rows, dest);
}

}  // namespace batchmax::kernels
