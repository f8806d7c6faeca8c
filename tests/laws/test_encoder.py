"""The laws of encoders."""

from law_options import every, node_of

from vae_lab.testing import check_encoder


@every("encoder")
def test_an_encoder_keeps_its_laws(name: str) -> None:
    check_encoder(node_of("encoder", name))
