"""Clusters of this machine, started when a test asks for one."""

from collections.abc import Iterator

import pytest
from launchers import stands


@pytest.fixture(scope="session")
def ray() -> Iterator[dict[str, str]]:
    """A Ray cluster of two nodes."""
    if reason := stands.why_no_ray():
        pytest.skip(reason)
    with stands.ray_cluster() as variables:
        yield variables


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """A SLURM cluster of this host."""
    if reason := stands.why_no_slurm():
        pytest.skip(reason)
    with stands.slurm_cluster() as variables:
        yield variables
