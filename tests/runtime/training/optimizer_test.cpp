#include "runtime/training/optimizer.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/sin.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "runtime/training/update_rule.h"
#include "tests/paths.h"

namespace kessoku::runtime {
namespace {

RunConfig::Optimizer settings(const std::string& name = "adamw") {
  RunConfig::Optimizer config;
  config.name = name;
  config.lr = 0.01;
  config.text_encoder_lr = 0.003;
  config.weight_decay = 0.1;
  config.no_decay = {"*.bias"};
  return config;
}

model::Parameters parameters() {
  return {{"unet.w", at::arange(2000, at::kFloat).sin()},
          {"unet.bias", at::arange(705, at::kFloat).sin()},
          {"text_encoder.w", at::arange(3333, at::kFloat).sin()}};
}

/// Steps an optimizer over each of `parts` parts with the gradient sin(step · i); the values after
/// `steps` steps.
at::Tensor train(const RunConfig::Optimizer& config, int parts, int steps) {
  model::Parameters own = parameters();
  const Partition partition(flat_numel(flat_layout(own)), 2048, parts);
  FlatParameters flat(own, partition.numel());
  std::vector<Optimizer> optimizers;
  for (int part = 0; part < parts; ++part)
    optimizers.emplace_back(flat, config, partition.owned_by(part));
  for (int step = 1; step <= steps; ++step) {
    for (const model::Parameter& gradient : flat.views_of(flat.gradients())) {
      at::Tensor(gradient.tensor)
          .copy_(at::arange(gradient.tensor.numel(), at::kFloat).mul_(step).sin());
    }
    for (Optimizer& optimizer : optimizers) {
      optimizer.begin_step();
      for (size_t i = 0; i < optimizer.owned().size(); ++i) optimizer.step(i, 1.0);
    }
  }
  std::vector<at::Tensor> values;
  for (const model::Parameter& parameter : own) values.push_back(parameter.tensor.detach());
  return at::cat(values);
}

/// The same by an optimizer for PyTorch, e.g. torch.optim.AdamW.
std::vector<float> train_in_python(const std::string& module, const std::string& name, int steps) {
  const std::string script = fmt::format(R"(
import torch
from {} import {} as Optimizer
p = [torch.nn.Parameter(torch.arange(n, dtype=torch.float32).sin()) for n in (2000, 705, 3333)]
o = Optimizer([dict(params=[p[0]], lr=0.01, weight_decay=0.1), dict(params=[p[1]], lr=0.01, weight_decay=0.0),
                       dict(params=[p[2]], lr=0.003, weight_decay=0.1)])
for s in range(1, {} + 1):
    for x in p: x.grad = (torch.arange(x.numel(), dtype=torch.float32) * s).sin()
    o.step()
print(*torch.cat([x.detach() for x in p]).tolist())
)",
                                         module, name, steps);
  FILE* python = ::popen(fmt::format("{} -c '{}'", tests::python(), script).c_str(), "r");
  std::vector<float> values;
  float value = 0;
  while (std::fscanf(python, "%f", &value) == 1) values.push_back(value);
  EXPECT_EQ(::pclose(python), 0);
  return values;
}

void expect_equal(const at::Tensor& ours, const std::vector<float>& theirs) {
  ASSERT_EQ(theirs.size(), 6038u);
  for (int64_t i = 0; i < ours.numel(); ++i) {
    EXPECT_NEAR(ours[i].item<float>(), theirs[static_cast<size_t>(i)], 2e-6) << "element " << i;
  }
}

TEST(Optimizer, AdamwEqualsTorchOptimAdamwWithGroupsAndDecayExceptions) {
  expect_equal(train(settings(), 1, 20), train_in_python("torch.optim", "AdamW", 20));
}

TEST(Optimizer, LionEqualsLionPytorchWithGroupsAndDecayExceptions) {
  RunConfig::Optimizer config = settings("lion");
  config.betas = {0.9, 0.99};
  expect_equal(train(config, 1, 20), train_in_python("lion_pytorch", "Lion", 20));
}

TEST(Optimizer, PartsStepAsTheWholeDoes) {
  for (const std::string& name : update_rule_names()) {
    const at::Tensor whole = train(settings(name), 1, 20);
    for (int parts : {2, 3, 5}) {
      EXPECT_TRUE(train(settings(name), parts, 20).equal(whole))
          << name << ", " << parts << " parts";
    }
  }
}

/// Applies `work` to elements [begin, end) at a time; `cuts` tell where.
template <typename Work>
void in_pieces(const std::vector<int64_t>& cuts, const Work& work) {
  for (size_t i = 0; i + 1 < cuts.size(); ++i) work(cuts[i], cuts[i + 1] - cuts[i]);
}

TEST(Optimizer, ElementWiseKernelsRoundAlikeWhateverTheirRange) {
  constexpr int64_t kNumel = 100'003;
  const std::vector<int64_t> whole{0, kNumel}, odd{0, 1, 4, 21, 1000, 1017, 33'334, 99'999, kNumel};
  const at::Tensor start = at::arange(kNumel, at::kFloat).sin();
  const at::Tensor gradients = at::arange(kNumel, at::kFloat).mul(0.7).cos();
  for (const char* name : {"adamw", "lion"}) {
    const std::unique_ptr<UpdateRule> rule = make_update_rule(settings(name));
    const auto stepped = [&](const std::vector<int64_t>& cuts) {
      at::Tensor weights = start.clone();
      std::vector<at::Tensor> moments(rule->moments().size());
      for (at::Tensor& moment : moments) moment = at::full({kNumel}, 0.01);
      in_pieces(cuts, [&](int64_t begin, int64_t numel) {
        std::vector<at::Tensor> own = moments;
        for (at::Tensor& moment : own) moment = moment.narrow(0, begin, numel);
        rule->apply(weights.narrow(0, begin, numel), gradients.narrow(0, begin, numel), own,
                    at::full({}, 3.0), 0.01, 0.1);
      });
      return weights;
    };
    EXPECT_TRUE(stepped(odd).equal(stepped(whole))) << name;
  }
  const auto averaged = [&](const std::vector<int64_t>& cuts) {
    at::Tensor values = start.clone(), rounded = at::full({kNumel}, 0, at::kBFloat16);
    in_pieces(cuts, [&](int64_t begin, int64_t numel) {
      at::Tensor part = values.narrow(0, begin, numel);
      part.lerp_(gradients.narrow(0, begin, numel), 1 - 0.9999);
      part.mul_(0.123456789);
      part.add_(gradients.narrow(0, begin, numel));
      rounded.narrow(0, begin, numel).copy_(part);
    });
    return std::pair(values, rounded);
  };
  EXPECT_TRUE(averaged(odd).first.equal(averaged(whole).first));
  EXPECT_TRUE(averaged(odd).second.equal(averaged(whole).second));
}

TEST(Optimizer, StepsBf16ParametersInAnFp32Copy) {
  for (const std::string& name : update_rule_names()) {
    SCOPED_TRACE(name);
    RunConfig::Optimizer config = settings(name);
    config.lr = 1e-5;  // far below what bf16 can add to 1
    config.weight_decay = 0;
    model::Parameters own{{"unet.w", at::full({16}, 1.0001)}};  // no bf16
    FlatParameters flat(own, 16);
    Optimizer optimizer(flat, config, {{0, 16}}, /*keep_copy=*/true);
    flat.round_to(at::kBFloat16);
    at::Tensor(flat.gradients()).fill_(1);
    for (int step = 0; step < 1000; ++step) {
      optimizer.begin_step();
      optimizer.step(0, 1.0);
    }
    EXPECT_NEAR(optimizer.own_weights()[0].item<float>(), 1.0001 - 1000 * 1e-5, 5e-5);
    EXPECT_TRUE(own[0].tensor.equal(optimizer.own_weights().to(at::kBFloat16)));
  }
}

}  // namespace
}  // namespace kessoku::runtime
