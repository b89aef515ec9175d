#include "model/solver.h"

#include <ATen/TensorOperators.h>

#include <cmath>
#include <numeric>

#include "base/error.h"

namespace kessoku::model {

namespace {

using Reals = std::vector<double>;

/// The scale of signal and noise in latents: x = signal · x_0 + noise · ε.
struct Scales {
  double signal;
  double noise;
};

/// x_0 as the UNet's output tells it (Salimans and Ho, 2022, appendix D).
at::Tensor predict_clean(const at::Tensor& latents, const at::Tensor& output, Scales scales,
                         bool velocity) {
  if (velocity) return scales.signal * latents - scales.noise * output;
  return (latents - scales.noise * output) / scales.signal;
}

Reals alphas_cumprod(const NoiseSchedule& schedule) {
  const at::Tensor& alphas = schedule.alphas_cumprod();
  return {alphas.data_ptr<float>(), alphas.data_ptr<float>() + alphas.numel()};
}

/// √((1 − ᾱ) / ᾱ) at each timestep, interpolated between training timesteps, and a closing 0.
Reals sigmas_at(const Reals& timesteps, const NoiseSchedule& schedule) {
  const Reals alphas = alphas_cumprod(schedule);
  const auto sigma = [&](size_t t) { return std::sqrt((1 - alphas[t]) / alphas[t]); };
  Reals sigmas;
  for (const double t : timesteps) {
    const auto below = static_cast<size_t>(t);
    const size_t above = std::min(below + 1, alphas.size() - 1);
    sigmas.push_back(std::lerp(sigma(below), sigma(above), t - static_cast<double>(below)));
  }
  sigmas.push_back(0);
  return sigmas;
}

class Ddim : public Solver {
 public:
  Ddim(const NoiseSchedule& schedule, int64_t steps)
      : alphas_(alphas_cumprod(schedule)),
        velocity_(schedule.config().prediction_type == "v_prediction"),
        steps_(steps),
        stride_(schedule.config().num_train_timesteps / steps) {}

  int64_t steps() const override { return steps_; }
  double initial_scale() const override { return 1; }
  double timestep(int64_t i) const override { return static_cast<double>(whole_timestep(i)); }
  at::Tensor scale_input(const at::Tensor& latents, int64_t) const override { return latents; }

  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents) override {
    const Scales now = scales(whole_timestep(i));
    const Scales next = scales(whole_timestep(i) - stride_);
    const at::Tensor clean = predict_clean(latents, output, now, velocity_);
    const at::Tensor noise = (latents - now.signal * clean) / now.noise;
    return next.signal * clean + next.noise * noise;
  }

 private:
  int64_t whole_timestep(int64_t i) const { return (steps_ - 1 - i) * stride_ + 1; }
  /// Before the first timestep stands ᾱ of the first one (set_alpha_to_one false).
  Scales scales(int64_t timestep) const {
    const double alpha = alphas_[static_cast<size_t>(std::max<int64_t>(timestep, 0))];
    return {std::sqrt(alpha), std::sqrt(1 - alpha)};
  }

  Reals alphas_;
  bool velocity_;
  int64_t steps_;
  int64_t stride_;
};

class Euler : public Solver {
 public:
  Euler(const NoiseSchedule& schedule, int64_t steps)
      : velocity_(schedule.config().prediction_type == "v_prediction") {
    const auto last = static_cast<double>(schedule.config().num_train_timesteps - 1);
    for (int64_t i = steps - 1; i >= 0; --i) {
      // In f32, as diffusers' timesteps are.
      timesteps_.push_back(steps == 1 ? 0 : static_cast<float>(last * i / (steps - 1)));
    }
    sigmas_ = sigmas_at(timesteps_, schedule);
  }

  int64_t steps() const override { return static_cast<int64_t>(timesteps_.size()); }
  double initial_scale() const override { return sigmas_[0]; }
  double timestep(int64_t i) const override { return timesteps_[static_cast<size_t>(i)]; }

