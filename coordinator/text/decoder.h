// The decoder of a tokenizer.json: tokens back to text, as a chain of stages that each take one token at a
// time and pass on what has become certain. Decoding all at once is the same stream run to its end, so the
// two cannot differ. A Decoder is immutable after construction and shared; a Stream belongs to one thread and
// refers to its decoder.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/text/json_file.h"

namespace batchmax::coordinator {

class Decoder {
 public:
  // From the value of the key decoder (null: tokens are joined with spaces). Throws std::runtime_error naming
  // the key of an unknown type.
  explicit Decoder(const JsonNode& node);
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;
  ~Decoder();

  // What a token adds in the middle of a text: bytes, which may be a part of a character.
  std::string bytes_of(std::string_view token) const;

  // One stage of one stream: emits into the next, or into the output.
  class Stage {
   public:
    virtual ~Stage() = default;
    virtual void add(std::string_view token) = 0;
    virtual void finish() { next_->finish(); }
    void set_next(Stage* next) { next_ = next; }

   protected:
    void emit(std::string_view token) { next_->add(token); }
    Stage* next_ = nullptr;
  };
  class StageFactory {
   public:
    virtual ~StageFactory() = default;
    virtual std::unique_ptr<Stage> make() const = 0;
  };

  class Stream {
   public:
    // behind_text: something stands before what is decoded, so nothing that a text begins with is taken off.
    explicit Stream(const Decoder& decoder, bool behind_text = false);
    Stream(Stream&&) noexcept;
    Stream& operator=(Stream&&) noexcept;
    ~Stream();

    // Text that became certain; always whole characters.
    std::string add(std::string_view token);
    // The rest. The stream is over.
    std::string finish();

   private:
    class Output;
    std::vector<std::unique_ptr<Stage>> stages_;  // the last is the output
  };

 private:
  std::vector<std::unique_ptr<StageFactory>> factories_;
  bool byte_level_ = false;
  bool byte_tokens_ = false;
};

}  // namespace batchmax::coordinator
