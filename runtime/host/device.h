#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "data/loading/loader.h"
#include "model/stable_diffusion/stable_diffusion.h"

namespace kessoku::runtime {

/// Where the networks of this rank compute. `wanted` is "cpu", "cuda", or "auto": what the
/// environment variable KESSOKU_DEVICE says, else a GPU where the driver shows one. Of a host's
/// GPUs a rank takes the one of its number there, `local_rank` of `local_size`; one that is shown a
/// single GPU (Slurm's --gpus-per-task=1) takes that. LibTorch's CUDA library is loaded only if it
/// is needed, and set to give the same bits in every run. Throws UsageError where "cuda" cannot be
/// had, where the driver shows a GPU that LibTorch cannot use, also for "auto", or where ranks
/// outnumber the GPUs.
at::Device choose_device(std::string wanted, int local_rank = 0, int local_size = 1);

/// Lets GPUs take faster kernels whose results differ from run to run (train.deterministic).
void allow_inexact_kernels();

/// Lets a GPU round f32 factors of products and convolutions to TF32 (train.precision). Throws
/// UsageError for a CPU.
void allow_tf32(at::Device device);

/// Moves all weights.
void move_model(const model::StableDiffusion& model, at::Device device);

/// The batch's tensors on `device`. `batch` must stay until the device has got this far.
data::Batch on_device(data::Batch batch, at::Device device);

/// f64 tensors of one dimension on the host, for which it waits for a GPU once.
std::vector<at::Tensor> on_host(const std::vector<at::Tensor>& tensors);

/// Waits until `device` has done what it was asked for; nothing is to be waited for on a CPU.
void synchronize(at::Device device);

}  // namespace kessoku::runtime
