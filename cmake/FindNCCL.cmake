# NCCL as imported target nccl::nccl, and the CUDA headers that its own needs, from (first found)
#   - NCCL_ROOT and CUDAToolkit_ROOT
#   - the wheels beside LibTorch's (site-packages/nvidia/*): the NCCL that LibTorch's CUDA library is made for
# Another NCCL of the system would be loaded beside that one, so it is not looked for.
cmake_path(GET LibTorch_INCLUDE_DIR PARENT_PATH _torch)
find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${NCCL_ROOT}/include ${_torch}/../nvidia/nccl/include NO_DEFAULT_PATH)
find_library(NCCL_LIBRARY NAMES libnccl.so.2 HINTS ${NCCL_ROOT}/lib ${_torch}/../nvidia/nccl/lib NO_DEFAULT_PATH)
file(GLOB _cuda ${_torch}/../nvidia/cu*/include)
find_path(NCCL_CUDA_INCLUDE_DIR cuda_runtime.h HINTS ${CUDAToolkit_ROOT}/include ${_cuda} NO_DEFAULT_PATH)
# Included by cuda_runtime.h, but shipped in a wheel of its own (nvidia-cuda-crt; of CUDA 12 nvidia-cuda-nvcc-cu12).
find_path(NCCL_CUDA_CRT_INCLUDE_DIR crt/host_config.h HINTS ${NCCL_CUDA_INCLUDE_DIR} ${_cuda} NO_DEFAULT_PATH)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  NCCL REQUIRED_VARS NCCL_LIBRARY NCCL_INCLUDE_DIR NCCL_CUDA_INCLUDE_DIR NCCL_CUDA_CRT_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "several GPUs need it: scripts/setup.sh installs it where there is one")

if(NCCL_FOUND AND NOT TARGET nccl::nccl)
  add_library(nccl::nccl SHARED IMPORTED)
  set_target_properties(nccl::nccl PROPERTIES
    IMPORTED_LOCATION ${NCCL_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES "${NCCL_INCLUDE_DIR};${NCCL_CUDA_INCLUDE_DIR};${NCCL_CUDA_CRT_INCLUDE_DIR}")
endif()
