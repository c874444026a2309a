// How fast text becomes token ids and back, and messages become text.
//   bench_text [--text=FILE] [FOLDER ...] [--benchmark_filter=REGEX ...]
// FILE: text to tokenize, default the demo's book passages. FOLDER: with a tokenizer, default the demo's
// model.
#include <benchmark/benchmark.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>

#include "coordinator/text/chat_template.h"
#include "coordinator/text/json_file.h"
#include "coordinator/text/tokenizer.h"

namespace batchmax::bench {
namespace {

using coordinator::ChatTemplate;
using coordinator::Tokenizer;

const std::string kDemo = std::string(BATCHMAX_SOURCE_DIR) + "/demo";
constexpr size_t kHostileBytes = 10'000'000;

std::string demo_passages() {
  const std::string file = kDemo + "/passages.jsonl", lines = coordinator::read_file(file);
  std::string text;
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = lines.find('\n', begin);
    const auto line = coordinator::parse_json(std::string_view(lines).substr(begin, end - begin), file);
    text += std::string_view(line.at("prompt").as_string());
    text += "\n\n";
    begin = end + 1;
  }
  return text;
}

// What a client could send to be a nuisance: one word, or one run of space, as long as the text.
std::map<std::string, std::string> hostile_texts() {
  const std::map<std::string, std::string> units = {
      {"letter", "a"},      {"spaces", " "},
      {"emoji", "🦉"},    {"newlines", "\n"},
      {"digits", "1"},      {"marks", "\u0301"},
      {"ideographs", "的"}, {"dots", "."},
      {"letters", "ab"},    {"families", "👨‍👩‍👧‍👦"},
      {"quotes", "'"},      {"spaced", " a\n"}};
  std::map<std::string, std::string> texts;
  for (const auto& [name, unit] : units) {
    std::string& text = texts[name];
    while (text.size() < kHostileBytes) text += unit;
  }
  return texts;
}

void encode(benchmark::State& state, const Tokenizer& tokenizer, const std::string& text) {
  size_t ids = 0;
  for (auto _ : state) benchmark::DoNotOptimize(ids = tokenizer.encode(text, true).size());
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
  state.counters["bytes_per_token"] = static_cast<double>(text.size()) / static_cast<double>(ids);
}

void stream(benchmark::State& state, const Tokenizer& tokenizer, const std::string& text) {
  const std::vector<int32_t> ids = tokenizer.encode(text, true);
  for (auto _ : state) {
    coordinator::StreamDetokenizer detokenizer(tokenizer, true);
    for (const int32_t id : ids) benchmark::DoNotOptimize(detokenizer.add(id));
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * ids.size()));
}

void render(benchmark::State& state) {
  const ChatTemplate chat = ChatTemplate::load(kDemo + "/longbook-17m", "");
  boost::json::object variables;
  boost::json::array& messages = variables["messages"].emplace_array();
  for (int64_t i = 0; i < state.range(0); ++i)
    messages.push_back(
        boost::json::object{{"role", i % 2 ? "assistant" : "user"}, {"content", std::string(200, 'x')}});
  variables["add_generation_prompt"] = true;
  for (auto _ : state) benchmark::DoNotOptimize(chat.render(variables));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

}  // namespace
}  // namespace batchmax::bench

int main(int argc, char** argv) {
  using namespace batchmax::bench;
  benchmark::Initialize(&argc, argv);
  std::vector<std::string> folders;
  std::string file;
  for (const std::string& argument : std::vector<std::string>(argv + 1, argv + argc)) {
    if (argument.starts_with("--text=")) {
      file = argument.substr(7);
    } else if (argument.starts_with("-")) {
      std::cerr << "bench_text [--text=FILE] [FOLDER ...] [--benchmark_filter=REGEX ...]\n";
      return 2;
    } else {
      folders.push_back(argument);
    }
  }
  if (folders.empty()) folders.push_back(kDemo + "/longbook-17m");
  const std::string book = file.empty() ? demo_passages() : batchmax::coordinator::read_file(file);
  const auto hostile = hostile_texts();
  std::vector<Tokenizer> tokenizers;
  for (const std::string& folder : folders) tokenizers.push_back(Tokenizer::load(folder));
  for (size_t i = 0; i < folders.size(); ++i) {
    const Tokenizer& tokenizer = tokenizers[i];
    const std::string name = std::filesystem::path(folders[i]).filename().string() + "/";
    const auto add = [&](const std::string& what, auto function, const std::string& text) {
      benchmark::RegisterBenchmark((name + what).c_str(), function, std::cref(tokenizer), std::cref(text))
          ->Unit(benchmark::kMillisecond);
    };
    add("encode/book", encode, book);
    for (const auto& [kind, text] : hostile) add("encode/" + kind, encode, text);
    add("stream/book", stream, book);
  }
  benchmark::RegisterBenchmark("render/messages", render)->Arg(2)->Arg(200)->Unit(benchmark::kMicrosecond);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
