#include "runtime/host/device.h"

#include <ATen/Context.h>
#include <ATen/ops/cat.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <cstdlib>

#include "base/error.h"
#include "runtime/host/gpu_driver.h"

namespace kessoku::runtime {

namespace {

/// How many GPUs there are, after LibTorch's CUDA library was loaded, which stays. It takes half a
/// second and some hundred megabytes, so programs that compute on CPUs do without.
int load_cuda() {
  // Read by cuBLAS when it begins; without it, its sums may differ from run to run.
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  // Read by LibTorch's allocator when it begins. Buckets' shapes follow each other in any order:
  // memory of fixed blocks would fall to pieces.
  if (std::getenv("PYTORCH_CUDA_ALLOC_CONF") == nullptr)
    ::setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True", /*overwrite=*/0);
  if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw UsageError(fmt::format(
        "device \"cuda\": LibTorch's CUDA library cannot be loaded ({}): run scripts/setup.sh on a "
        "machine with a GPU, which installs it, or choose \"cpu\"",
        ::dlerror()));
  }
  return c10::impl::hasDeviceGuardImpl(at::kCUDA)
             ? c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount()
             : 0;
}

/// GPUs that the driver shows and LibTorch cannot use are never left aside without a word.
[[noreturn]] void refuse(const GpuDriver& driver, const std::string& problem) {
  throw UsageError(
      fmt::format("this host has {} GPU{} and a driver for CUDA {}, but LibTorch (CUDA {}) {}, or "
                  "choose device "
                  "\"cpu\"",
                  driver.gpus, driver.gpus == 1 ? "" : "s", cuda_version_text(driver.version),
                  cuda_version_text(loaded_cuda_version()), problem));
}

/// A run that is repeated or resumed must have the same bits: exact kernels, chosen without trials,
/// and f32 that is f32. With a mere warning attention's backward would add in any order.
void compute_exactly() {
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);
  context.setDeterministicCuDNN(true);
  context.setBenchmarkCuDNN(false);
  context.setAllowTF32CuDNN(false);
}

}  // namespace

at::Device choose_device(std::string wanted, int local_rank, int local_size) {
  const char* usual = std::getenv("KESSOKU_DEVICE");
  if (wanted == "auto" && usual != nullptr) wanted = usual;
  if (wanted != "auto" && wanted != "cuda" && wanted != "cpu")
    throw UsageError(fmt::format("KESSOKU_DEVICE is \"{}\": choose auto, cuda or cpu", wanted));
  if (wanted == "cpu") return at::kCPU;
  const std::optional<GpuDriver> driver = ask_gpu_driver();
  if (driver && !driver->problem.empty()) {
    throw UsageError(driver->problem +
                     ": see dmesg and nvidia-smi, and restart the host after an update of the "
                     "driver, or choose device \"cpu\"");
  }
  const bool shown = driver && driver->gpus > 0;
  if (wanted == "auto" && !shown) return at::kCPU;
  if (shown && driver->version / 1000 < loaded_cuda_version() / 1000) {
    refuse(*driver,
           "needs a newer one: update the driver, set up again with scripts/setup.sh --cuda12");
  }
  const int gpus = load_cuda();
  if (shown && gpus == 0) refuse(*driver, "finds no GPU: see dmesg and nvidia-smi");
  if (gpus == 0) {
    throw UsageError(
        "device \"cuda\": the driver shows no GPU (nvidia-smi lists what there is; "
        "CUDA_VISIBLE_DEVICES may hide some); \"cpu\" and \"auto\" do without");
  }
  if (gpus > 1 && gpus < local_size) {
    throw UsageError(fmt::format("{} ranks on a host with {} GPUs: start at most one rank a GPU",
                                 local_size, gpus));
  }
  compute_exactly();
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(gpus == 1 ? 0 : local_rank));
  c10::impl::VirtualGuardImpl(device.type()).setDevice(device);  // or all ranks begin on the first
  return device;
}

void allow_inexact_kernels() {
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(false, /*warn_only=*/false);
  context.setDeterministicCuDNN(false);
  context.setBenchmarkCuDNN(true);
}

void allow_tf32(at::Device device) {
  if (device.is_cpu())
    throw UsageError("train.precision = \"tf32\" needs a GPU: on a CPU choose \"fp32\"");
  at::globalContext().setAllowTF32CuBLAS(true);
  at::globalContext().setAllowTF32CuDNN(true);
}

void move_model(const model::StableDiffusion& model, at::Device device) {
  if (device.is_cpu()) return;
  for (const model::Parameters& parameters :
       {model.unet.parameters(), model.text_encoder.parameters(), model.vae.parameters()}) {
    model::move_parameters(parameters, device);
  }
}

data::Batch on_device(data::Batch batch, at::Device device) {
  for (at::Tensor* tensor : {&batch.images, &batch.masks, &batch.latents, &batch.noise,
                             &batch.timesteps, &batch.loss_scale, &batch.input_ids}) {
    if (tensor->defined()) *tensor = tensor->to(device, /*non_blocking=*/true);
  }
  return batch;
}

std::vector<at::Tensor> on_host(const std::vector<at::Tensor>& tensors) {
  std::vector<int64_t> sizes;
  sizes.reserve(tensors.size());
  for (const at::Tensor& tensor : tensors) sizes.push_back(tensor.numel());
  return at::cat(tensors).cpu().split_with_sizes(sizes);
}

void synchronize(at::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.synchronizeStream(guard.getStream(device));
}

}  // namespace kessoku::runtime
