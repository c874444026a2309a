#include "coordinator/gateway/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

namespace batchmax::coordinator {
namespace {

std::string_view bearer(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = authorization[i];
    if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != kScheme[i]) return {};
  }
  return authorization.substr(kScheme.size());
}

}  // namespace

ApiKeys::Hash ApiKeys::hash(std::string_view key) {
  Hash digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

ApiKeys::ApiKeys(const std::vector<std::string>& keys) {
  for (const std::string& key : keys) hashes_.push_back(hash(key));
}

bool ApiKeys::admits(std::string_view authorization) const {
  if (hashes_.empty()) return true;
  const Hash given = hash(bearer(authorization));
  int found = 0;
  for (const Hash& known : hashes_) found |= CRYPTO_memcmp(known.data(), given.data(), given.size()) == 0;
  return found != 0;
}

}  // namespace batchmax::coordinator
