# Toolchain file: builds for another system, or for an older libc, with zig's clang.
#   cmake -S . -B build/zig -DCMAKE_TOOLCHAIN_FILE=native/zig.cmake -DLF_TARGET=x86_64-linux-gnu.2.28 -DLF_ZIG=/path/to/zig
# LF_TARGET is zig's name of a target: x86_64-linux-gnu.2.28 (the libc's version at the end), aarch64-linux-gnu.2.28,
# x86_64-linux-musl, aarch64-macos, x86_64-windows-gnu. LF_ZIG is the zig executable: by default, the one in PATH.
if(NOT LF_TARGET MATCHES "^([a-z0-9_]+)-(linux|macos|windows)")
  message(FATAL_ERROR "LF_TARGET is '${LF_TARGET}', expected ARCHITECTURE-(linux|macos|windows)[-LIBC], "
                      "e.g. -DLF_TARGET=x86_64-linux-gnu.2.28")
endif()
set(CMAKE_SYSTEM_PROCESSOR ${CMAKE_MATCH_1})
set(lf_system_linux Linux)
set(lf_system_macos Darwin)
set(lf_system_windows Windows)
set(CMAKE_SYSTEM_NAME ${lf_system_${CMAKE_MATCH_2}})
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LF_TARGET LF_ZIG)  # CMake's probes read this file too

if(NOT LF_ZIG)
  find_program(LF_ZIG zig)
endif()
if(NOT EXISTS "${LF_ZIG}")
  message(FATAL_ERROR "LF_ZIG is '${LF_ZIG}', expected the path of the zig executable (pip install ziglang has one)")
endif()
set(CMAKE_CXX_COMPILER ${LF_ZIG} c++ -target ${LF_TARGET})
set(CMAKE_CXX_FLAGS_INIT "-O2 -s")  # of all that CMake tries: with others, zig would build its C++ library once more
# zig has its archiver as a command of the same executable; CMake wants programs.
foreach(tool ar ranlib dlltool)
  string(TOUPPER CMAKE_${tool} variable)
  file(WRITE ${CMAKE_BINARY_DIR}/CMakeFiles/${tool} "#!/bin/sh\nexec '${LF_ZIG}' ${tool} \"$@\"\n")
  file(COPY ${CMAKE_BINARY_DIR}/CMakeFiles/${tool} DESTINATION ${CMAKE_BINARY_DIR}/CMakeFiles/zig
       FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
  set(${variable} ${CMAKE_BINARY_DIR}/CMakeFiles/zig/${tool} CACHE FILEPATH "" FORCE)
endforeach()
# zig deviceTransport its C++ library, with what that has for a debugger: ten times the code.
set(CMAKE_EXE_LINKER_FLAGS_INIT -s)
set(CMAKE_MODULE_LINKER_FLAGS_INIT -s)
if(CMAKE_SYSTEM_NAME STREQUAL "Darwin")
  # zig knows no bundles, only libraries, whose name would else be a path of this machine.
  string(APPEND CMAKE_MODULE_LINKER_FLAGS_INIT " -shared -Wl,-install_name,@rpath/lateforge.node")
endif()
