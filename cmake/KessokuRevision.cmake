# KESSOKU_REVISION: the commit as `git describe` names it. CMake runs again after each commit, which
# costs a second; only the file that holds the name is compiled again, and the program linked.
# A bundle has no commits; scripts/from_bundle.sh gives the name.
if(NOT DEFINED KESSOKU_REVISION)
  set(KESSOKU_REVISION unknown)
endif()
find_package(Git QUIET)
if(Git_FOUND AND EXISTS ${CMAKE_SOURCE_DIR}/.git)
  execute_process(
    COMMAND ${GIT_EXECUTABLE} describe --always --tags
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    OUTPUT_VARIABLE _described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(_described)
    set(KESSOKU_REVISION ${_described})
  endif()
  # The log of HEAD changes with every commit, checkout and rebase.
  execute_process(
    COMMAND ${GIT_EXECUTABLE} rev-parse --git-path logs/HEAD
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    OUTPUT_VARIABLE _log OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  cmake_path(ABSOLUTE_PATH _log BASE_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_property(DIRECTORY ${CMAKE_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${_log})
endif()
