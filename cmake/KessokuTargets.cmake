# kessoku_library(<folder> SOURCES … PUBLIC … PRIVATE …): the library of one folder, as kessoku::<folder>.
# All libraries share one precompiled header, built with the target kessoku_precompiled.
add_library(kessoku_precompiled OBJECT ${CMAKE_SOURCE_DIR}/cmake/precompiled.cpp)
target_link_libraries(kessoku_precompiled PRIVATE torch::cpu fmt::fmt Threads::Threads)
target_compile_options(kessoku_precompiled PRIVATE -fpch-preprocess)
target_precompile_headers(kessoku_precompiled PRIVATE ${CMAKE_SOURCE_DIR}/cmake/precompiled.h)

function(kessoku_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(kessoku_${folder} STATIC ${ARG_SOURCES})
  add_library(kessoku::${folder} ALIAS kessoku_${folder})
  target_include_directories(kessoku_${folder} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(kessoku_${folder} PUBLIC torch::cpu fmt::fmt Threads::Threads ${ARG_PUBLIC}
                        PRIVATE kessoku_warnings ${ARG_PRIVATE})
  target_compile_options(kessoku_${folder} PRIVATE -fpch-preprocess)
  target_precompile_headers(kessoku_${folder} REUSE_FROM kessoku_precompiled)
endfunction()
