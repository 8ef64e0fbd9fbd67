"""Sampler nodes, with guiders, noise and schedules."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ..node_types import Conditioning, Guider, Latent, LoadedModel, Noise, Sigmas
from .node_base import Context, node
from .render import Order, render


@node("KSampler")
def ksampler(
    context: Context,
    *,
    model: LoadedModel,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: float = 1.0,
    **_: Any,
) -> tuple[Latent]:
    sigmas = Sigmas(steps, scheduler, denoise)
    guider = Guider(model, positive, negative, cfg)
    return (render(context, Order(guider, sampler_name, sigmas, seed), latent_image),)


@node("KSamplerAdvanced")
def ksampler_advanced(
    context: Context,
    *,
    model: LoadedModel,
    add_noise: str,
    noise_seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: int,
    end_at_step: int,
    return_with_leftover_noise: str,
    **_: Any,
) -> tuple[Latent]:
    leftover = return_with_leftover_noise == "enable" and end_at_step < steps
    sigmas = Sigmas(
        steps,
        scheduler,
        1 - min(start_at_step, steps) / steps if add_noise == "enable" else 1.0,
        min(start_at_step, steps),
        end_at_step,
    )
    guider = Guider(model, positive, negative, cfg)
    seed = noise_seed if add_noise == "enable" else None
    order = Order(guider, sampler_name, sigmas, seed, leftover=leftover)
    return (render(context, order, latent_image),)


@node("SamplerCustom")
def sampler_custom(
    context: Context,
    *,
    model: LoadedModel,
    add_noise: bool,
    noise_seed: int,
    cfg: float,
    positive: Conditioning,
    negative: Conditioning,
    sampler: str,
    sigmas: Sigmas,
    latent_image: Latent,
) -> tuple[Latent, Latent]:
    guider = Guider(model, positive, negative, cfg)
    order = Order(guider, sampler, sigmas, noise_seed if add_noise else None)
    done = render(context, order, latent_image)
    return done, done


@node("SamplerCustomAdvanced")
def sampler_custom_advanced(
    context: Context,
    *,
    noise: Noise,
    guider: Guider,
    sampler: str,
    sigmas: Sigmas,
    latent_image: Latent,
) -> tuple[Latent, Latent]:
    leftover = sigmas.last is not None and sigmas.end < sigmas.steps
    order = Order(guider, sampler, sigmas, noise.seed, leftover=leftover)
    done = render(context, order, latent_image)
    return done, done


# -- guiders and noise ---------------------------------------------------------------------


@node("BasicGuider")
def basic_guider(
    _context: Context, *, model: LoadedModel, conditioning: Conditioning
) -> tuple[Guider]:
    return (Guider(model, conditioning, Conditioning(), 1.0),)


@node("CFGGuider")
def cfg_guider(
    _context: Context,
    *,
    model: LoadedModel,
    positive: Conditioning,
    negative: Conditioning,
    cfg: float,
) -> tuple[Guider]:
    return (Guider(model, positive, negative, cfg),)


@node("DualCFGGuider")
def dual_guider(
    _context: Context,
    *,
    model: LoadedModel,
    cond1: Conditioning,
    cond2: Conditioning,
    negative: Conditioning,
    cfg_conds: float,
    **_: Any,
) -> tuple[Guider]:
    both = replace(cond1, text=f"{cond1.text}, {cond2.text}".strip(", "))
    return (Guider(model, both, negative, cfg_conds),)


@node("LTXVDualCFGGuider")
def ltxv_guider(
    _context: Context,
    *,
    model: LoadedModel,
    positive: Conditioning,
    negative: Conditioning,
    video_cfg: float,
    **_: Any,
) -> tuple[Guider]:
    return (Guider(model, positive, negative, video_cfg),)


@node("RandomNoise")
def random_noise(_context: Context, *, noise_seed: int) -> tuple[Noise]:
    return (Noise(noise_seed),)


@node("DisableNoise")
def no_noise(_context: Context) -> tuple[Noise]:
    return (Noise(None),)


# -- samplers: the painter uses only their name ----------------------------------------------


@node("KSamplerSelect")
def select(_context: Context, *, sampler_name: str) -> tuple[str]:
    return (sampler_name,)


_SAMPLERS = {
    "SamplerEulerAncestral": "euler_ancestral",
    "SamplerEulerAncestralCFGPP": "euler_ancestral_cfg_pp",
    "SamplerLMS": "lms",
    "SamplerDPMPP_3M_SDE": "dpmpp_3m_sde",
    "SamplerDPMPP_2M_SDE": "dpmpp_2m_sde",
    "SamplerDPMPP_SDE": "dpmpp_sde",
    "SamplerDPMPP_2S_Ancestral": "dpmpp_2s_ancestral",
    "SamplerDPMAdaptative": "dpm_adaptive",
    "SamplerER_SDE": "er_sde",
    "SamplerSASolver": "sa_solver",
    "SamplerLCMUpscale": "lcm",
    "SamplerLCM": "lcm",
    "SamplerEulerCFGpp": "euler_cfg_pp",
}


def _named(name: str) -> Any:
    def run(_context: Context, **_: Any) -> tuple[str]:
        return (name,)

    return run


for _class_type, _name in _SAMPLERS.items():
    node(_class_type)(_named(_name))


# -- schedules -------------------------------------------------------------------------------


@node("BasicScheduler", "SDTurboScheduler")
def scheduler(
    _context: Context, *, steps: int, scheduler: str = "normal", denoise: float = 1.0, **_: Any
) -> tuple[Sigmas]:
    return (Sigmas(steps, scheduler, denoise),)


_SCHEDULERS = {
    "Flux2Scheduler": "simple",
    "LTXVScheduler": "simple",
    "KarrasScheduler": "karras",
    "ExponentialScheduler": "exponential",
    "PolyexponentialScheduler": "exponential",
    "LaplaceScheduler": "normal",
    "VPScheduler": "normal",
    "BetaSamplingScheduler": "beta",
    "AlignYourStepsScheduler": "karras",
    "GITSScheduler": "normal",
    "OptimalStepsScheduler": "simple",
}


def _scheduled(name: str) -> Any:
    def run(_context: Context, *, steps: int, denoise: float = 1.0, **_: Any) -> tuple[Sigmas]:
        return (Sigmas(steps, name, denoise),)

    return run


for _class_type, _name in _SCHEDULERS.items():
    node(_class_type)(_scheduled(_name))


@node("ManualSigmas")
def manual(_context: Context, *, sigmas: str) -> tuple[Sigmas]:
    """Parse ``"1, 0.5, 0"``: one step less than numbers; the first is the denoising strength."""
    numbers = [float(text) for text in re.findall(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", sigmas)]
    denoise = min(1.0, max(numbers, default=1.0))
    return (Sigmas(max(1, len(numbers) - 1), "simple", denoise),)


@node("SplitSigmas")
def split(_context: Context, *, sigmas: Sigmas, step: int) -> tuple[Sigmas, Sigmas]:
    at = min(sigmas.first + step, sigmas.end)
    return replace(sigmas, last=at), replace(sigmas, first=at)


@node("SplitSigmasDenoise")
def split_denoise(_context: Context, *, sigmas: Sigmas, denoise: float) -> tuple[Sigmas, Sigmas]:
    at = sigmas.end - round(sigmas.count * denoise)
    return replace(sigmas, last=at), replace(sigmas, first=at, denoise=denoise)


@node("FlipSigmas", "SetFirstSigma", "ExtendIntermediateSigmas")
def same_sigmas(_context: Context, *, sigmas: Sigmas, **_: Any) -> tuple[Sigmas]:
    return (sigmas,)
