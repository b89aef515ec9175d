"""What diffusers' schedulers compute, for noise_schedule_test.cpp and solver_test.cpp.

    schedule_oracle.py noise LIST_OF_SCHEDULER_CONFIGS.json OUT.json
    schedule_oracle.py solver SCHEDULER_CONFIG.json OUT.json
"""
import json
import sys

import torch
from diffusers import (DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler,
                       PNDMScheduler)

SOLVERS = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "dpmpp_2m": DPMSolverMultistepScheduler}
SHAPE = (2, 3, 2, 2)


def noise(config: dict) -> dict:
    schedule = DDPMScheduler.from_config(config)
    timesteps = torch.tensor([0, 1, 17, 250, 500, 998, 999, 640])
    shape = (len(timesteps), *SHAPE[1:])
    latents, eps = torch.randn(shape), torch.randn(shape)
    velocity = schedule.get_velocity(latents, eps, timesteps)
    return {"alphas_cumprod": schedule.alphas_cumprod, "timesteps": timesteps, "latents": latents, "noise": eps,
            "noisy": schedule.add_noise(latents, eps, timesteps),
            "target": velocity if schedule.config.prediction_type == "v_prediction" else eps}


def solve(name: str, steps: int, config: dict) -> dict:
    """Latents and the UNet's outputs are random: each step's formula must agree, whatever the model says."""
    pipeline_scheduler = PNDMScheduler.from_config(config)  # as in a pipeline of an SD 1.5 folder
    solver = SOLVERS[name].from_config(pipeline_scheduler.config)
    solver.set_timesteps(steps)
    unit = torch.randn(SHAPE)
    latents = unit * solver.init_noise_sigma
    records = []
    for timestep in solver.timesteps:
        scaled = solver.scale_model_input(latents, timestep)
        output = torch.randn(SHAPE)
        latents = solver.step(output, timestep, latents).prev_sample
        records.append({"timestep": timestep, "scaled": scaled, "output": output, "latents": latents})
    return {"unit": unit, "steps": records}


def plain(value):
    if isinstance(value, torch.Tensor):
        return {"shape": list(value.shape), "values": value.double().flatten().tolist()}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value]


if __name__ == "__main__":
    torch.manual_seed(7)
    what, config_path, out = sys.argv[1:]
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    if what == "noise":
        result = [noise(c) for c in config]
    else:
        result = {f"{name} {steps} {prediction}": solve(name, steps, config | {"prediction_type": prediction})
                  for name in SOLVERS for steps in (1, 2, 7, 20, 28, 50, 333)
                  for prediction in ("epsilon", "v_prediction")}
    with open(out, "w", encoding="utf-8") as file:
        json.dump(plain(result), file)
