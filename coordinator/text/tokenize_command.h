// `batchmax tokenize DIR`: a model's tokenizer as a filter, one JSON value per line in and out.
#pragma once

#include <iosfwd>
#include <string>

namespace batchmax::coordinator {

struct TokenizeOptions {
  std::string model_folder;
  bool decode = false;             // lists of ids in, strings out; else strings in, lists of ids out
  bool add_special_tokens = true;  // the defaults are those of the Python package
  bool skip_special_tokens = true;
};

// Reads `in` to its end and answers every line on `out` at once, so that it may sit in a pipe. Returns the
// exit status: 0, or 1 with one line on `err` that names the folder's fault or the first bad line.
int tokenize_command(const TokenizeOptions& options, std::istream& in, std::ostream& out, std::ostream& err);

}  // namespace batchmax::coordinator
