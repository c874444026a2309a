// Every number an operator may set, with its effective value. Filled by config/load.h; names, bounds and the
// sentence for each stand in config/properties.cc. Both programs read the same settings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/compression.h"

namespace batchmax::config {

struct Settings {
  // Model
  std::string model;              // folder with config.json, *.safetensors, tokenizer.json
  std::string served_model_name;  // default: the folder's name
  std::string dtype = "auto";     // auto | bfloat16 | float32
  std::string kv_cache_dtype = "auto";
  std::string load_format = "auto";  // auto | dummy
  std::string chat_template;         // file; empty: the model's own
  int32_t max_model_len = 0;         // 0: the model's
  uint64_t seed = 0;                 // of dummy weights

  // Cluster
  int32_t tensor_parallel_size = 1;
  int32_t groups = 1;
  std::string hostfile;
  std::string worker_host =
      "127.0.0.1";                     // where the coordinator listens for its groups, and where workers dial
  int32_t worker_port = 0;             // 0: any free port (batchmax serve tells its groups)
  std::string secret_file;             // empty: BATCHMAX_SECRET, or one made for the groups that serve starts
  std::string worker_ssl_certfile;     // empty: no TLS between coordinator and groups
  std::string worker_ssl_keyfile;      // empty: the key stands in worker_ssl_certfile
  std::string worker_ssl_ca_certs;     // for groups; empty: they dial without TLS
  std::string worker_ssl_server_name;  // empty: worker_host
  std::string group_name = "g0";       // of the group a batchmax-worker belongs to
  std::string backend = "auto";        // auto | cpu | cuda
  int32_t first_gpu = 0;               // of the group's ranks on a machine; serve counts it up for its groups
  int32_t threads = 0;                 // OpenMP threads per rank; 0: cores / local ranks

  // Memory and batching
  uint64_t kv_cache_memory_bytes =
      0;  // per rank; 0: from gpu_memory_utilization, on CPU 1/4 of what is available / local ranks
  double gpu_memory_utilization = 0.9;  // of the device's total memory
  int32_t max_num_seqs = 64;
  int32_t max_num_batched_tokens = 0;  // 0: max_num_seqs + 4 blocks
  bool cuda_graphs = true;             // decode steps are recorded at start and replayed

  // Compression (METHOD 1)
  CompressionSettings compression;
  std::string score = "key_distance";
  Scope eviction_scope = Scope::head;

  // HTTP
  std::string host = "127.0.0.1";
  int32_t port = 8000;
  std::string ssl_certfile;  // empty: plain HTTP
  std::string ssl_keyfile;   // empty: the key stands in ssl_certfile
  std::vector<std::string> api_keys;
  std::string metrics_key;
  int32_t max_num_queued_reqs = 256;
  int64_t max_num_queued_tokens = 16 * 1024 * 1024;
  int32_t shutdown_timeout = 30;  // seconds
  int32_t migration_limit = 2;
  int32_t max_connections = 4096;
  int32_t max_header_bytes = 16 * 1024;
  int32_t max_header_fields = 100;
  int64_t max_body_bytes = 4 * 1024 * 1024;
  int64_t max_total_body_bytes = 256 * 1024 * 1024;
  double header_timeout = 10;  // seconds
  double body_timeout = 30;
  double idle_timeout = 75;
  int32_t stream_buffer_bytes = 64 * 1024;
  int32_t stream_buffer_events = 256;
  double stream_stall_timeout = 15;
  double ping_interval = 15;  // ": ping" comment on a silent stream
  int32_t tokenizer_threads = 1;

  // Logging
  std::string log_level = "info";   // debug | info | warning | error
  std::string log_format = "text";  // text: key=value; json
};

// SHA-256 over the settings that coordinator and workers must share (model name, tensor parallel size, score,
// scope, max_model_len, compression defaults): sent in Hello, compared by the coordinator.
std::string shared_digest(const Settings& settings);

}  // namespace batchmax::config
