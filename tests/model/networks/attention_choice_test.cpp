// Which of LibTorch's attention kernels a GPU takes for the shapes of Stable Diffusion. Its own
// CUDA library is asked, which believes in the GPU that this program describes: functions of an
// executable come before those of libraries. Nothing is computed.
#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/transformers/sdp_utils_cpp.h>
#include <dlfcn.h>
#include <driver_types.h>
#include <gtest/gtest.h>

#include <string>

namespace {

cudaDeviceProp gpu{};

}  // namespace

namespace at::cuda {
__attribute__((visibility("default"))) cudaDeviceProp* getCurrentDeviceProperties();
cudaDeviceProp* getCurrentDeviceProperties() { return &gpu; }
}  // namespace at::cuda

namespace c10::cuda {
__attribute__((visibility("default"))) c10::DeviceIndex device_count() noexcept;
c10::DeviceIndex device_count() noexcept { return 1; }
}  // namespace c10::cuda

namespace kessoku::model {
namespace {

using Check = bool (*)(const sdp::sdp_params&, bool);

/// Compute capabilities.
struct Gpu {
  const char* name;
  int major, minor;
};
constexpr Gpu kRtx2080{"RTX 2080", 7, 5}, kA100{"A100", 8, 0}, kRtx3090{"RTX 3090", 8, 6},
    kRtx4090{"RTX 4090", 8, 9}, kH100{"H100, H200", 9, 0};

struct Shape {
  const char* name;
  int64_t heads, queries, keys, width;  ///< of a head
  bool causal = false;
};
constexpr Shape kSelf40{"SD 1.5, 64 x 64", 8, 4096, 4096, 40},
    kCross40{"SD 1.5, 64 x 64, text", 8, 4096, 77, 40},
    kSelf80{"SD 1.5, 32 x 32", 8, 1024, 1024, 80}, kSelf160{"SD 1.5, 16 x 16", 8, 256, 256, 160},
    kSelf64{"SD 2, 64 x 64", 5, 4096, 4096, 64}, kText64{"text encoder", 12, 77, 77, 64, true},
    kVae{"VAE", 1, 4096, 4096, 512};

class AttentionChoice : public testing::Test {
 protected:
  void SetUp() override {
    void* library = ::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) GTEST_SKIP() << ::dlerror();
    for (const auto& [check, name] :
         {std::pair{&flash_, "_ZN3sdp23can_use_flash_attentionERKNS_10sdp_paramsEb"},
          std::pair{&efficient_, "_ZN3sdp31can_use_mem_efficient_attentionERKNS_10sdp_paramsEb"},
          std::pair{&cudnn_, "_ZN3sdp23can_use_cudnn_attentionERKNS_10sdp_paramsEb"}}) {
      *check = reinterpret_cast<Check>(::dlsym(library, name));
      ASSERT_NE(*check, nullptr) << name;
    }
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  }

  /// The first that can: cuDNN's where it is preferred, flash, memory-efficient, plain products.
  std::string choice(const Gpu& of, const Shape& shape, at::ScalarType dtype, bool trains = true) {
    gpu.major = of.major;
    gpu.minor = of.minor;
    const auto split = [&](int64_t tokens) {  // as multi_head_attention does
      c10::Storage storage(c10::Storage::use_byte_size_t(), 0,
                           c10::DataPtr(nullptr, c10::Device(c10::kCUDA, 0)), nullptr, false);
      at::Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
          std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CUDA),
          c10::scalarTypeToTypeMeta(dtype));
      const int64_t channels = shape.heads * shape.width;
      tensor.unsafeGetTensorImpl()->set_sizes_and_strides(
          std::vector<int64_t>{4, shape.heads, tokens, shape.width},
          std::vector<int64_t>{tokens * channels, shape.width, channels, 1});
      return tensor.requires_grad_(trains);
    };
    const sdp::sdp_params params{split(shape.queries),
                                 split(shape.keys),
                                 split(shape.keys),
                                 std::nullopt,
                                 0.0,
                                 shape.causal,
                                 false};
    if (of.major == 9 && cudnn_(params, false)) return "cuDNN";
    if (flash_(params, false)) return "flash";
    return efficient_(params, false) ? "efficient" : "plain";
  }

  Check flash_ = nullptr, efficient_ = nullptr, cudnn_ = nullptr;
};

TEST_F(AttentionChoice, IsFlashInHalfPrecisionForTheUNetAndTheTextEncoder) {
  for (const Gpu& of : {kA100, kRtx3090, kRtx4090, kH100}) {
    for (const Shape& shape : {kSelf40, kCross40, kSelf80, kSelf160, kSelf64, kText64}) {
      for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
        for (const bool trains : {false, true})
          EXPECT_EQ(choice(of, shape, dtype, trains), "flash") << of.name << ", " << shape.name;
      }
    }
  }
}

TEST_F(AttentionChoice, IsMemoryEfficientInF32AndForTheWideHeadOfTheVae) {
  for (const Gpu& of : {kA100, kRtx3090, kRtx4090, kH100}) {
    for (const Shape& shape : {kSelf40, kCross40, kSelf80, kSelf160, kSelf64, kText64, kVae})
      EXPECT_EQ(choice(of, shape, at::kFloat), "efficient") << of.name << ", " << shape.name;
    EXPECT_EQ(choice(of, kVae, at::kBFloat16), "efficient") << of.name;
  }
}

TEST_F(AttentionChoice, IsCudnnOnHopperOnlyIfItNeedNotBeDeterministic) {
  at::globalContext().setDeterministicAlgorithms(false, /*warn_only=*/false);
  EXPECT_EQ(choice(kH100, kSelf40, at::kBFloat16), "cuDNN");
  EXPECT_EQ(choice(kH100, kSelf80, at::kBFloat16), "cuDNN");
  EXPECT_EQ(choice(kH100, kSelf160, at::kBFloat16), "flash") << "cuDNN's backward stops at 128";
  EXPECT_EQ(choice(kRtx3090, kSelf40, at::kBFloat16), "flash");
}

TEST_F(AttentionChoice, HasNoFlashBeforeAmpere) {
  EXPECT_EQ(choice(kRtx2080, kSelf40, at::kHalf), "efficient");
  EXPECT_EQ(choice(kRtx2080, kSelf40, at::kFloat), "efficient");
  EXPECT_EQ(choice(kRtx2080, kSelf40, at::kBFloat16), "plain");
}

}  // namespace
}  // namespace kessoku::model
