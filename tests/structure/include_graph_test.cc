// Reads every #include of the product and holds it against the list of who may include whom. The same list
// stands in docs/architecture.md; an edge that is not in it, or a cycle between folders, fails.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Graph = std::map<std::string, std::map<std::string, std::string>>;  // room -> room -> "file: include"

const std::vector<std::string> kTopLevel = {"monitoring", "config", "kernels",
                                            "comm",       "worker", "coordinator"};

// left may include right; an entry with a trailing slash stands for every room below it.
const std::map<std::string, std::set<std::string>> kAllowed = {
    {"monitoring", {}},
    {"config", {}},
    {"kernels/core", {}},
    {"kernels/", {"kernels/core"}},
    {"comm/protocol", {}},
    {"comm/transport", {"comm/protocol"}},
    {"comm/group", {"kernels/core"}},
    {"worker/kv", {"kernels/", "config"}},
    {"worker/plan", {"worker/kv", "comm/protocol", "kernels/"}},
    {"worker/model", {"worker/plan", "worker/kv", "kernels/", "comm/group", "config"}},
    {"worker/executor", {"worker/model", "worker/plan", "worker/kv", "kernels/", "comm/group"}},
    {"worker/leader", {"worker/executor", "worker/plan", "worker/kv", "comm/", "config"}},
    {"worker", {"worker/", "kernels/", "comm/", "config"}},
    {"coordinator/text", {"config"}},
    {"coordinator/routing", {"comm/protocol", "comm/transport", "config"}},
    {"coordinator/gateway",
     {"coordinator/text", "coordinator/routing", "coordinator/page", "comm/protocol", "config"}},
    {"coordinator/page", {}},
    {"coordinator/client", {"coordinator/text", "config"}},
    {"coordinator/launch", {"config"}},
    {"coordinator", {"coordinator/", "comm/protocol", "comm/transport", "config"}},
};

// The folder a file belongs to: cpu/ and cuda/ are backends of their op's room.
std::string room_of(const std::string& path) {
  std::vector<std::string> parts;
  for (const auto& part : fs::path(path).parent_path()) parts.push_back(part.string());
  while (!parts.empty() && (parts.back() == "cpu" || parts.back() == "cuda")) parts.pop_back();
  std::string room;
  for (size_t i = 0; i < parts.size() && i < 2; ++i) room += (i == 0 ? "" : "/") + parts[i];
  return room;
}

bool is_source(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".h" || extension == ".cc" || extension == ".cu" || extension == ".cuh" ||
         extension == ".in";
}

Graph read_graph(const fs::path& root) {
  Graph graph;
  for (const std::string& top : kTopLevel) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      if (!entry.is_regular_file() || !is_source(entry.path())) continue;
      const std::string file = fs::relative(entry.path(), root).string();
      std::ifstream stream(entry.path());
      for (std::string line; std::getline(stream, line);) {
        const size_t quote = line.find("#include \"");
        if (quote == std::string::npos) continue;
        const size_t begin = quote + 10;
        const std::string target = line.substr(begin, line.find('"', begin) - begin);
        graph[room_of(file)][room_of(target)] = file + ": " + target;
      }
    }
  }
  return graph;
}

bool matches(const std::string& pattern, const std::string& room) {
  return pattern.back() == '/' ? room.starts_with(pattern) : room == pattern;
}

bool allowed(const std::string& from, const std::string& to) {
  if (from == to || to == "monitoring") return true;
  auto rule = kAllowed.find(from);
  if (rule == kAllowed.end()) rule = kAllowed.find(from.substr(0, from.find('/')) + "/");
  if (rule == kAllowed.end()) return false;
  for (const std::string& pattern : rule->second) {
    if (matches(pattern, to)) return true;
  }
  return false;
}

TEST(IncludeGraph, HasOnlyTheListedEdges) {
  const Graph graph = read_graph(BATCHMAX_SOURCE_DIR);
  ASSERT_GT(graph.size(), 10U) << "the sources were not found";
  for (const auto& [from, targets] : graph) {
    for (const auto& [to, example] : targets)
      EXPECT_TRUE(allowed(from, to)) << from << " -> " << to << " by " << example;
  }
}

TEST(IncludeGraph, HasNoCycle) {
  const Graph graph = read_graph(BATCHMAX_SOURCE_DIR);
  std::set<std::string> done;
  std::vector<std::string> path;
  const std::function<void(const std::string&)> visit = [&](const std::string& room) {
    for (size_t i = 0; i < path.size(); ++i) {
      if (path[i] != room) continue;
      std::string cycle;
      for (size_t j = i; j < path.size(); ++j) cycle += path[j] + " -> ";
      ADD_FAILURE() << cycle << room;
      return;
    }
    if (done.contains(room) || !graph.contains(room)) return;
    path.push_back(room);
    for (const auto& [to, example] : graph.at(room)) {
      if (to != room) visit(to);
    }
    path.pop_back();
    done.insert(room);
  };
  for (const auto& [room, targets] : graph) visit(room);
}

TEST(IncludeGraph, CudaStaysInKernelsAndCommGroup) {
  for (const std::string& top : kTopLevel) {
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(BATCHMAX_SOURCE_DIR) / top)) {
      if (!entry.is_regular_file() || !is_source(entry.path())) continue;
      const std::string file = fs::relative(entry.path(), BATCHMAX_SOURCE_DIR).string();
      const bool may = file.find("/cuda/") != std::string::npos || file.starts_with("kernels/core/") ||
                       file.starts_with("comm/group/");
      std::ifstream stream(entry.path());
      for (std::string line; std::getline(stream, line);) {
        const bool includes = line.starts_with("#include <cuda") || line.starts_with("#include <cublas") ||
                              line.starts_with("#include <nccl");
        EXPECT_TRUE(may || !includes) << file << ": " << line;
      }
      EXPECT_TRUE(may || entry.path().extension() != ".cu") << file;
    }
  }
}

}  // namespace
