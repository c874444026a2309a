// Where a target's code reads a file: one in memory, written anew for every input.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace batchmax::fuzz {

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& name)
      : folder_("/dev/shm/batchmax-fuzz-" + std::to_string(getpid())), path_(folder_ + "/" + name) {
    std::filesystem::create_directories(folder_);
  }
  ~TemporaryFile() { std::filesystem::remove_all(folder_); }

  void write(const uint8_t* data, size_t size) {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  const std::string& folder() const { return folder_; }
  const std::string& path() const { return path_; }

 private:
  std::string folder_, path_;
};

}  // namespace batchmax::fuzz
