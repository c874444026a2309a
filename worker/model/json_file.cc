#include "worker/model/json_file.h"

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace batchmax::worker {

namespace json = boost::json;

json::object read_json_object(const std::string& path) {
  if (std::error_code error; std::filesystem::is_directory(path, error))
    throw std::runtime_error(path + ": expected a file, found a folder");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error(path + ": cannot be read; expected a Hugging Face model folder");
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  json::error_code error;
  json::value value = json::parse(text, error);
  if (error) throw std::runtime_error(path + ": not valid JSON: " + error.message());
  if (!value.is_object()) throw std::runtime_error(path + ": expected a JSON object");
  return std::move(value.as_object());
}

}  // namespace batchmax::worker
