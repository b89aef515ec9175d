#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace kessoku::model {

/// scheduler/scheduler_config.json. The defaults are Stable Diffusion 1.5's.
struct NoiseScheduleConfig {
  int64_t num_train_timesteps = 1000;
  double beta_start = 0.00085;
  double beta_end = 0.012;
  /// "scaled_linear" | "linear" | "squaredcos_cap_v2"
  std::string beta_schedule = "scaled_linear";
  std::string prediction_type = "epsilon";  ///< "epsilon" | "v_prediction"
  /// rescale_betas_zero_snr: the last timestep is pure noise (Lin et al., 2024).
  bool zero_terminal_snr = false;

  // What solvers read besides.
  std::string timestep_spacing;  ///< "leading" | "trailing" | "linspace"; empty = the solver's own
  int64_t steps_offset = 1;
  std::optional<bool> set_alpha_to_one = false;  ///< nothing = the solver's own

  /// The file's text: what is not read here is written back as it was.
  std::string original;

  /// Makes the last timestep pure noise, and solvers begin there.
  void use_zero_terminal_snr();

  /// Throws DataError, naming `where` and the key, on what is damaged or would need other
  /// mathematics.
  static NoiseScheduleConfig from_json(const nlohmann::json& json, const std::string& where);
  nlohmann::json to_json() const;
};

}  // namespace kessoku::model
