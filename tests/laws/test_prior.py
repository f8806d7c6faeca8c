"""The laws of priors."""

import pytest
from law_options import every, node_of

from vae_lab.testing import check_prior


@every("prior")
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_a_prior_keeps_its_laws(name: str, latent_dim: int) -> None:
    check_prior(node_of("prior", name), latent_dim)
