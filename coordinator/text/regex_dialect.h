// Regular expressions of a tokenizer.json are written for Oniguruma; this says them in PCRE2's words where
// the two differ: sets within sets and their intersections, \w \s \h, scripts, {n,m} with a + behind it.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace batchmax::coordinator {

// is_script: whether PCRE2 knows a script of that name. What is not understood is passed on as it is, for
// PCRE2 to judge.
std::string oniguruma_to_pcre2(std::string_view regex,
                               const std::function<bool(const std::string&)>& is_script);

}  // namespace batchmax::coordinator
