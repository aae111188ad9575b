# The agent libraries: freestanding, built apart from everything else (no sanitizer, no C library), checked after
# linking, and embedded into the stint binary. See src/agent/.
set(AGENT_COMPILE -O2 -std=gnu++23 -fPIC -ffreestanding -fno-builtin -fno-exceptions -fno-rtti -fno-stack-protector
  -fno-threadsafe-statics -fno-tree-loop-distribute-patterns -fvisibility=hidden -fno-sanitize=all -fno-lto
  -fasynchronous-unwind-tables -mgeneral-regs-only -U_FORTIFY_SOURCE -Wall -Wextra -Werror=return-type
  -fno-strict-aliasing)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  list(REMOVE_ITEM AGENT_COMPILE -fno-tree-loop-distribute-patterns)
endif()

function(add_agent_library name)
  add_library(${name} SHARED ${ARGN})
  set_target_properties(${name} PROPERTIES
    COMPILE_OPTIONS "$<$<COMPILE_LANGUAGE:CXX>:${AGENT_COMPILE}>"
    LINK_OPTIONS "-nostdlib;-fno-sanitize=all;-Wl,-z,initfirst;-Wl,-z,now;-Wl,-z,noexecstack;-Wl,-z,noseparate-code;-Wl,--hash-style=gnu;-Wl,--build-id=sha1;-Wl,--no-as-needed"
    CXX_STANDARD_LIBRARIES "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/agent)
  target_include_directories(${name} PRIVATE src)
  add_custom_command(TARGET ${name} POST_BUILD
    COMMAND ${CMAKE_COMMAND} -DLIBRARY=$<TARGET_FILE:${name}> -DREADELF=${CMAKE_READELF}
      -P ${CMAKE_SOURCE_DIR}/cmake/check_freestanding.cmake)
endfunction()

add_agent_library(stint-preload src/agent/preload.cc src/agent/open_calls.cc src/agent/exec_calls.cc
  src/agent/environment.cc src/agent/ledger.cc src/agent/symbols.cc src/agent/syscall_x86_64.S src/abi/runner_x86_64.S)
target_link_options(stint-preload PRIVATE -Wl,-init,stint_initialise)
add_agent_library(stint-audit src/agent/audit.cc src/agent/symbols.cc)

set(AGENT_FOREIGN ${CMAKE_BINARY_DIR}/agent/foreign.so)
add_custom_command(OUTPUT ${AGENT_FOREIGN}
  COMMAND ${CMAKE_C_COMPILER} -m32 -shared -nostdlib -Wl,--build-id=sha1 -o ${AGENT_FOREIGN}
    ${CMAKE_SOURCE_DIR}/src/agent/foreign_i386.S
  DEPENDS src/agent/foreign_i386.S VERBATIM)
add_custom_target(stint-foreign DEPENDS ${AGENT_FOREIGN})

set(STINT_AGENT_EMBED ${CMAKE_SOURCE_DIR}/src/agent/embedded.cc ${CMAKE_SOURCE_DIR}/src/agent/embedded_x86_64.S)
set_source_files_properties(src/agent/embedded_x86_64.S PROPERTIES
  COMPILE_DEFINITIONS "STINT_PRELOAD=\"$<TARGET_FILE:stint-preload>\";STINT_AUDIT=\"$<TARGET_FILE:stint-audit>\";STINT_FOREIGN=\"${AGENT_FOREIGN}\""
  OBJECT_DEPENDS "${CMAKE_BINARY_DIR}/agent/libstint-preload.so;${CMAKE_BINARY_DIR}/agent/libstint-audit.so;${AGENT_FOREIGN}")

# Programs that the agent's tests run: ordinary ones, of the kinds that reach the C library in different ways.
set(AGENT_PROGRAMS ${CMAKE_BINARY_DIR}/agent/test)
function(add_agent_program name)
  set_target_properties(${name} PROPERTIES COMPILE_OPTIONS "-O1;-fno-sanitize=all" LINK_OPTIONS "-fno-sanitize=all"
    RUNTIME_OUTPUT_DIRECTORY ${AGENT_PROGRAMS} LIBRARY_OUTPUT_DIRECTORY ${AGENT_PROGRAMS})
  add_dependencies(agent-test-programs ${name})
endfunction()

add_custom_target(agent-test-programs)
add_executable(agent_probe test/agent/probe.cc)
target_link_libraries(agent_probe PRIVATE Threads::Threads dl)
add_executable(agent_opener test/agent/opener.c)
add_executable(agent_opener_now test/agent/opener.c)
add_executable(agent_opener_no_plt test/agent/opener.c)
add_executable(agent_opener_fixed test/agent/opener.c)
add_executable(agent_opener_static test/agent/opener.c)
add_library(agent_early_library SHARED test/agent/early_library.c)
add_executable(agent_early test/agent/early.c)
target_link_libraries(agent_early PRIVATE agent_early_library)
add_library(agent_static_tls_library SHARED test/agent/static_tls_library.c)
target_compile_options(agent_static_tls_library PRIVATE -ftls-model=initial-exec)
add_executable(agent_static_tls test/agent/static_tls.c)
target_link_libraries(agent_static_tls PRIVATE agent_static_tls_library)
add_library(agent_plugin MODULE test/agent/plugin.c)
foreach(program agent_probe agent_opener agent_opener_now agent_opener_no_plt agent_opener_fixed agent_opener_static
    agent_early_library agent_early agent_static_tls_library agent_static_tls agent_plugin)
  add_agent_program(${program})
endforeach()
target_link_options(agent_opener_now PRIVATE -Wl,-z,now)
target_compile_options(agent_opener_no_plt PRIVATE -fno-plt)
target_compile_options(agent_opener_fixed PRIVATE -fno-pie)
target_link_options(agent_opener_fixed PRIVATE -no-pie)
target_compile_options(agent_opener_static PRIVATE -fPIE)
target_link_options(agent_opener_static PRIVATE -static-pie)

# Kinds that not every machine can build or run: their tests say so when the program is missing.
find_program(MUSL_GCC musl-gcc)
if(MUSL_GCC)
  add_custom_command(OUTPUT ${AGENT_PROGRAMS}/agent_opener_musl
    COMMAND ${MUSL_GCC} -O1 -o ${AGENT_PROGRAMS}/agent_opener_musl ${CMAKE_SOURCE_DIR}/test/agent/opener.c
    DEPENDS test/agent/opener.c VERBATIM)
  add_custom_target(agent-opener-musl DEPENDS ${AGENT_PROGRAMS}/agent_opener_musl)
  add_dependencies(agent-test-programs agent-opener-musl)
endif()
find_file(LIBC_32 NAMES libc.so.6 PATHS /usr/lib32 /lib32 /usr/lib/i386-linux-gnu /lib/i386-linux-gnu NO_DEFAULT_PATH)
if(LIBC_32)
  add_custom_command(OUTPUT ${AGENT_PROGRAMS}/agent_foreign32
    COMMAND ${CMAKE_C_COMPILER} -m32 -fno-pic -no-pie -nostartfiles -nostdlib -o ${AGENT_PROGRAMS}/agent_foreign32
      ${CMAKE_SOURCE_DIR}/test/agent/foreign32.c ${LIBC_32} -Wl,-dynamic-linker,/lib/ld-linux.so.2
    DEPENDS test/agent/foreign32.c VERBATIM)
  add_custom_target(agent-foreign32 DEPENDS ${AGENT_PROGRAMS}/agent_foreign32)
  add_dependencies(agent-test-programs agent-foreign32)
endif()
cmake_language(DEFER CALL add_dependencies stint_tests agent-test-programs)
