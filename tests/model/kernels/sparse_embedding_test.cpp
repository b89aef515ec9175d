#include "model/kernels/sparse_embedding.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

namespace kessoku::model {
namespace {

TEST(SparseEmbedding, AddsTheBitsOfADenseGradientOverBatches) {
  at::manual_seed(1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor values = at::randn({50, 24}).to(dtype);
    std::vector<at::Tensor> gradients;
    for (const bool sparse : {false, true}) {
      at::manual_seed(2);
      at::Tensor weight = values.clone().set_requires_grad(true);
      weight.mutable_grad() = at::zeros_like(values);
      const void* place = weight.grad().data_ptr();
      for (int batch = 0; batch < 3; ++batch) {
        const at::Tensor indices = at::randint(20, {4, 77}, at::kLong);  // each many times
        const at::Tensor weights = at::randn({4, 77, 24}).to(dtype);
        const at::Tensor out =
            sparse ? sparse_embedding(weight, indices) : at::embedding(weight, indices);
        (out * weights).sum().backward();
      }
      EXPECT_EQ(weight.grad().data_ptr(), place);
      gradients.push_back(weight.grad());
    }
    EXPECT_TRUE(gradients[0].equal(gradients[1]));
  }
}

}  // namespace
}  // namespace kessoku::model
