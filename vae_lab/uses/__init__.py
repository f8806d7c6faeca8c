"""What a trained VAE is for: each use is one class and one file of the group `use`, one command on a finished run, and a
measure of how well it does."""

from vae_lab.uses.use import Answer, Use, use

__all__ = ["Answer", "Use", "use"]
