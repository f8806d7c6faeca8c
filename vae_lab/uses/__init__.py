"""What a trained VAE is for: each use is one class, one command on a finished run, and a measure of how well it does."""

from vae_lab.uses.generation import Sample
from vae_lab.uses.interpolation import Interpolate
from vae_lab.uses.reconstruction import Reconstruct
from vae_lab.uses.representation import Probe
from vae_lab.uses.use import Answer, Use, use

__all__ = ["Answer", "Interpolate", "Probe", "Reconstruct", "Sample", "Use", "use"]
