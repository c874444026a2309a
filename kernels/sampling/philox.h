// Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011; the multipliers and key increments are the paper's). The same value on every backend.
#pragma once

#include <cstdint>

#include "kernels/core/host_device.h"

namespace batchmax::kernels {

struct Philox4x32 {
  uint32_t word[4];
};

BATCHMAX_HOST_DEVICE inline Philox4x32 philox_4x32_10(Philox4x32 counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = static_cast<uint64_t>(0xD2511F53U) * counter.word[0];
    const uint64_t b = static_cast<uint64_t>(0xCD9E8D57U) * counter.word[2];
    counter = Philox4x32{{static_cast<uint32_t>(b >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(b),
                          static_cast<uint32_t>(a >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(a)}};
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return counter;
}

// Uniform in [0, 1), 24 bits. Key: the seed. Counter: (position, choice, 0, 0).
BATCHMAX_HOST_DEVICE inline float sampling_uniform(uint64_t seed, int32_t choice, int32_t position) {
  const Philox4x32 drawn =
      philox_4x32_10(Philox4x32{{static_cast<uint32_t>(position), static_cast<uint32_t>(choice), 0, 0}},
                     static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return static_cast<float>(drawn.word[0] >> 8) * (1.0F / 16777216.0F);
}

}  // namespace batchmax::kernels
