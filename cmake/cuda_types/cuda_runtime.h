// All that nccl.h needs of CUDA's headers. LibTorch's wheels have the real ones, but not the header
// crt/host_config.h, which those include.
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct CUstream_st* cudaStream_t;
