// The rows of the table. Bounds are closed ranges; a sentence says what the setting is and its unit.
#include <cmath>
#include <limits>
#include <sstream>

#include "config/parse_number.h"
#include "config/property.h"

namespace batchmax::config {
namespace {

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();

// Bytes may carry a binary suffix: 512MiB, 4GiB.
std::optional<uint64_t> parse_bytes(std::string_view text) {
  uint64_t unit = 1;
  for (const auto& [suffix, factor] :
       {std::pair<std::string_view, uint64_t>{"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30}}) {
    if (text.ends_with(suffix)) {
      text.remove_suffix(suffix.size());
      unit = factor;
    }
  }
  const auto value = parse_number<uint64_t>(text);
  if (!value || *value > std::numeric_limits<uint64_t>::max() / unit) return std::nullopt;
  return *value * unit;
}

std::string print_number(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

// "BATCHMAX_MAX_MODEL_LEN".
std::string environment_name(std::string_view name) {
  std::string variable = "BATCHMAX_";
  for (const char c : name)
    variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return variable;
}

// Builds rows; `Field` is a function from Settings& to a reference to the field.
class Table {
 public:
  std::vector<Property> rows;

  void section(std::string name) { section_ = std::move(name); }

  template <typename Field>
  Property& integer(const char* name, int64_t least, int64_t most, const char* sentence, Field field) {
    Property& row = add(name, "integer", std::to_string(least) + " to " + std::to_string(most), sentence);
    row.set = [=](Settings& settings, std::string_view text) -> std::optional<std::string> {
      const auto value = parse_number<int64_t>(text);
      if (!value || *value < least || *value > most) {
        return "an integer from " + std::to_string(least) + " to " + std::to_string(most);
      }
      field(settings) = static_cast<std::remove_reference_t<decltype(field(settings))>>(*value);
      return std::nullopt;
    };
    row.get = [=](const Settings& settings) { return print_integer(field(const_cast<Settings&>(settings))); };
    return row;
  }

  template <typename Field>
  Property& number(const char* name, double least, double most, const char* sentence, Field field) {
    const std::string range = print_number(least) + " to " + print_number(most);
    Property& row = add(name, "number", range, sentence);
    row.set = [=](Settings& settings, std::string_view text) -> std::optional<std::string> {
      const auto value = parse_number<double>(text);
      if (!value || !std::isfinite(*value) || *value < least || *value > most)
        return "a number from " + range;
      field(settings) = *value;
      return std::nullopt;
    };
    row.get = [=](const Settings& settings) { return print_number(field(const_cast<Settings&>(settings))); };
    return row;
  }

  template <typename Field>
  Property& bytes(const char* name, uint64_t most, const char* sentence, Field field) {
    Property& row = add(name, "bytes", "0 to " + std::to_string(most) + ", suffixes KiB, MiB, GiB", sentence);
    row.set = [=](Settings& settings, std::string_view text) -> std::optional<std::string> {
      const auto value = parse_bytes(text);
      if (!value || *value > most)
        return "bytes, for example 1073741824 or 1GiB, at most " + std::to_string(most);
      field(settings) = static_cast<std::remove_reference_t<decltype(field(settings))>>(*value);
      return std::nullopt;
    };
    row.get = [=](const Settings& settings) {
      return std::to_string(field(const_cast<Settings&>(settings)));
    };
    return row;
  }

  template <typename Field>
  Property& text(const char* name, const char* sentence, Field field) {
    Property& row = add(name, "text", "", sentence);
    row.set = [=](Settings& settings, std::string_view value) -> std::optional<std::string> {
      field(settings) = std::string(value);
      return std::nullopt;
    };
    row.get = [=](const Settings& settings) { return field(const_cast<Settings&>(settings)); };
    return row;
  }

  template <typename Field>
  Property& file(const char* name, const char* sentence, Field field) {
    Property& row = text(name, sentence, field);
    row.type = "file";
    return row;
  }

  // Values separated by commas; several flags add up.
  template <typename Field>
  Property& list(const char* name, const char* sentence, Field field) {
    Property& row = add(name, "list", "separated by commas", sentence);
    row.set = [=](Settings& settings, std::string_view value) -> std::optional<std::string> {
      std::vector<std::string> items;
      std::stringstream stream{std::string(value)};
      for (std::string item; std::getline(stream, item, ',');) {
        if (item.empty()) return "values without gaps, separated by commas";
        items.push_back(item);
      }
      field(settings) = std::move(items);
      return std::nullopt;
    };
    row.get = [=](const Settings& settings) {
      std::string joined;
      for (const auto& item : field(const_cast<Settings&>(settings)))
        joined += (joined.empty() ? "" : ",") + item;
      return joined;
    };
    return row;
  }

  template <typename Field>
  Property& choice(const char* name, std::vector<std::string> choices, const char* sentence, Field field) {
    return choice_of(
        name, std::move(choices), sentence,
        [=](Settings& settings, const std::string& value) { field(settings) = value; },
        [=](const Settings& settings) -> std::string { return field(const_cast<Settings&>(settings)); });
  }

  template <typename Set, typename Get>
  Property& choice_of(const char* name, std::vector<std::string> choices, const char* sentence, Set set,
                      Get get) {
    std::string joined;
    for (const auto& one : choices) joined += (joined.empty() ? "" : " | ") + one;
    Property& row = add(name, joined, "", sentence);
    row.set = [=](Settings& settings, std::string_view value) -> std::optional<std::string> {
      for (const auto& one : choices) {
        if (one == value) {
          set(settings, one);
          return std::nullopt;
        }
      }
      return "one of " + joined;
    };
    row.get = get;
    return row;
  }

 private:
  static std::string print_integer(int64_t value) { return std::to_string(value); }
  static std::string print_integer(const std::optional<int32_t>& value) {
    return value ? std::to_string(*value) : std::string(kDerived);
  }

  Property& add(const char* name, std::string type, std::string range, const char* sentence) {
    Property row;
    row.name = name;
    row.section = section_;
    row.type = std::move(type);
    row.range = std::move(range);
    row.sentence = sentence;
    rows.push_back(std::move(row));
    return rows.back();
  }
  std::string section_;
};

#define FIELD(member) \
  [](Settings & settings) -> auto& { return settings.member; }

void add_model(Table& table) {
  table.section("Model");
  table
      .text("model", "Folder with config.json, *.safetensors and tokenizer.json or tokenizer.model.",
            FIELD(model))
      .type = "folder";
  table.text("served-model-name", "Name that clients use; empty: the folder's name.",
             FIELD(served_model_name));
  table.choice(
      "dtype", {"auto", "bfloat16", "float32"},
      "Type of weights and activations; auto: bfloat16 where the machine computes in it, else float32.",
      FIELD(dtype));
  table.choice("kv-cache-dtype", {"auto", "bfloat16", "float32"},
               "Type of K and V in the cache; auto: as dtype.", FIELD(kv_cache_dtype));
  table.choice("load-format", {"auto", "dummy"},
               "auto: read the checkpoint; dummy: random weights of its shape.", FIELD(load_format));
  table.file("chat-template", "File with a Jinja chat template; empty: the model's own.",
             FIELD(chat_template));
  table.integer("max-model-len", 0, kInt32Max,
                "Most tokens of prompt and output together; 0: the model's own limit.", FIELD(max_model_len));
  table.integer("seed", 0, std::numeric_limits<int64_t>::max(), "Seed of dummy weights.", FIELD(seed));
}

void add_cluster(Table& table) {
  table.section("Cluster");
  table
      .integer("tensor-parallel-size", 1, 64, "Ranks of one group; must divide the model's KV heads.",
               FIELD(tensor_parallel_size))
      .alias = "-tp";
  table.integer("groups", 0, 256, "Groups that serve starts on this machine; 0: only groups that dial in.",
                FIELD(groups));
  table.file("hostfile", "mpirun host file for the groups that serve starts.", FIELD(hostfile));
  table.text("worker-host", "Address where the coordinator listens for groups, and which workers dial.",
             FIELD(worker_host));
  table.integer("worker-port", 0, 65535,
                "Port for groups; 0: any free one, told to the groups that serve starts.",
                FIELD(worker_port));
  table.file(
      "secret-file",
      "File with the secret that coordinator and workers share; empty: BATCHMAX_SECRET, or made by serve.",
      FIELD(secret_file));
  table.file("worker-ssl-certfile",
             "PEM file with the certificate (and its chain) of the port for groups; empty: no TLS there.",
             FIELD(worker_ssl_certfile));
  table.file("worker-ssl-keyfile", "PEM file with its private key; empty: in worker-ssl-certfile.",
             FIELD(worker_ssl_keyfile));
  table.file(
      "worker-ssl-ca-certs",
      "PEM file with the certificates that groups trust; empty: they dial without TLS, but groups that "
      "serve starts trust worker-ssl-certfile.",
      FIELD(worker_ssl_ca_certs));
  table.text("worker-ssl-server-name",
             "Name or address that the coordinator's certificate must have; empty: worker-host.",
             FIELD(worker_ssl_server_name));
  table.text("group-name", "Name of the group a batchmax-worker belongs to; label of its metrics.",
             FIELD(group_name));
  table.choice("backend", {"auto", "cpu", "cuda"},
               "Where kernels run; auto: cuda where built in and a device is there.", FIELD(backend));
  table.integer("first-gpu", 0, 1023,
                "GPU of the group's first rank on a machine; its other ranks, and the groups that serve "
                "starts, follow.",
                FIELD(first_gpu));
  table.integer("threads", 0, 1024, "CPU threads of each rank; 0: cores / local ranks.", FIELD(threads));
}

void add_memory(Table& table) {
  table.section("Memory and batching");
  table.bytes("kv-cache-memory-bytes", 1ULL << 50,
              "KV cache of each rank; 0: by gpu-memory-utilization, on CPU a quarter of the available memory "
              "/ local ranks.",
              FIELD(kv_cache_memory_bytes));
  table.number("gpu-memory-utilization", 0.05, 1.0, "Share of the device's total memory to use.",
               FIELD(gpu_memory_utilization));
  table.integer("max-num-seqs", 1, 8192, "Most sequences of a group that run at once.", FIELD(max_num_seqs));
  table.integer("max-num-batched-tokens", 0, 1 << 20,
                "Most tokens of one step; at least max-num-seqs + prefill-block; 0: max-num-seqs + 4 blocks.",
                FIELD(max_num_batched_tokens));
  table.choice_of(
      "cuda-graphs", {"on", "off"},
      "on: steps that only decode are recorded at start and replayed on the GPU; off: launched one by one.",
      [](Settings& settings, const std::string& value) { settings.cuda_graphs = value == "on"; },
      [](const Settings& settings) -> std::string { return settings.cuda_graphs ? "on" : "off"; });
}

void add_compression(Table& table) {
  table.section("KV cache compression");
  table.choice_of(
      "compression", {"off", "decode", "full"},
      "off: keep all KV; decode: evict after the prompt; full: evict after every prefill block too.",
      [](Settings& settings, const std::string& value) {
        settings.compression.mode = *mode_from_name(value);
      },
      [](const Settings& settings) -> std::string { return name_of(settings.compression.mode); });
  table.integer("kv-budget", 3, kInt32Max, "Most slots a sequence keeps per layer and KV head.",
                FIELD(compression.budget));
  table.integer("prefill-block", 1, 65536, "Prompt tokens of one sequence per step; at most half the budget.",
                FIELD(compression.block));
  table.integer("decode-block", 1, 1024, "Victims chosen by one selection while decoding.",
                FIELD(compression.decode_block));
  table.choice("score", {"average", "key_distance", "key_diff", "recency", "random"},
               "What a slot is worth: the lowest are evicted.", FIELD(score));
  table.choice_of(
      "eviction-scope", {"head", "layer"},
      "head: each KV head keeps its own slots; layer: all heads keep the same.",
      [](Settings& settings, const std::string& value) { settings.eviction_scope = *scope_from_name(value); },
      [](const Settings& settings) -> std::string { return name_of(settings.eviction_scope); });
  table.integer("sinks", 0, kInt32Max, "First positions that are never evicted.", FIELD(compression.sinks));
  table.integer("recent", 1, kInt32Max,
                "Newest positions that are not evicted; derived: a quarter of the budget.",
                FIELD(compression.recent));
  table.integer("prompt-tail", 0, kInt32Max,
                "Last positions of the prompt that are never evicted; derived: min(32, recent).",
                FIELD(compression.prompt_tail));
}

void add_http(Table& table) {
  table.section("HTTP");
  table.text("host", "Address to listen on.", FIELD(host));
  table.integer("port", 0, 65535, "Port to listen on; 0: any free one.", FIELD(port));
  table.file("ssl-certfile",
             "PEM file with the server's certificate (and its chain), for HTTPS; empty: plain HTTP.",
             FIELD(ssl_certfile));
  table.file("ssl-keyfile", "PEM file with its private key; empty: in ssl-certfile.", FIELD(ssl_keyfile));
  table.list("api-key", "Keys that clients may use; empty: no key needed.", FIELD(api_keys)).secret = true;
  table.text("metrics-key", "Key that /metrics asks for; empty: open.", FIELD(metrics_key)).secret = true;
  table.integer("max-num-queued-reqs", 0, 1 << 20, "Most requests that wait.", FIELD(max_num_queued_reqs));
  table.integer("max-num-queued-tokens", 0, 1LL << 40, "Most prompt tokens that wait.",
                FIELD(max_num_queued_tokens));
  table.integer("shutdown-timeout", 0, 86400, "Seconds that running streams get after SIGTERM.",
                FIELD(shutdown_timeout));
  table.integer("migration-limit", 0, 16,
                "How often a request may move to another group after its group died.",
                FIELD(migration_limit));
  table.integer("max-connections", 1, 1 << 20, "Most open client connections.", FIELD(max_connections));
  table.integer("max-header-bytes", 256, 1 << 20, "Most bytes of a request's header.",
                FIELD(max_header_bytes));
  table.integer("max-header-fields", 1, 10000, "Most fields of a request's header.",
                FIELD(max_header_fields));
  table.bytes("max-body-bytes", 1ULL << 32, "Most bytes of a request's body.", FIELD(max_body_bytes));
  table.bytes("max-total-body-bytes", 1ULL << 40,
              "Most bytes of all request bodies that wait to be read; the first 64 KiB of each do not count.",
              FIELD(max_total_body_bytes));
  table.number("header-timeout", 0.01, 3600, "Seconds a client has to send its header.",
               FIELD(header_timeout));
  table.number("body-timeout", 0.01, 3600, "Seconds a client has to send its body.", FIELD(body_timeout));
  table.number("idle-timeout", 0.01, 86400, "Seconds an idle connection stays open.", FIELD(idle_timeout));
  table.bytes("stream-buffer-bytes", 1ULL << 30, "Most bytes buffered for one slow stream.",
              FIELD(stream_buffer_bytes));
  table.integer("stream-buffer-events", 1, 1 << 20, "Most events buffered for one slow stream.",
                FIELD(stream_buffer_events));
  table.number("stream-stall-timeout", 0.01, 3600,
               "Seconds a stream may make no progress before it is aborted.", FIELD(stream_stall_timeout));
  table.number("ping-interval", 0.01, 3600, "Seconds of silence after which a stream gets a comment line.",
               FIELD(ping_interval));
  table.integer("tokenizer-threads", 1, 256, "Threads that tokenize prompts.", FIELD(tokenizer_threads));
}

void add_logging(Table& table) {
  table.section("Logging");
  table.choice("log-level", {"debug", "info", "warning", "error"}, "Least severe events to write.",
               FIELD(log_level));
  table.choice("log-format", {"text", "json"}, "text: key=value; json: one object per line.",
               FIELD(log_format));
}

#undef FIELD

}  // namespace

std::vector<Property> properties() {
  Table table;
  add_model(table);
  add_cluster(table);
  add_memory(table);
  add_compression(table);
  add_http(table);
  add_logging(table);
  const Settings defaults;
  for (Property& row : table.rows) {
    row.default_value = row.get(defaults);
    row.environment = environment_name(row.name);
  }
  return std::move(table.rows);
}

}  // namespace batchmax::config
