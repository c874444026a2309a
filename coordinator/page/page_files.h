// The page for people, as the build put it into the program: the files of this folder. Constants; any thread.
#pragma once

#include <span>
#include <string_view>

namespace batchmax::coordinator {

struct PageFile {
  std::string_view path;  // as a browser asks for it: / or /page/NAME
  std::string_view content_type;
  std::string_view bytes;
};

std::span<const PageFile> page_files();

}  // namespace batchmax::coordinator
