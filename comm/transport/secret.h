// The secret that coordinator and groups share. It never stands on a command line, where every user of the
// machine could read it.
#pragma once

#include <string>
#include <variant>

namespace batchmax::comm {

struct Secret {
  std::string value;    // not empty
  std::string warning;  // to be logged; empty: none
};
struct SecretError {
  std::string message;  // what to do
};

// From `file` if it is named, else from `environment` (the value of BATCHMAX_SECRET, or nullptr). White space
// at the end is not part of the secret.
std::variant<Secret, SecretError> load_secret(const std::string& file, const char* environment);

// 256 random bits as text, for groups that `batchmax serve` starts itself.
std::string make_secret();

}  // namespace batchmax::comm
