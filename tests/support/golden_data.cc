#include "tests/support/golden_data.h"

#include <boost/json.hpp>
#include <cstring>
#include <fstream>
#include <iterator>

#include "monitoring/check.h"

namespace batchmax {
namespace {

std::string read_bytes(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream.good()) monitoring::check_failed(__FILE__, __LINE__, path + " cannot be read");
  return std::string((std::istreambuf_iterator<char>(stream)), {});
}

std::vector<int32_t> integers(const boost::json::value& value) {
  std::vector<int32_t> out;
  for (const auto& item : value.as_array()) out.push_back(static_cast<int32_t>(item.as_int64()));
  return out;
}

}  // namespace

Golden read_golden(const std::string& root, const std::string& name) {
  const std::string folder = root + "/tests/golden/models/" + name;
  Golden golden;
  golden.checkpoint = name == "longbook-17m" ? root + "/demo/" + name : folder;
  const boost::json::value expected = boost::json::parse(read_bytes(folder + "/expected.json"));
  golden.prompt = integers(expected.at("prompt"));
  golden.positions = integers(expected.at("positions"));
  golden.greedy = integers(expected.at("greedy"));
  const auto vocabulary = static_cast<size_t>(expected.at("vocab_size").as_int64());
  const std::string bytes = read_bytes(folder + "/logits.f32");
  CHECK_EQ(bytes.size(), golden.positions.size() * vocabulary * sizeof(float));
  for (size_t i = 0; i < golden.positions.size(); ++i) {
    std::vector<float> row(vocabulary);
    std::memcpy(row.data(), bytes.data() + i * vocabulary * sizeof(float), vocabulary * sizeof(float));
    golden.logits.push_back(std::move(row));
  }
  return golden;
}

}  // namespace batchmax
