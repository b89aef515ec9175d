# Language level, warnings and ccache for all targets of the project.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# Without NDEBUG: assertions stay on in what is released (docs/development.md, "Build types").
set(CMAKE_CXX_FLAGS_RELEASE "-O2")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g")
# The same everywhere, programs too, or the shared precompiled header does not fit.
add_compile_options(-pthread -fPIC)

set(KESSOKU_SANITIZE "" CACHE STRING "Sanitizers of all targets, as -fsanitize= takes them")
if(KESSOKU_SANITIZE)
  # vptr would need type information that LibTorch's libraries do not export.
  add_compile_options(-fsanitize=${KESSOKU_SANITIZE} -fno-sanitize=vptr -fno-sanitize-recover=all
                      -fno-omit-frame-pointer -O1 -g1)
  add_link_options(-fsanitize=${KESSOKU_SANITIZE})
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # ccache accepts a precompiled header only with these sloppiness settings; see
  # docs/development.md. Paths relative to the project let several checkouts share one cache.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} ${CCACHE_PROGRAM})
endif()

# Warnings are errors for the compiler that CI has, Debian 12's: later ones warn of more, and a user's
# build must not fail of that.
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  set(_werror -Werror)
endif()

add_library(kessoku_warnings INTERFACE)
# Missing initializers are members with defaults; g++ 12 cries wolf on string concatenation (its bugs 105329, 105651).
target_compile_options(kessoku_warnings INTERFACE -Wall -Wextra ${_werror} -Wno-unused-parameter
                       -Wno-missing-field-initializers -Wno-restrict -Wno-stringop-overflow)
if(KESSOKU_SANITIZE)
  # With sanitizers g++ 12 takes parts of std::regex for uninitialized (its bug 105562).
  target_compile_options(kessoku_warnings INTERFACE -Wno-maybe-uninitialized)
  if(KESSOKU_SANITIZE STREQUAL thread AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    # LibTorch's headers have fences, which the thread sanitizer does not see.
    target_compile_options(kessoku_warnings INTERFACE -Wno-tsan)
  endif()
endif()
