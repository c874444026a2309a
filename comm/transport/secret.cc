#include "comm/transport/secret.h"

#include <openssl/rand.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace batchmax::comm {
namespace {

constexpr size_t kLongestSecret = 4096;  // a larger file is something else, named by mistake

void trim_end(std::string& text) {
  const size_t last = text.find_last_not_of(" \t\r\n");
  text.resize(last == std::string::npos ? 0 : last + 1);
}

}  // namespace

std::variant<Secret, SecretError> load_secret(const std::string& file, const char* environment) {
  Secret secret;
  if (file.empty()) {
    if (environment == nullptr) {
      return SecretError{
          "no secret for the connection between coordinator and groups: name a file with --secret-file "
          "or set BATCHMAX_SECRET, the same on both sides"};
    }
    secret.value = environment;
    trim_end(secret.value);
    if (secret.value.empty())
      return SecretError{"BATCHMAX_SECRET is empty: set it to the secret that both sides share"};
    return secret;
  }
  struct stat facts {};
  if (::stat(file.c_str(), &facts) != 0) {
    return SecretError{"--secret-file " + file + ": " + std::strerror(errno)};
  }
  if (!S_ISREG(facts.st_mode)) return SecretError{"--secret-file " + file + " is not a file"};
  if (static_cast<size_t>(facts.st_size) > kLongestSecret) {
    return SecretError{"--secret-file " + file + " has " + std::to_string(facts.st_size) +
                       " bytes; a secret has at most " + std::to_string(kLongestSecret)};
  }
  std::ifstream stream(file, std::ios::binary);
  secret.value.assign(std::istreambuf_iterator<char>(stream), {});
  if (!stream) return SecretError{"--secret-file " + file + " cannot be read: " + std::strerror(errno)};
  trim_end(secret.value);
  if (secret.value.empty()) {
    return SecretError{"--secret-file " + file +
                       " is empty: write one line of random text into it, for example with "
                       "openssl rand -hex 32"};
  }
  if ((facts.st_mode & S_IROTH) != 0) {
    secret.warning =
        "--secret-file " + file + " can be read by every user of this machine: chmod o-r " + file;
  }
  return secret;
}

std::string make_secret() {
  std::array<unsigned char, 32> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    throw std::runtime_error("OpenSSL has no random bytes");
  }
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace batchmax::comm
