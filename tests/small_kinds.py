"""A tiny run on each kind of data."""

from collections.abc import Callable
from pathlib import Path

from small_runs import TINY

SMALL = ["latent_dim=2", "batch_size=20", "trainer.max_steps=3", "evaluation.nll_samples=2", "evaluation.figures=false"]
MLP = ["encoder=mlp", "encoder.hidden=[8]", "decoder.hidden=[8]", *SMALL]
ARRAYS = ["dataset=arrays", "dataset.path=x.npy", "likelihood=gaussian"]

KINDS: dict[str, tuple[list[str], tuple[int, ...]]] = {
    "binary": (["dataset=digits", "decoder=mlp", *MLP], (1, 8, 8)),
    "autoregressive": (["dataset=digits", "decoder=pixelcnn", "encoder=mlp", "encoder.hidden=[8]", *SMALL], (1, 8, 8)),
    "grey": ([*ARRAYS, "decoder=mlp", *MLP], (1, 9, 7)),
    "colour": ([*ARRAYS, "decoder=mlp", *MLP], (3, 6, 5)),
    "vectors": (TINY, (10,)),
    "two pixels": ([*ARRAYS, "decoder=mlp", *MLP], (1, 2, 2)),
}

Make = Callable[[str], Path]
