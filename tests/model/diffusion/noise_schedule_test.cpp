#include "model/diffusion/noise_schedule.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "tests/model/python_oracle.h"

namespace kessoku::model {
namespace {

using kessoku::testing::largest_difference;
using kessoku::testing::read_json;
using kessoku::testing::run_oracle;
using kessoku::testing::TemporaryFolder;
using kessoku::testing::tensor_of;
using nlohmann::json;

TEST(NoiseSchedule, EqualsDiffusersDdpmScheduler) {
  TemporaryFolder folder;
  run_oracle("diffusion/schedule_oracle.py", {"noise", folder.path() / "oracle.json"});
  const json results = read_json(folder.path() / "oracle.json");
  EXPECT_GE(results.size(), 20u);
  for (const json& theirs : results) {
    SCOPED_TRACE(theirs["config"].dump());
    const NoiseSchedule schedule(
        NoiseScheduleConfig::from_json(theirs["config"], "scheduler_config.json"));
    const at::Tensor latents = tensor_of(theirs["latents"]);
    const at::Tensor noise = tensor_of(theirs["noise"]);
    const at::Tensor timesteps = tensor_of(theirs["timesteps"]).to(at::kLong);
    EXPECT_LE(largest_difference(schedule.alphas_cumprod(), tensor_of(theirs["alphas_cumprod"])),
              1e-6);
    EXPECT_LE(largest_difference(schedule.add_noise(latents, noise, timesteps),
                                 tensor_of(theirs["noisy"])),
              1e-6);
    EXPECT_LE(
        largest_difference(schedule.target(latents, noise, timesteps), tensor_of(theirs["target"])),
        1e-6);
    EXPECT_LE(largest_difference(schedule.min_snr_weights(timesteps, theirs["gamma"].get<double>()),
                                 tensor_of(theirs["weights"])),
              1e-5);
  }
}

TEST(NoiseSchedule, EndsInPureNoiseWithZeroTerminalSnr) {
  NoiseScheduleConfig config;
  config.use_zero_terminal_snr();
  const at::Tensor last = at::tensor({int64_t{999}});
  const at::Tensor latents = at::tensor({5.0f}), noise = at::tensor({0.25f});
  for (const char* prediction : {"epsilon", "v_prediction"}) {
    config.prediction_type = prediction;
    const NoiseSchedule schedule(config);
    EXPECT_EQ(schedule.add_noise(latents, noise, last).item<float>(), 0.25f);
    EXPECT_TRUE(schedule.min_snr_weights(last, 5).isfinite().item<bool>());
  }
  config.prediction_type = "epsilon";
  EXPECT_EQ(NoiseSchedule(config).min_snr_weights(last, 5).item<float>(), 1);
}

TEST(NoiseScheduleConfig, SurvivesJson) {
  NoiseScheduleConfig config{.num_train_timesteps = 500, .prediction_type = "v_prediction"};
  config.timestep_spacing = "linspace";
  config.steps_offset = 0;
  const json written = config.to_json();
  const auto again = NoiseScheduleConfig::from_json(written, "scheduler_config.json");
  EXPECT_EQ(again.to_json(), written);
  EXPECT_EQ(again.num_train_timesteps, 500);
  EXPECT_EQ(again.prediction_type, "v_prediction");
  EXPECT_EQ(again.timestep_spacing, "linspace");
  EXPECT_EQ(again.steps_offset, 0);
}

TEST(NoiseScheduleConfig, WritesBackWhatItDoesNotRead) {
  const json file = json::parse(R"({"_class_name": "DPMSolverMultistepScheduler",
      "_diffusers_version": "0.20.0", "beta_schedule": "scaled_linear", "solver_order": 3,
      "use_karras_sigmas": true, "someone's key": [1, null]})");
  json written = NoiseScheduleConfig::from_json(file, "scheduler_config.json").to_json();
  for (const auto& [key, value] : file.items()) {
    if (key == "_diffusers_version") continue;
    EXPECT_EQ(written[key], value) << key;
  }
  EXPECT_FALSE(written.contains("timestep_spacing"));
  EXPECT_FALSE(written.contains("set_alpha_to_one"));
}

TEST(NoiseScheduleConfig, NamesASchedulerThatKnowsZeroTerminalSnr) {
  NoiseScheduleConfig config;
  EXPECT_EQ(config.to_json()["_class_name"], "PNDMScheduler");
  config.use_zero_terminal_snr();
  const json written = config.to_json();
  EXPECT_EQ(written["_class_name"], "DDIMScheduler");
  EXPECT_EQ(written["rescale_betas_zero_snr"], true);
  EXPECT_EQ(written["timestep_spacing"], "trailing");
}

TEST(NoiseScheduleConfig, RefusesWhatItCannotDo) {
  const auto message = [](const char* text) -> std::string {
    try {
      NoiseScheduleConfig::from_json(json::parse(text), "scheduler_config.json");
    } catch (const DataError& error) {
      return error.what();
    }
    return "(no DataError)";
  };
  for (const auto& [text, key] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"([])", ""},
           {R"({"num_train_timesteps": 0})", "\"num_train_timesteps\""},
           {R"({"num_train_timesteps": 1e300})", "\"num_train_timesteps\""},
           {R"({"num_train_timesteps": "many"})", "\"num_train_timesteps\""},
           {R"({"num_train_timesteps": 1, "rescale_betas_zero_snr": true})",
            "\"rescale_betas_zero_snr\""},
           {R"({"beta_start": -1})", "\"beta_start\""},
           {R"({"beta_end": 1})", "\"beta_start\""},
           {R"({"beta_schedule": "sigmoid"})", "\"beta_schedule\": \"sigmoid\""},
           {R"({"prediction_type": "sample"})", "\"prediction_type\": \"sample\""},
           {R"({"timestep_spacing": "odd"})", "\"timestep_spacing\": \"odd\""},
           {R"({"steps_offset": -1})", "\"steps_offset\""},
           {R"({"steps_offset": 1001})", "\"steps_offset\""},
           {R"({"set_alpha_to_one": 1})", "\"set_alpha_to_one\""},
           {R"({"thresholding": true})", "\"thresholding\""},
           {R"({"use_flow_sigmas": true})", "\"use_flow_sigmas\""},
           {R"({"trained_betas": [0.1]})", "\"trained_betas\""}}) {
    EXPECT_THAT(message(text), ::testing::StartsWith("scheduler_config.json: ")) << text;
    EXPECT_THAT(message(text), ::testing::HasSubstr(key)) << text;
  }
}

}  // namespace
}  // namespace kessoku::model