  at::Tensor scale_input(const at::Tensor& latents, int64_t i) const override {
    return latents / std::hypot(sigmas_[static_cast<size_t>(i)], 1);
  }

  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents) override {
    // Here x = x_0 + σ ε: the variance grows. The scaled input is the usual mixture, of signal
    // 1/√(σ²+1).
    const double sigma = sigmas_[static_cast<size_t>(i)];
    const double signal = 1 / std::hypot(sigma, 1);
    const at::Tensor clean =
        predict_clean(latents * signal, output, {signal, sigma * signal}, velocity_);
    const at::Tensor slope = (latents - clean) / sigma;
    return latents + slope * (sigmas_[static_cast<size_t>(i) + 1] - sigma);
  }

 private:
  bool velocity_;
  Reals timesteps_;
  Reals sigmas_;
};

class DpmSolverMultistep : public Solver {
 public:
  DpmSolverMultistep(const NoiseSchedule& schedule, int64_t steps)
      : velocity_(schedule.config().prediction_type == "v_prediction") {
    const auto last = static_cast<double>(schedule.config().num_train_timesteps - 1);
    for (int64_t i = steps; i >= 1; --i) {
      timesteps_.push_back(std::nearbyint(last * i / steps));  // ties to even, as numpy rounds
    }
    sigmas_ = sigmas_at(timesteps_, schedule);
  }

  int64_t steps() const override { return static_cast<int64_t>(timesteps_.size()); }
  double initial_scale() const override { return 1; }
  double timestep(int64_t i) const override { return timesteps_[static_cast<size_t>(i)]; }
  at::Tensor scale_input(const at::Tensor& latents, int64_t) const override { return latents; }

  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents) override {
    const Scales now = scales(i);
    const Scales next = scales(i + 1);
    const at::Tensor clean = predict_clean(latents, output, now, velocity_);
    const at::Tensor before = std::exchange(before_, clean);
    if (i + 1 == steps()) return clean;  // the closing sigma is 0
    // h = λ_next − λ_now with λ = log(signal / noise) = −log σ
    const double h = log_sigma(i) - log_sigma(i + 1);
    at::Tensor direction = clean;
    if (i > 0) {
      const double ratio = (log_sigma(i - 1) - log_sigma(i)) / h;
      direction = clean + (clean - before) * (0.5 / ratio);
    }
    return latents * (next.noise / now.noise) - direction * (next.signal * std::expm1(-h));
  }

 private:
  Scales scales(int64_t i) const {
    const double sigma = sigmas_[static_cast<size_t>(i)];
    const double signal = 1 / std::hypot(sigma, 1);
    return {signal, sigma * signal};
  }
  double log_sigma(int64_t i) const { return std::log(sigmas_[static_cast<size_t>(i)]); }

  bool velocity_;
  Reals timesteps_;
  Reals sigmas_;
  at::Tensor before_;  ///< x_0 as predicted in the step before
};

template <typename T>
std::unique_ptr<Solver> make(const NoiseSchedule& schedule, int64_t steps) {
  return std::make_unique<T>(schedule, steps);
}

struct Entry {
  const char* name;
  std::unique_ptr<Solver> (*make)(const NoiseSchedule&, int64_t);
};

constexpr Entry kSolvers[] = {
    {"ddim", make<Ddim>}, {"euler", make<Euler>}, {"dpmpp_2m", make<DpmSolverMultistep>}};

}  // namespace

std::unique_ptr<Solver> make_solver(const std::string& name, const NoiseSchedule& schedule,
                                    int64_t steps) {
  const int64_t most = schedule.config().num_train_timesteps - 1;
  if (steps < 1 || steps > most) {
    throw UsageError(
        fmt::format("{} steps: the number of sampling steps must be 1 to {}", steps, most));
  }
  for (const Entry& entry : kSolvers) {
    if (name == entry.name) return entry.make(schedule, steps);
  }
  const std::string near = nearest_word(name, solver_names());
  throw UsageError(fmt::format("unknown solver \"{}\"; {}", name,
                               near.empty()
                                   ? fmt::format("use one of {}", fmt::join(solver_names(), ", "))
                                   : fmt::format("did you mean \"{}\"?", near)));
}

std::vector<std::string> solver_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kSolvers) names.emplace_back(entry.name);
  return names;
}

}  // namespace kessoku::model
