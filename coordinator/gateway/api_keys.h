// The keys that open an endpoint, kept as SHA-256 and compared in constant time. Immutable; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace batchmax::coordinator {

class ApiKeys {
 public:
  explicit ApiKeys(const std::vector<std::string>& keys);

  bool empty() const { return hashes_.empty(); }  // no key is needed
  // authorization: the value of the Authorization field, "Bearer KEY". True for any value where no key is
  // needed. Time does not depend on which key it is, nor on how much of one was right.
  bool admits(std::string_view authorization) const;

 private:
  using Hash = std::array<uint8_t, 32>;
  static Hash hash(std::string_view key);
  std::vector<Hash> hashes_;
};

}  // namespace batchmax::coordinator
