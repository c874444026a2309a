#include "worker/model/safetensors_header.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string_view>

namespace batchmax::worker {
namespace {

namespace json = boost::json;

constexpr uint64_t kMostHeaderBytes = 32ULL << 20;

size_t element_bytes(const std::string& dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "I8" || dtype == "U8" || dtype == "BOOL" || dtype.starts_with("F8_")) return 1;
  return 0;
}

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw std::runtime_error(path + ": not a valid safetensors file: " + reason);
}

// A JSON number as a size; anything else fails.
size_t to_size(const json::value& value, const std::string& path, const std::string& what) {
  if (value.is_int64() && value.as_int64() >= 0) return static_cast<size_t>(value.as_int64());
  fail(path, what + " is " + json::serialize(value) + ", expected a whole number");
}

StoredTensor parse_entry(const std::string& name, const json::value& value, const std::string& path,
                         size_t data_begin, size_t file_bytes) {
  const auto* object = value.if_object();
  const json::value* dtype = object == nullptr ? nullptr : object->if_contains("dtype");
  const json::value* shape = object == nullptr ? nullptr : object->if_contains("shape");
  const json::value* offsets = object == nullptr ? nullptr : object->if_contains("data_offsets");
  if (dtype == nullptr || !dtype->is_string() || shape == nullptr || !shape->is_array() ||
      offsets == nullptr || !offsets->is_array() || offsets->as_array().size() != 2) {
    fail(path, name + " lacks dtype, shape or data_offsets");
  }
  StoredTensor tensor;
  tensor.name = name;
  tensor.dtype = std::string(dtype->as_string());
  const size_t element = element_bytes(tensor.dtype);
  if (element == 0) fail(path, name + " has the unknown dtype " + tensor.dtype);
  size_t bytes = element;
  for (const json::value& extent : shape->as_array()) {
    const size_t size = to_size(extent, path, name + ": an extent");
    if (size != 0 && bytes > std::numeric_limits<size_t>::max() / size) fail(path, name + " is too large");
    if (size > static_cast<size_t>(std::numeric_limits<int64_t>::max())) fail(path, name + " is too large");
    bytes *= size;
    tensor.shape.push_back(static_cast<int64_t>(size));
  }
  const size_t begin = to_size(offsets->as_array()[0], path, name + ": data_offsets");
  const size_t end = to_size(offsets->as_array()[1], path, name + ": data_offsets");
  const size_t room = file_bytes - data_begin;
  if (begin > end) {
    fail(path, name + ": data_offsets [" + std::to_string(begin) + ", " + std::to_string(end) +
                   "] end before they begin");
  }
  if (end > room) {
    fail(path, name + " lies at bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                   " of data, the file has " + std::to_string(room) + "; is it truncated?");
  }
  if (end - begin != bytes) {
    fail(path, name + ": expected " + std::to_string(bytes) + " bytes for its shape and dtype " +
                   tensor.dtype + ", found " + std::to_string(end - begin));
  }
  tensor.begin = data_begin + begin;
  tensor.end = data_begin + end;
  return tensor;
}

}  // namespace

std::vector<StoredTensor> parse_safetensors_header(std::span<const std::byte> file, const std::string& path) {
  uint64_t header_bytes = 0;
  if (file.size() < sizeof header_bytes) {
    fail(path, "expected the header's length in the first 8 bytes, found a file of " +
                   std::to_string(file.size()) + " bytes");
  }
  std::memcpy(&header_bytes, file.data(), sizeof header_bytes);  // little-endian, as the machines we run on
  const uint64_t most = std::min<uint64_t>(kMostHeaderBytes, file.size() - sizeof header_bytes);
  if (header_bytes > most) {
    fail(path, "its header claims " + std::to_string(header_bytes) + " bytes, expected at most " +
                   std::to_string(most) + (most < kMostHeaderBytes ? "; is it truncated?" : ""));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + sizeof header_bytes, header_bytes);
  json::error_code error;
  const json::value root = json::parse(json::string_view(text.data(), text.size()), error);
  if (error || !root.is_object()) fail(path, "its header is not a JSON object");
  std::vector<StoredTensor> tensors;
  for (const auto& [key, value] : root.as_object()) {
    if (key == "__metadata__") continue;
    tensors.push_back(
        parse_entry(std::string(key), value, path, sizeof header_bytes + header_bytes, file.size()));
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < tensors.size(); ++i) {
    if (tensors[i].begin < tensors[i - 1].end)
      fail(path, tensors[i].name + " overlaps " + tensors[i - 1].name);
  }
  return tensors;
}

}  // namespace batchmax::worker
