"""Tiny runs to be used."""

from pathlib import Path

import numpy as np
import pytest
from small_kinds import KINDS, Make
from small_runs import Lab


@pytest.fixture
def made(lab: Lab, in_tmp: Path) -> Make:
    def make(kind: str) -> Path:
        words, shape = KINDS[kind]
        np.save("x.npy", np.random.default_rng(0).random((60, *shape), dtype=np.float32))
        said = lab("train", *words)
        assert (said.code, said.err) == (0, ""), said
        (run,) = Path("runs/solo").iterdir()
        return run

    return make
