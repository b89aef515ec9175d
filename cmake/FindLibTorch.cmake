# LibTorch as imported target torch::cpu, from (first found)
#   - LIBTORCH_ROOT or CMAKE_PREFIX_PATH: an unpacked LibTorch, or site-packages/torch of a wheel
#   - the project's virtual environment, .venv
# find_package(Torch) of the wheel wants nvcc and then finds an older NCCL, hence this module.
file(GLOB _venv_torch ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
find_path(LibTorch_INCLUDE_DIR ATen/ATen.h
          HINTS ${LIBTORCH_ROOT} ${_venv_torch} PATH_SUFFIXES include)
cmake_path(GET LibTorch_INCLUDE_DIR PARENT_PATH _root)
find_library(LibTorch_CPU torch_cpu HINTS ${_root}/lib NO_DEFAULT_PATH)
find_library(LibTorch_C10 c10 HINTS ${_root}/lib NO_DEFAULT_PATH)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  LibTorch REQUIRED_VARS LibTorch_CPU LibTorch_C10 LibTorch_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "run scripts/setup.sh, or give -DLIBTORCH_ROOT=DIR")

if(LibTorch_FOUND AND NOT TARGET torch::cpu)
  # The wheel also carries headers of other libraries (fmt …) that would hide Debian's: take LibTorch's own only.
  set(_include ${CMAKE_BINARY_DIR}/libtorch-include)
  file(MAKE_DIRECTORY ${_include})
  foreach(_dir ATen c10 caffe2 torch)
    file(CREATE_LINK ${LibTorch_INCLUDE_DIR}/${_dir} ${_include}/${_dir} SYMBOLIC)
  endforeach()
  add_library(torch::c10 SHARED IMPORTED)
  set_target_properties(torch::c10 PROPERTIES IMPORTED_LOCATION ${LibTorch_C10})
  add_library(torch::cpu SHARED IMPORTED)
  set_target_properties(torch::cpu PROPERTIES
    IMPORTED_LOCATION ${LibTorch_CPU}
    INTERFACE_INCLUDE_DIRECTORIES "${_include};${_include}/torch/csrc/api/include"
    # One small header an operator instead of all of them: halves the time of many files.
    INTERFACE_COMPILE_DEFINITIONS AT_PER_OPERATOR_HEADERS
    INTERFACE_LINK_LIBRARIES torch::c10)
  # A wheel keeps CUDA's runtime libraries, which libtorch_cpu.so names, in a sibling package.
  file(GLOB _nvidia_libs ${_root}/../nvidia/*/lib)
  foreach(_dir IN LISTS _nvidia_libs)
    target_link_options(torch::cpu INTERFACE -Wl,-rpath-link=${_dir})
  endforeach()
endif()
