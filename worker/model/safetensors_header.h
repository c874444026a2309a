// The header of a safetensors file, parsed and checked: every tensor lies within the file, has the size its
// shape and dtype say, and overlaps no other. (Format: huggingface.co/docs/safetensors.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace batchmax::worker {

struct StoredTensor {
  std::string name;
  std::string dtype;  // "BF16", "F16", "F32", ...
  std::vector<int64_t> shape;
  size_t begin = 0;  // bytes from the start of the file
  size_t end = 0;
};

// file: the whole file's bytes; path: for messages. Throws std::runtime_error.
std::vector<StoredTensor> parse_safetensors_header(std::span<const std::byte> file, const std::string& path);

}  // namespace batchmax::worker
