"""The lab's own parts on made data: its training of them, and a bare PyTorch loop over the same model, objective, loader,
noise and optimiser."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from vae_lab.build import build, build_model, build_objective
from vae_lab.data.dataset import Spec
from vae_lab.data.loader import Batches
from vae_lab.distributions import stream_seed
from vae_lab.models import VAE
from vae_lab.objectives import Objective
from vae_lab.training.ledger import Ledger
from vae_lab.training.module import Training

BLOCK = 50  # steps a turn; the first is a warm-up
EXAMPLES = 10_000
Device = torch.device | str


IMAGES = (1, 28, 28)


def parts(
    settings: dict[str, Any], shape: tuple[int, ...] = IMAGES, examples: int = EXAMPLES, device: Device = "cpu"
) -> tuple[VAE, Objective, Batches]:
    """A model, its objective and a loader of made data, which is on the device."""
    torch.manual_seed(0)
    spec = Spec(shape, "binary", {"train": examples, "val": 100, "test": 100})
    x = torch.randint(0, 256, (examples, *shape), dtype=torch.uint8)
    how: dict[str, Any] = {"levels": 255, "seed": 0, "shuffle": True, "redraw": True, "device": device}
    loader = Batches(x, None, batch_size=settings["batch_size"], **how)
    return build_model(settings, spec), build_objective(settings, spec), loader


def training_of(model: VAE, objective: Objective, settings: dict[str, Any], folder: Path) -> Training:
    """The lab's own training of them, without validations."""
    return Training(
        model,
        objective,
        optimizer=lambda params: build(settings["optimizer"], params=params),
        scheduler=lambda optimizer: None,
        meter=lambda: None,  # type: ignore[arg-type, return-value]
        seed=0,
        ledger=Ledger(folder / "ledger"),
        compiled=settings["compile"],
    )


def bare_loop(
    settings: dict[str, Any], shape: tuple[int, ...] = IMAGES, examples: int = EXAMPLES, device: Device = "cpu"
) -> Iterator[None]:
    """The loop that a person would write who has read everything about speed, a step at a time."""
    model, objective, loader = parts(settings, shape, examples, device)
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    generator, done = torch.Generator(device), 0
    while True:
        for batch in loader:
            noise = model.noise(
                len(batch.x), objective.samples, generator.manual_seed(stream_seed(0, "posterior", done))
            )
            loss = objective(model.terms(batch, noise), objective.coefficients(done))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1
            yield


class InTurn(pl.Callback):
    """Times the training that it is called by, `BLOCK` updates at a time, and as many steps of a bare loop between two
    such blocks: a slow second of the machine meets both."""

    def __init__(self, bare: Iterator[None]) -> None:
        self.bare, self.seconds = bare, {"bare": 0.0, "lab": 0.0}
        self.started = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if pl_module.updates % BLOCK:
            return
        now = time.perf_counter()
        warm = pl_module.updates > BLOCK
        if warm:
            self.seconds["lab"] += now - self.started
        for _step in range(BLOCK):
            next(self.bare)
        self.started = time.perf_counter()
        if warm:
            self.seconds["bare"] += self.started - now
