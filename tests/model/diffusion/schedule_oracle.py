"""What diffusers' schedulers compute, for noise_schedule_test.cpp and solver_test.cpp.

    schedule_oracle.py noise OUT.json
    schedule_oracle.py solver OUT.json
"""
import inspect
import json
import sys
import warnings

import numpy as np
import torch
from diffusers import (DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, PNDMScheduler, UniPCMultistepScheduler)
from diffusers.training_utils import compute_snr
from diffusers.utils import logging

SHAPE = (2, 1, 1, 2)
SD15 = {"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "beta_start": 0.00085, "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True,
        "steps_offset": 1, "trained_betas": None, "clip_sample": False}
LINEAR = SD15 | {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
CONFIGS = [
    SD15,
    SD15 | {"timestep_spacing": "leading", "set_alpha_to_one": True, "steps_offset": 0},
    SD15 | {"timestep_spacing": "trailing"},
    SD15 | {"timestep_spacing": "linspace"},
    SD15 | {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    LINEAR,
    SD15 | {"beta_schedule": "squaredcos_cap_v2"},
    LINEAR | {"num_train_timesteps": 640, "timestep_spacing": "leading"},
]
SOLVERS = {"ddim": (DDIMScheduler, {}), "ddim 0.7": (DDIMScheduler, {}), "ddim 1": (DDIMScheduler, {}),
           "pndm": (PNDMScheduler, {}),
           "euler": (EulerDiscreteScheduler, {}), "euler_karras": (EulerDiscreteScheduler, {"use_karras_sigmas": True}),
           "euler_a": (EulerAncestralDiscreteScheduler, {}),
           "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
           "dpmpp_2m_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
           "dpmpp_2m_sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
           "dpmpp_2m_sde_karras": (DPMSolverMultistepScheduler,
                                   {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}),
           "unipc": (UniPCMultistepScheduler, {})}
# (steps, first): image to image begins late.
WALKS = [(1, 0), (2, 0), (3, 0), (4, 0), (7, 0), (15, 0), (20, 0), (28, 0), (50, 0), (333, 0), (20, 8), (25, 24)]
FEW_WALKS = [(1, 0), (4, 0), (15, 0), (20, 5)]


def noise(config: dict, gamma: float) -> dict:
    schedule = DDPMScheduler.from_config(config)
    velocity = schedule.config.prediction_type == "v_prediction"
    last = schedule.config.num_train_timesteps - 1
    timesteps = torch.tensor([0, 1, 17, 250, 500, last - 1, last, 639])
    shape = (len(timesteps), 4, 2, 2)
    latents, eps = torch.randn(shape), torch.randn(shape)
    # As diffusers' training examples weight.
    snr = compute_snr(schedule, timesteps)
    weights = torch.stack([snr, gamma * torch.ones_like(timesteps)], dim=1).min(dim=1)[0] / (snr + 1 if velocity else snr)
    return {"config": config, "gamma": gamma, "alphas_cumprod": schedule.alphas_cumprod, "timesteps": timesteps,
            "latents": latents, "noise": eps, "noisy": schedule.add_noise(latents, eps, timesteps),
            "target": schedule.get_velocity(latents, eps, timesteps) if velocity else eps,
            "weights": weights}


def make(name: str, config: dict):
    scheduler, options = SOLVERS[name]
    pipeline_scheduler = {"DDIMScheduler": DDIMScheduler, "PNDMScheduler": PNDMScheduler}[config["_class_name"]]
    return scheduler.from_config(pipeline_scheduler.from_config(config).config, **options)


def walk(name: str, config: dict, steps: int, first: int) -> dict:
    """Latents and the UNet's outputs are random: each step's formula must agree, whatever the model says."""
    solver = make(name, config)
    solver.set_timesteps(steps)
    timesteps = solver.timesteps[first:]
    if hasattr(solver, "set_begin_index"):
        solver.set_begin_index(first)
    clean, unit = torch.randn(SHAPE), torch.randn(SHAPE)
    latents = solver.add_noise(clean, unit, timesteps[:1]) if first else unit * solver.init_noise_sigma
    start = latents
    takes = inspect.signature(solver.step).parameters
    records = []
    for i, timestep in enumerate(timesteps):
        scaled = solver.scale_model_input(latents, timestep)
        output = torch.randn(SHAPE)
        # Those that do not take noise draw it.
        seed = 1000 * steps + i
        fresh = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
        options = {}
        if name.startswith("ddim"):
            options["eta"] = float((name.split() + ["0"])[1])
        if "variance_noise" in takes:
            options["variance_noise"] = fresh
        elif "generator" in takes:
            options["generator"] = torch.Generator().manual_seed(seed)
        latents = solver.step(output, timestep, latents, **options).prev_sample
        # What inpainting blends in: the clean latents as they stand before the next step.
        blend = solver.add_noise(clean, unit, timesteps[i + 1:i + 2]) if i + 1 < len(timesteps) else clean
        records.append([timestep.double().item(), scaled, output, fresh, latents, blend])
    return {"solver": name, "steps": steps, "first": first, "clean": clean, "unit": unit, "start": start, "records": records}


def is_finite(walk: dict) -> bool:
    """Of few steps from (nearly) pure noise diffusers' rounding makes roots of numbers just below zero."""
    return all(value.isfinite().all() for record in walk["records"] for value in record[1:])


def walks() -> list:
    return [{"config": config, "walks": [made for name in SOLVERS
                                         if name != "pndm" or not config.get("rescale_betas_zero_snr")
                                         for steps, first in (WALKS if index == 0 else FEW_WALKS)
                                         for made in [walk(name, config, steps, first)] if is_finite(made)]}
            for index, base in enumerate(CONFIGS) for prediction in ("epsilon", "v_prediction")
            # Of noise that was predicted from pure noise nothing can be made.
            if prediction == "v_prediction" or not base.get("rescale_betas_zero_snr")
            for config in [base | {"prediction_type": prediction}]]


def timesteps() -> list:
    """Of every number of steps up to 60, and some beyond."""
    records = []
    for config in CONFIGS[:5]:
        for name in SOLVERS:
            if " " in name or name == "pndm" and config.get("rescale_betas_zero_snr"):
                continue
            for steps in [1, 2, 5, 23, 100] if "karras" in name else [*range(1, 60), 99, 100, 250, 500, 640, 998, 999]:
                # For some numbers diffusers' rounding makes one timestep too many, the last of them -1.
                if config.get("timestep_spacing") == "trailing" and len(np.arange(1000, 0, -1000 / steps)) != steps:
                    continue
                solver = make(name, config)
                solver.set_timesteps(steps)
                records.append({"config": config, "solver": name, "steps": steps,
                                "timesteps": solver.timesteps.double().tolist()})
    return records


def plain(value):
    if isinstance(value, torch.Tensor):
        return {"shape": list(value.shape), "values": value.double().flatten().tolist()}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    torch.manual_seed(7)
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    what, out = sys.argv[1:]
    if what == "noise":
        result = [noise(config | {"prediction_type": prediction}, gamma) for config in CONFIGS
                  for prediction, gamma in (("epsilon", 5), ("v_prediction", 5), ("v_prediction", 1))
                  # Their weight of a noise prediction at SNR 0 is 0 / 0.
                  if prediction == "v_prediction" or not config.get("rescale_betas_zero_snr")]
    else:
        result = {"walks": walks(), "timesteps": timesteps()}
    with open(out, "w", encoding="utf-8") as file:
        json.dump(plain(result), file)
