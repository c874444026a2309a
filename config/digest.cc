#include <openssl/evp.h>

#include <stdexcept>

#include "config/property.h"

namespace batchmax::config {

std::string shared_digest(const Settings& settings) {
  std::string text;
  for (const Property& property : properties()) {
    for (const char* shared :
         {"model", "dtype", "kv-cache-dtype", "load-format", "max-model-len", "tensor-parallel-size",
          "max-num-seqs", "compression", "kv-budget", "prefill-block", "decode-block", "score",
          "eviction-scope", "sinks", "recent", "prompt-tail"}) {
      if (property.name == shared) {
        std::string value = property.get(settings);
        // Folders may differ between machines; the model's name may not.
        if (property.name == "model") {
          while (value.ends_with('/')) value.pop_back();
          value = value.substr(value.find_last_of('/') + 1);
        }
        text += property.name + "=" + value + "\n";
      }
    }
  }
  std::string digest(32, '\0');
  unsigned int size = 0;
  if (EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(digest.data()), &size,
                 EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("SHA-256 is not available in this OpenSSL");
  }
  return digest;
}

}  // namespace batchmax::config
