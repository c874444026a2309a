#include "worker/model/checkpoint.h"

#include <bit>
#include <boost/json.hpp>
#include <cstring>
#include <filesystem>
#include <set>
#include <span>
#include <stdexcept>

#include "monitoring/check.h"
#include "worker/model/json_file.h"
#include "worker/model/mapped_file.h"
#include "worker/model/safetensors_header.h"

namespace batchmax::worker {
namespace {

namespace json = boost::json;

float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | (mantissa << 13));
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 0x1p-24F;  // subnormal or zero
    return sign != 0 ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

std::string describe(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t extent : shape) text += (text.size() == 1 ? "" : ", ") + std::to_string(extent);
  return text + "]";
}

// File names of the index, each once. A name may not leave the folder.
std::set<std::string> shards_of(const std::string& path) {
  const json::object root = read_json_object(path);
  const json::value* map = root.if_contains("weight_map");
  if (map == nullptr || !map->is_object()) {
    throw std::runtime_error(path + ": weight_map: expected an object, found " +
                             (map == nullptr ? "nothing" : json::serialize(*map)));
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->as_object()) {
    if (!file.is_string())
      throw std::runtime_error(path + ": weight_map: " + std::string(tensor) +
                               ": expected a file name, found " + json::serialize(file));
    std::string name(file.as_string());
    if (name.empty() || name.find('/') != std::string::npos) {
      throw std::runtime_error(path + ": weight_map: '" + name +
                               "' is not the name of a file in this folder");
    }
    names.insert(std::move(name));
  }
  return names;
}

}  // namespace

Checkpoint::Checkpoint(const std::string& folder) : folder_(folder) {
  const std::string single = folder + "/model.safetensors";
  const std::string index = single + ".index.json";
  if (std::filesystem::exists(index)) {
    for (const std::string& name : shards_of(index)) {
      if (!std::filesystem::exists(folder + "/" + name)) {
        throw std::runtime_error(folder + "/" + name + ": is missing, but " + index + " names it");
      }
      add_file(folder + "/" + name);
    }
  } else if (std::filesystem::exists(single)) {
    add_file(single);
  } else {
    throw std::runtime_error(folder +
                             ": expected model.safetensors or model.safetensors.index.json, found neither");
  }
}

Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;

void Checkpoint::add_file(const std::string& path) {
  auto file = std::make_unique<MappedFile>(path);
  for (StoredTensor& tensor : parse_safetensors_header(std::span(file->data(), file->bytes()), path)) {
    Entry entry{file.get(), tensor.dtype, std::move(tensor.shape), file->data() + tensor.begin};
    const auto [place, added] = entries_.emplace(tensor.name, std::move(entry));
    if (!added)
      throw std::runtime_error(path + ": " + tensor.name + ": is in " + place->second.file->path() + " too");
  }
  files_.push_back(std::move(file));
}

const Checkpoint::Entry& Checkpoint::find(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    throw std::runtime_error(folder_ + ": tensor " + name + " is in none of the safetensors files");
  return found->second;
}

void Checkpoint::refuse(const std::string& prefix, const std::string& reason) const {
  const auto found = entries_.lower_bound(prefix);
  if (found == entries_.end() || !found->first.starts_with(prefix)) return;
  throw std::runtime_error(found->second.file->path() + ": " + found->first + ": expected none, as " +
                           reason + ", found one");
}

void Checkpoint::fail_shape(const Entry& entry, const std::string& name, const std::string& expected) {
  throw std::runtime_error(entry.file->path() + ": " + name + ": expected shape " + expected + ", found " +
                           describe(entry.shape));
}

Checkpoint::Stored Checkpoint::stored_as(const Entry& entry, const std::string& name) {
  if (entry.dtype == "F32") return Stored::f32;
  if (entry.dtype == "F16") return Stored::f16;
  if (entry.dtype == "BF16") return Stored::bf16;
  throw std::runtime_error(entry.file->path() + ": " + name + ": expected dtype F32, F16 or BF16, found " +
                           entry.dtype);
}

void Checkpoint::convert(const std::byte* data, Stored stored, size_t from, size_t count,
                         kernels::DType dtype, void* to, size_t at) {
  const bool same = (stored == Stored::bf16 && dtype == kernels::DType::bf16) ||
                    (stored == Stored::f32 && dtype == kernels::DType::f32);
  const size_t element = stored == Stored::f32 ? 4 : 2;
  if (same) {
    std::memcpy(static_cast<std::byte*>(to) + at * element, data + from * element, count * element);
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    float value = 0;
    if (stored == Stored::f32) {
      std::memcpy(&value, data + (from + i) * 4, 4);
    } else {
      uint16_t bits = 0;
      std::memcpy(&bits, data + (from + i) * 2, 2);
      value = stored == Stored::f16 ? half_to_float(bits) : kernels::to_float(kernels::bf16{bits});
    }
    if (dtype == kernels::DType::f32) {
      static_cast<float*>(to)[at + i] = value;
    } else {
      static_cast<kernels::bf16*>(to)[at + i] = kernels::to_bf16(value);
    }
  }
}

void Checkpoint::read(const std::string& name, const Part& part, kernels::DType dtype, void* to) const {
  const Entry& entry = find(name);
  if (entry.shape != std::vector<int64_t>{part.all_rows, part.all_columns}) {
    fail_shape(entry, name, describe({part.all_rows, part.all_columns}));
  }
  CHECK_LE(part.row + part.rows, part.all_rows);
  CHECK_LE(part.column + part.columns, part.all_columns);
  const Stored stored = stored_as(entry, name);
  for (int64_t row = 0; row < part.rows; ++row) {
    convert(entry.data, stored, static_cast<size_t>((part.row + row) * part.all_columns + part.column),
            static_cast<size_t>(part.columns), dtype, to, static_cast<size_t>(row * part.columns));
  }
}

void Checkpoint::read(const std::string& name, int64_t all, int64_t begin, int64_t count,
                      kernels::DType dtype, void* to) const {
  const Entry& entry = find(name);
  if (entry.shape != std::vector<int64_t>{all}) fail_shape(entry, name, describe({all}));
  CHECK_LE(begin + count, all);
  convert(entry.data, stored_as(entry, name), static_cast<size_t>(begin), static_cast<size_t>(count), dtype,
          to, 0);
}

}  // namespace batchmax::worker
