// A model's chat template (Jinja), executed by a small interpreter. Immutable after load; any thread may
// render.
#pragma once

#include <boost/json/fwd.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace batchmax::coordinator {

class ChatTemplate {
 public:
  // From `file` where given, else from the folder: chat_template.jinja, else the key chat_template of
  // tokenizer_config.json (of several, the one named default). The latter has bos and eos token either way.
  // Throws std::runtime_error: file, template line, reason.
  static ChatTemplate load(const std::string& model_folder, const std::string& file);
  // Throws TemplateError.
  static ChatTemplate parse(std::string_view source, std::string_view bos_token, std::string_view eos_token);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // variables: object with `messages` (array), `add_generation_prompt` (bool), and whatever else the request
  // brings; bos_token and eos_token are added. Throws TemplateError (a user's error: 400) with line and
  // reason; depth, step and output limits apply.
  std::string render(const boost::json::object& variables) const;
  // The same with the time that strftime_now tells, in the local time zone.
  std::string render(const boost::json::object& variables, std::chrono::system_clock::time_point now) const;

  class Program;

 private:
  ChatTemplate();
  std::unique_ptr<Program> program_;
};

}  // namespace batchmax::coordinator
