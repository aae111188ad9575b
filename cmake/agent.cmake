# The agent libraries: freestanding, built apart from everything else (no sanitizer, no C library), checked after linking, and
# embedded into the stint binary. See src/agent/.
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
  COMPILE_DEFINITIONS "STINT_PRELOAD=$<TARGET_FILE:stint-preload>;STINT_AUDIT=$<TARGET_FILE:stint-audit>;STINT_FOREIGN=${AGENT_FOREIGN}"
  OBJECT_DEPENDS "${CMAKE_BINARY_DIR}/agent/libstint-preload.so;${CMAKE_BINARY_DIR}/agent/libstint-audit.so;${AGENT_FOREIGN}")
