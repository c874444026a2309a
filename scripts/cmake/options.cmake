# Language, warnings, sanitizers: the same for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

option(BATCHMAX_TESTS "Build the tests" ON)
option(BATCHMAX_BENCH "Build the benchmarks" ON)
option(BATCHMAX_FUZZ "Build the libFuzzer targets (needs clang; preset fuzz)" OFF)
option(BATCHMAX_OPENMP "Thread the CPU kernels with OpenMP" ON)
option(BATCHMAX_CUDA "Build the CUDA backend (needs the CUDA toolkit and NCCL)" OFF)
set(BATCHMAX_TEST_PYTHON "" CACHE FILEPATH "Python with tests/clients/requirements.txt, for the tests in Python; empty: without them")
set(BATCHMAX_TEST_ROOT ${PROJECT_SOURCE_DIR} CACHE STRING "Where the tests look for demo/ and tests/ when they run")
set(BATCHMAX_SANITIZE "" CACHE STRING "Sanitizers for -fsanitize=, for example address,undefined")

# Interface target that every target of ours links: warnings are errors in our code only.
add_library(batchmax_flags INTERFACE)
target_compile_options(batchmax_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Werror>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra --Werror=all-warnings>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  # False alarms on std::string concatenation: gcc.gnu.org bug 105651.
  target_compile_options(batchmax_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
  # With sanitizers, also on the frames of coroutines, whose own operator new and delete are inlined unevenly.
  if(BATCHMAX_SANITIZE)
    target_compile_options(batchmax_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-mismatched-new-delete>)
  endif()
endif()
target_include_directories(batchmax_flags INTERFACE
  ${PROJECT_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
if(BATCHMAX_SANITIZE)
  add_compile_options(-fsanitize=${BATCHMAX_SANITIZE} -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${BATCHMAX_SANITIZE})
  if(BATCHMAX_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=all)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # As shared libraries side by side, one ignores log_path: tests would miss its reports.
      add_link_options(-static-libasan -static-libubsan)
    endif()
  endif()
  if(BATCHMAX_SANITIZE MATCHES "thread")
    # The thread sanitizer does not understand fences. Asio's queues are ordered by their locks without them; its
    # reference counts keep theirs, of which GCC warns.
    add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
    add_compile_options(-Wno-tsan)
  endif()
endif()

# How many times as long as otherwise a test may take: the one place that allows for the sanitizers' slowness.
set(BATCHMAX_SLOWNESS 1)
if(BATCHMAX_SANITIZE STREQUAL "thread")
  set(BATCHMAX_SLOWNESS 10)
elseif(BATCHMAX_SANITIZE)
  set(BATCHMAX_SLOWNESS 5)
endif()
