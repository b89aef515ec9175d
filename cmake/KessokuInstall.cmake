# What `cmake --install` writes and CPack packs; docs/install.md describes the tree. It runs from any
# place: bin/kessoku is a script that finds lib/kessoku/, where the program lies beside LibTorch.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)  # tests need not be built

get_property(_programs DIRECTORY ${CMAKE_SOURCE_DIR}/launcher PROPERTY BUILDSYSTEM_TARGETS)
list(FILTER _programs INCLUDE REGEX "^kessoku")
foreach(_program IN LISTS _programs)
  get_target_property(_type ${_program} TYPE)
  if(_type STREQUAL EXECUTABLE)
    set_target_properties(${_program} PROPERTIES
                          INSTALL_RPATH "$ORIGIN/torch/lib;$ORIGIN/torch/../nvidia/nccl/lib")
    install(TARGETS ${_program} DESTINATION lib/kessoku)
  endif()
endforeach()
install(PROGRAMS launcher/installed_kessoku.sh DESTINATION bin RENAME kessoku)

set(_share share/kessoku)
install(DIRECTORY configs DESTINATION ${_share})
install(FILES scripts/requirements-libtorch.txt scripts/requirements-libtorch-cuda12.txt scripts/slurm/train.sbatch
        DESTINATION ${_share})
# CLIP's tokenizer, where scripts/setup.sh has made it.
install(DIRECTORY models/clip-tokenizer DESTINATION ${_share}/models OPTIONAL)
install(FILES LICENSE NOTICE README.md DESTINATION share/doc/kessoku)
install(DIRECTORY docs DESTINATION share/doc/kessoku)

set(CPACK_GENERATOR TGZ DEB)
set(CPACK_PACKAGE_VENDOR "The Kessoku authors")
set(CPACK_PACKAGE_CONTACT "The Kessoku authors <kessoku@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Trainer for Stable Diffusion 1.x on many GPUs or none")
set(CPACK_PACKAGE_FILE_NAME
    ${PROJECT_NAME}-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
# LibTorch is no Debian package: it is found as lib/kessoku/torch or by LIBTORCH_ROOT.
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libgomp1, openmpi-bin")
cmake_path(GET LibTorch_CPU PARENT_PATH _torch_libraries)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${_torch_libraries})
if(NCCL_LIBRARY)
  cmake_path(GET NCCL_LIBRARY PARENT_PATH _nccl_libraries)
  list(APPEND CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${_nccl_libraries})
endif()
include(CPack)
