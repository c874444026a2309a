// Tensors of a safetensors checkpoint, memory-mapped: one file, or shards with an index. The files are
// untrusted: headers are capped, offsets, shapes and sizes are checked with overflow in mind, before anything
// is read. Every error is a std::runtime_error that names file, tensor, expected and found. Any thread may
// read.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"

namespace batchmax::worker {

class MappedFile;

class Checkpoint {
 public:
  // <folder>/model.safetensors, or the shards that <folder>/model.safetensors.index.json names.
  explicit Checkpoint(const std::string& folder);
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;

  // Copies rows [row, row + rows) and columns [column, column + columns) of a 2-dimensional tensor whose
  // whole shape must be [all_rows, all_columns], converted from F32, F16 or BF16, to `to` [rows, columns]
  // without gaps.
  struct Part {
    int64_t all_rows, all_columns;
    int64_t row, rows;
    int64_t column, columns;
  };
  void read(const std::string& name, const Part& part, kernels::DType dtype, void* to) const;
  // A whole 1-dimensional tensor's elements [begin, begin + count) of `all`.
  void read(const std::string& name, int64_t all, int64_t begin, int64_t count, kernels::DType dtype,
            void* to) const;
  bool has(const std::string& name) const { return entries_.contains(name); }
  // No tensor's name may begin so: "... expected none, as `reason`, found one".
  void refuse(const std::string& prefix, const std::string& reason) const;

 private:
  enum class Stored : uint8_t { f32, f16, bf16 };
  struct Entry {
    const MappedFile* file;
    std::string dtype;  // as the file says; only those of Stored can be read
    std::vector<int64_t> shape;
    const std::byte* data;
  };
  void add_file(const std::string& path);
  const Entry& find(const std::string& name) const;
  static Stored stored_as(const Entry& entry, const std::string& name);
  static void convert(const std::byte* data, Stored stored, size_t from, size_t count, kernels::DType dtype,
                      void* to, size_t at);
  [[noreturn]] static void fail_shape(const Entry& entry, const std::string& name,
                                      const std::string& expected);

  std::string folder_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::map<std::string, Entry> entries_;
};

}  // namespace batchmax::worker
