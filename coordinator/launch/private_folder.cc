#include "coordinator/launch/private_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>

namespace batchmax::coordinator {

PrivateFolder::PrivateFolder(const std::string& parent) : path_(parent + "/batchmax-XXXXXX") {
  if (mkdtemp(path_.data()) == nullptr) {
    throw std::runtime_error(
        fmt::format("cannot make a folder in {}: {}; set TMPDIR to one that can be written", parent,
                    std::strerror(errno)));
  }
}

PrivateFolder::~PrivateFolder() {
  std::error_code ignored;
  for (const std::string& file : files_) std::filesystem::remove(file, ignored);
  std::filesystem::remove(path_, ignored);
}

std::string PrivateFolder::write(const std::string& name, std::string_view content) {
  const std::string file = path_ + "/" + name;
  unlink(file.c_str());
  const int descriptor = open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor < 0)
    throw std::runtime_error(fmt::format("cannot write {}: {}", file, std::strerror(errno)));
  files_.push_back(file);
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int reason = errno;
      close(descriptor);
      throw std::runtime_error(fmt::format("cannot write {}: {}", file, std::strerror(reason)));
    }
    content.remove_prefix(static_cast<size_t>(written));
  }
  close(descriptor);
  return file;
}

}  // namespace batchmax::coordinator
