"""Subnormal numbers are taken for zero in training, which changes no parameter."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vae_lab.fitting
from vae_lab import compose, train
from vae_lab.training.checkpoint_io import read_checkpoint

TINY = torch.finfo(torch.float32).tiny


def trained(folder: Path, data: Path) -> dict[str, Any]:
    words = ["dataset=arrays", f"dataset.path={data}", "dataset.binarization=none", "batch_size=10", "latent_dim=2"]
    words += [
        "encoder.hidden=[8]",
        "decoder.hidden=[8]",
        "trainer.max_steps=2500",
        "trainer.check_val_every_n_epoch=100",
    ]
    train(compose(*words, "evaluation.nll_samples=1", "evaluation.figures=false", f"runs_dir={folder}"), progress=False)
    (checkpoint,) = folder.glob("solo/*/checkpoints/last.ckpt")
    return read_checkpoint(checkpoint)


def subnormals(checkpoint: dict[str, Any]) -> int:
    moments = [state["exp_avg"] for state in checkpoint["optimizer_states"][0]["state"].values()]
    return sum(int(((m != 0) & (m.abs() < TINY)).sum()) for m in moments)


def test_they_are_there_and_change_no_parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pixels are on in one of 10,000 examples each, so that Adam's mean of their gradient halves for a thousand
    updates; at the end of the run it is either there, below 1e-38, or it is zero."""
    x = (np.random.default_rng(0).random((12_000, 20)) < 0.3).astype(bool)
    x[:, :10] = False
    x[np.arange(10) * 1000, np.arange(10)] = True
    np.savez(tmp_path / "x.npz", x=x)
    flushed = trained(tmp_path / "flushed", tmp_path / "x.npz")
    monkeypatch.setattr(vae_lab.fitting, "lightning_fit", vae_lab.fitting.lightning_fit.__wrapped__)
    kept = trained(tmp_path / "kept", tmp_path / "x.npz")
    assert subnormals(kept) > 0
    assert subnormals(flushed) == 0
    assert flushed["state_dict"].keys() == kept["state_dict"].keys()
    for name, value in flushed["state_dict"].items():
        assert torch.equal(value, kept["state_dict"][name]), name
