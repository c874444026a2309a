// Chance, seeded by main(): request ids, seeds for clients that gave none, jitter. Event loop only.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <random>
#include <string>

namespace batchmax::coordinator {

class RandomSource {
 public:
  explicit RandomSource(uint64_t seed) : generator_(seed) {}

  uint64_t number() { return generator_(); }
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator_); }
  // Seconds after which a client may ask again; those turned away together come back apart.
  int retry_after() { return between(1, 30); }
  std::string id() { return fmt::format("{:016x}{:016x}", generator_(), generator_()); }

 private:
  std::mt19937_64 generator_;
};

}  // namespace batchmax::coordinator
