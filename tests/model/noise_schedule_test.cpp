#include "model/noise_schedule.h"

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
  json configs = json::array();
  for (const char* prediction : {"epsilon", "v_prediction"}) {
    configs.push_back(NoiseScheduleConfig{.prediction_type = prediction}.to_json());
    configs.push_back(NoiseScheduleConfig{.beta_start = 1e-4,
                                          .beta_end = 0.02,
                                          .beta_schedule = "linear",
                                          .prediction_type = prediction}
                          .to_json());
  }
  const auto config_path = folder.path() / "configs.json";
  write_file_atomically(config_path, configs.dump());
  run_oracle("schedule_oracle.py", {"noise", config_path, folder.path() / "oracle.json"});

  const json results = read_json(folder.path() / "oracle.json");
  for (size_t i = 0; i < configs.size(); ++i) {
    SCOPED_TRACE(configs[i].dump());
    const json& theirs = results[i];
    const NoiseSchedule schedule(NoiseScheduleConfig::from_json(configs[i], "configs.json"));
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
  }
}

TEST(NoiseScheduleConfig, SurvivesJson) {
  const NoiseScheduleConfig config{.num_train_timesteps = 500, .prediction_type = "v_prediction"};
  const auto again = NoiseScheduleConfig::from_json(config.to_json(), "scheduler_config.json");
  EXPECT_EQ(again.to_json(), config.to_json());
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
  EXPECT_EQ(message(R"({"beta_schedule": "squaredcos_cap_v2"})"),
            "scheduler_config.json: beta_schedule = \"squaredcos_cap_v2\" is not supported; use "
            "\"scaled_linear\" or "
            "\"linear\"");
  for (const char* text :
       {R"([])", R"({"num_train_timesteps": 0})", R"({"num_train_timesteps": 1e300})",
        R"({"num_train_timesteps": "many"})", R"({"beta_start": -1})", R"({"beta_end": 1})",
        R"({"prediction_type": "sample"})", R"({"trained_betas": [0.1]})",
        R"({"rescale_betas_zero_snr": true})"}) {
    EXPECT_THAT(message(text), ::testing::StartsWith("scheduler_config.json: ")) << text;
  }
}

}  // namespace
}  // namespace kessoku::model
