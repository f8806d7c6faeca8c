"""The laws of parametrizations."""

from law_options import every, node_of

from vae_lab.testing import check_parametrization


@every("parametrization")
def test_a_parametrization_keeps_its_laws(name: str) -> None:
    check_parametrization(node_of("parametrization", name), latent_dim=3)
