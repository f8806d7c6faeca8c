"""Modules whose `forward` returns a distribution: q(z|x), p(x|z), p(z), and the VAE that they make."""

from vae_lab.models.terms import Batch, Terms
from vae_lab.models.vae import VAE, Autoencoding, Inference

__all__ = ["VAE", "Autoencoding", "Batch", "Inference", "Terms"]
