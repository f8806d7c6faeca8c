"""The laws of posteriors and of what is done to their parameters."""

import pytest
from law_options import every, node_of

from vae_lab.testing import check_posterior


@every("posterior")
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_a_posterior_keeps_its_laws(name: str, latent_dim: int) -> None:
    check_posterior(node_of("posterior", name), latent_dim)
