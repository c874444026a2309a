// A temporary folder that only this user can read, for what groups must be told but nobody else: gone with
// this value.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace batchmax::coordinator {

class PrivateFolder {
 public:
  // Under `parent`, mode 0700. Throws std::runtime_error.
  explicit PrivateFolder(const std::string& parent);
  ~PrivateFolder();
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;

  // A file of mode 0600, in place of an older one of this name; returns its path. Throws std::runtime_error.
  std::string write(const std::string& name, std::string_view content);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::vector<std::string> files_;
};

}  // namespace batchmax::coordinator
