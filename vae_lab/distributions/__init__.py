"""Densities that torch lacks, registered KL divergences, and reproducible noise streams; pure torch."""

from vae_lab.distributions.autoregressive import Autoregressive
from vae_lab.distributions.gaussian import (
    Gaussian,
    SelfScaledGaussian,
    StandardGaussian,
    diagonal,
    per_dimension_kl,
    standard,
)
from vae_lab.distributions.stopping import stopped
from vae_lab.distributions.streams import stream, stream_seed
from vae_lab.distributions.tempering import tempered

__all__ = [
    "Autoregressive",
    "Gaussian",
    "SelfScaledGaussian",
    "StandardGaussian",
    "diagonal",
    "per_dimension_kl",
    "standard",
    "stopped",
    "stream",
    "stream_seed",
    "tempered",
]
