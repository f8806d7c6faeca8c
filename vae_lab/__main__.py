"""`python -m vae_lab` is `vae-lab`."""

from vae_lab.cli import main

main()
