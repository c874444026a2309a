// The header of a safetensors file: every tensor that is accepted lies within the file.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <stdexcept>

#include "worker/model/safetensors_header.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    for (const auto& tensor : batchmax::worker::parse_safetensors_header(std::as_bytes(std::span(data, size)),
                                                                         "model.safetensors")) {
      if (tensor.begin > tensor.end || tensor.end > size) std::abort();
    }
  } catch (const std::runtime_error&) {
  }
  return 0;
}
