"""Modules whose `forward` returns a distribution: q(z|x), p(x|z), p(z), and the VAE that they make."""

from vae_lab.models.terms import Batch, Terms
from vae_lab.models.vae import VAE, Inference

__all__ = ["VAE", "Batch", "Inference", "Terms"]
