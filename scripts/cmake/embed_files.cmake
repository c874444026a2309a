# cmake -DSOURCE_DIR=... -DFILES="index.html;app.js" -DOUTPUT=page_files.cc -P embed_files.cmake
# Writes the source of coordinator/page/page_files.h: each file as an array of its bytes. index.html is served as /,
# the others as /page/NAME.
set(type_html "text/html; charset=utf-8")
set(type_js "text/javascript; charset=utf-8")
set(type_css "text/css; charset=utf-8")
set(type_svg "image/svg+xml")
set(type_txt "text/plain; charset=utf-8")

set(arrays "")
set(entries "")
set(index 0)
foreach(name ${FILES})
  file(READ ${SOURCE_DIR}/${name} bytes HEX)
  string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${bytes}")
  string(APPEND arrays "constexpr char kBytes${index}[] = {${bytes}};\n")
  get_filename_component(extension ${name} LAST_EXT)
  string(SUBSTRING ${extension} 1 -1 extension)
  if(NOT DEFINED type_${extension})
    message(FATAL_ERROR "${name}: no content type is known for .${extension}: add it to embed_files.cmake")
  endif()
  if(name STREQUAL "index.html")
    set(path "/")
  else()
    set(path "/page/${name}")
  endif()
  string(APPEND entries "    {\"${path}\", \"${type_${extension}}\", {kBytes${index}, sizeof(kBytes${index})}},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${OUTPUT} "#include \"coordinator/page/page_files.h\"

namespace batchmax::coordinator {
namespace {

${arrays}
constexpr PageFile kFiles[] = {
${entries}};

}  // namespace

std::span<const PageFile> page_files() { return kFiles; }

}  // namespace batchmax::coordinator
")
