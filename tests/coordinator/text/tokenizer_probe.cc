// A tokenizer of ours as a filter, for the tests in Python that compare it with the original packages. One
// line in, one line out; texts are in hexadecimal, because they need not be UTF-8.
//   tokenizer_probe FOLDER
//     e TEXT       ids, with special tokens       "1 2 3"
//     p TEXT       ids, without
//     d ID ID ...  text and text without special tokens, with a tab between them
// Ends with status 1 where a stream of text gives out half a character or differs from decoding at once.
#include <charconv>
#include <iostream>
#include <sstream>

#include "coordinator/text/tokenizer.h"
#include "coordinator/text/utf8.h"

namespace batchmax::coordinator {
namespace {

std::string from_hex(const std::string& hex) {
  std::string text;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    int byte = 0;
    std::from_chars(hex.data() + i, hex.data() + i + 2, byte, 16);
    text += static_cast<char>(byte);
  }
  return text;
}

std::string to_hex(const std::string& text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : text) {
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

std::string decode(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  StreamDetokenizer stream(tokenizer, skip_special);
  std::string streamed;
  const auto take = [&](const std::string& piece) {
    if (!is_valid_utf8(piece)) throw std::runtime_error("half a character was given out");
    streamed += piece;
  };
  for (const int32_t id : ids) take(stream.add(id));
  take(stream.finish());
  if (streamed != tokenizer.decode(ids, skip_special)) throw std::runtime_error("the stream differs");
  return to_hex(streamed);
}

std::string answer(const Tokenizer& tokenizer, const std::string& line) {
  std::istringstream words(line);
  std::string command, hex, out;
  words >> command;
  if (command == "d") {
    std::vector<int32_t> ids;
    for (int32_t id; words >> id;) ids.push_back(id);
    return decode(tokenizer, ids, false) + '\t' + decode(tokenizer, ids, true);
  }
  words >> hex;
  for (const int32_t id : tokenizer.encode(from_hex(hex), command == "e")) {
    if (!out.empty()) out += ' ';
    out += std::to_string(id);
  }
  return out;
}

}  // namespace
}  // namespace batchmax::coordinator

int main(int argc, char** argv) {
  using namespace batchmax::coordinator;
  try {
    if (argc != 2) throw std::runtime_error("name the folder of a tokenizer");
    const Tokenizer tokenizer = Tokenizer::load(argv[1]);
    for (std::string line; std::getline(std::cin, line);) std::cout << answer(tokenizer, line) << '\n';
  } catch (const std::exception& error) {
    std::cerr << "tokenizer_probe: " << error.what() << '\n';
    return 1;
  }
}
