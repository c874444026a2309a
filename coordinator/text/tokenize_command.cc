#include "coordinator/text/tokenize_command.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <istream>
#include <limits>
#include <ostream>
#include <stdexcept>
#include <vector>

#include "coordinator/text/json_file.h"
#include "coordinator/text/tokenizer.h"

namespace batchmax::coordinator {
namespace {

std::string answer(const Tokenizer& tokenizer, const TokenizeOptions& options, const std::string& line,
                   const std::string& name) {
  const boost::json::value value = parse_json(line, name);
  const JsonNode node(value, name);
  if (options.decode) {
    std::vector<int32_t> ids;
    for (const JsonNode& id : node.items())
      ids.push_back(static_cast<int32_t>(id.as_integer(0, std::numeric_limits<int32_t>::max())));
    return boost::json::serialize(tokenizer.decode(ids, options.skip_special_tokens));
  }
  return fmt::format("[{}]", fmt::join(tokenizer.encode(node.as_string(), options.add_special_tokens), ", "));
}

}  // namespace

int tokenize_command(const TokenizeOptions& options, std::istream& in, std::ostream& out, std::ostream& err) {
  try {
    const Tokenizer tokenizer = Tokenizer::load(options.model_folder);
    std::string line;
    for (int64_t number = 1; std::getline(in, line); ++number) {
      out << answer(tokenizer, options, line, fmt::format("standard input, line {}", number)) << '\n'
          << std::flush;
      if (!out) throw std::runtime_error("standard output cannot be written");
    }
    return 0;
  } catch (const std::runtime_error& error) {
    err << "batchmax tokenize: " << error.what() << '\n';
    return 1;
  }
}

}  // namespace batchmax::coordinator
