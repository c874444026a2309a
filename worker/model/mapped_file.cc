#include "worker/model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace batchmax::worker {

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  const bool found = descriptor >= 0 && ::fstat(descriptor, &status) == 0;
  if (!found || !S_ISREG(status.st_mode)) {
    const std::string reason = found ? "not a regular file" : std::strerror(errno);
    if (descriptor >= 0) ::close(descriptor);
    throw std::runtime_error(path + ": cannot be read: " + reason);
  }
  bytes_ = static_cast<size_t>(status.st_size);
  if (bytes_ > 0) {
    void* mapped = ::mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (mapped == MAP_FAILED) {
      const std::string reason = std::strerror(errno);
      ::close(descriptor);
      throw std::runtime_error(path + ": cannot be mapped: " + reason);
    }
    data_ = static_cast<const std::byte*>(mapped);
  }
  ::close(descriptor);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), bytes_);
}

}  // namespace batchmax::worker
