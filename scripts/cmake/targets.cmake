# What a build with CUDA adds: `--target batchmax_cuda` builds every target that contains CUDA code, and no other but
# those that they need. Empty otherwise.
add_custom_target(batchmax_cuda)

# batchmax_library(NAME SOURCES a.cc b.cc [LINK other_target ...] [CUDA_SOURCES cuda/a.cu ...] [CUDA_LINK ...])
# One static library per folder. Links are PRIVATE: a target sees what it lists and nothing else. CUDA_SOURCES (.cu, or
# .cc that call the runtime only) and CUDA_LINK are part of a build with BATCHMAX_CUDA only.
function(batchmax_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;CUDA_SOURCES;CUDA_LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE batchmax_flags ${ARG_LINK})
  if(BATCHMAX_CUDA AND ARG_CUDA_SOURCES)
    target_sources(${name} PRIVATE ${ARG_CUDA_SOURCES})
    target_link_libraries(${name} PRIVATE CUDA::cudart_static ${ARG_CUDA_LINK})
    add_dependencies(batchmax_cuda ${name})
  endif()
endfunction()

# batchmax_limit(TEST seconds): after which ctest ends the test; more in a build with sanitizers.
function(batchmax_limit test seconds)
  math(EXPR seconds "${seconds} * ${BATCHMAX_SLOWNESS}")
  set_tests_properties(${test} PROPERTIES TIMEOUT ${seconds})
endfunction()

# batchmax_keep_modules(PROGRAM): lets leaks of modules that libraries load be told by name, where leaks are looked for.
function(batchmax_keep_modules program)
  if(BATCHMAX_SANITIZE MATCHES "address")
    target_sources(${program} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/keep_modules.cc)
  endif()
endfunction()

# batchmax_program(NAME SOURCES main.cc [LINK ...] [USES_CUDA]): an executable under bin/. USES_CUDA: it contains CUDA
# code in a build with CUDA.
function(batchmax_program name)
  cmake_parse_arguments(ARG "USES_CUDA" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE batchmax_flags ${ARG_LINK})
  batchmax_keep_modules(${name})
  if(ARG_USES_CUDA)
    add_dependencies(batchmax_cuda ${name})
  endif()
endfunction()

# batchmax_test(NAME SOURCES a_test.cc ... [LINK ...] [TIMEOUT seconds] [LABELS ...] [ON_BACKENDS])
# One GoogleTest binary per room, one ctest entry per test suite binary. ON_BACKENDS: its suites are instantiated per
# backend (tests/kernels/on_backend.h). In a build with CUDA they become a second entry, NAME_cuda, label `gpu`, and the
# first runs all the others. Without a device the second is reported as skipped, for "no device".
function(batchmax_test name)
  cmake_parse_arguments(ARG "ON_BACKENDS" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE batchmax_flags ${ARG_LINK} GTest::gtest GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_definitions(${name} PRIVATE BATCHMAX_SOURCE_DIR="${BATCHMAX_TEST_ROOT}")
  if(BATCHMAX_CUDA AND ARG_ON_BACKENDS)
    add_test(NAME ${name} COMMAND ${name} --gtest_filter=-*/cuda* WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    add_test(NAME ${name}_cuda COMMAND ${name} --gtest_filter=*/cuda* WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    batchmax_limit(${name}_cuda ${ARG_TIMEOUT})
    set_tests_properties(${name}_cuda PROPERTIES LABELS "${ARG_LABELS};gpu"
      SKIP_REGULAR_EXPRESSION "no device: " RESOURCE_LOCK gpu)
    add_dependencies(batchmax_cuda ${name})
  else()
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  endif()
  batchmax_limit(${name} ${ARG_TIMEOUT})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}")
endfunction()

# batchmax_python_test(NAME SOURCES test_a.py ... [TIMEOUT seconds] [LABELS ...]): pytest, run by the Python that
# BATCHMAX_TEST_PYTHON names. BATCHMAX_BIN tells it where the programs are, BATCHMAX_SLOWNESS how slow they are.
function(batchmax_python_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LABELS" ${ARGN})
  if(NOT BATCHMAX_TEST_PYTHON)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  list(TRANSFORM ARG_SOURCES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  add_test(NAME ${name} COMMAND ${BATCHMAX_TEST_PYTHON} -m pytest -q -p no:cacheprovider ${ARG_SOURCES}
           WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  batchmax_limit(${name} ${ARG_TIMEOUT})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}"
    ENVIRONMENT "BATCHMAX_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};PYTHONDONTWRITEBYTECODE=1;BATCHMAX_SLOWNESS=${BATCHMAX_SLOWNESS}")
endfunction()

# batchmax_mpi_test(NAME RANKS 1 2 ... SOURCES ... [LINK ...] [TIMEOUT seconds] [GPU]): a GoogleTest binary with a main()
# of its own, run by mpirun once for each number of ranks. GPU: needs a device, label `gpu`, and is reported as skipped
# where it prints "no device".
function(batchmax_mpi_test name)
  cmake_parse_arguments(ARG "GPU" "TIMEOUT" "RANKS;SOURCES;LINK" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE batchmax_flags ${ARG_LINK} GTest::gtest GTest::gmock)
  batchmax_keep_modules(${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_definitions(${name} PRIVATE BATCHMAX_SOURCE_DIR="${BATCHMAX_TEST_ROOT}")
  foreach(ranks ${ARG_RANKS})
    add_test(NAME ${name}_${ranks} COMMAND ${PROJECT_SOURCE_DIR}/scripts/mpirun ${ranks} $<TARGET_FILE:${name}>
             WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    batchmax_limit(${name}_${ranks} ${ARG_TIMEOUT})
    set_tests_properties(${name}_${ranks} PROPERTIES PROCESSORS 2)
    if(ARG_GPU)
      set_tests_properties(${name}_${ranks} PROPERTIES LABELS gpu SKIP_REGULAR_EXPRESSION "no device: " RESOURCE_LOCK gpu)
    endif()
  endforeach()
  if(ARG_GPU)
    add_dependencies(batchmax_cuda ${name})
  endif()
endfunction()
