// A file mapped into memory, read-only, for as long as this lives.
#pragma once

#include <cstddef>
#include <string>

namespace batchmax::worker {

class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // std::runtime_error: path and reason
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const std::string& path() const { return path_; }
  const std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace batchmax::worker
