#include "kernels/attention/prefill_mass.h"

#include "kernels/attention/backends.h"
#include "kernels/attention/check_rows.h"
#include "kernels/core/build.h"

namespace batchmax::kernels {

void prefill_mass(const Stream& stream, const PrefillMass& args) {
  Dims dims("prefill_mass");
  dims.match("q", args.q, {"T", "Hq", "D"}).dtype("q", args.q, {DType::bf16, DType::f32});
  dims.match("lse", args.lse, {"T", "Hq"}).dtype("lse", args.lse, {DType::f32});
  dims.match("k", args.k, {"T", "Hkv", "D"}).dtype("k", args.k, {args.kv.dtype});
  dims.match("mass_new", args.mass_new, {"T", "Hkv"}).dtype("mass_new", args.mass_new, {DType::f32});
  check_view(args.kv, args.layer, dims["Hq"], dims["D"]);
  CHECK_GT(args.scale, 0.0F);
  CHECK_EQ(args.kv.kv_heads, dims["Hkv"]);
  for (int32_t r = 0; r < args.rows.count; ++r) {
    check_row(args.kv, args.rows.host[r], args.rows.host[r].resident, dims["T"]);
  }
  if constexpr (kCudaBuilt) {
    if (stream.backend() == Backend::cuda) return cuda::prefill_mass(stream, args);
  }
  cpu::prefill_mass(args);
}

}  // namespace batchmax::kernels
