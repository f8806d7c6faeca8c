"""What training through the lab costs over a bare PyTorch loop with the same objective, loader, noise and optimiser.

`python -m benchmarks.overhead` trains a 784-200-200-50 VAE on MNIST-shaped data on one thread, both in turn, in five
rounds, at batch 20 and 128; prints medians and writes `benchmarks/results/overhead.json`.
"""

import argparse
import json
import logging
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from vae_lab import compose
from vae_lab.build import build, build_model, build_objective
from vae_lab.config import resolve
from vae_lab.data.dataset import Spec
from vae_lab.data.loader import Batches
from vae_lab.distributions import stream_seed
from vae_lab.models import VAE
from vae_lab.objectives import Objective
from vae_lab.training.history import HistoryLogger
from vae_lab.training.ledger import Ledger
from vae_lab.training.module import Training

BLOCK = 50  # steps a turn; the first is a warm-up
SPEC = Spec((1, 28, 28), "binary", {"train": 10_000, "val": 100, "test": 100})


def parts(settings: dict[str, Any]) -> tuple[VAE, Objective, Batches]:
    torch.manual_seed(0)
    x = torch.randint(0, 256, (SPEC.sizes["train"], *SPEC.shape), dtype=torch.uint8)
    loader = Batches(x, None, batch_size=settings["batch_size"], levels=255, seed=0, shuffle=True, redraw=True)
    return build_model(settings, SPEC), build_objective(settings, SPEC), loader


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
    )


def bare_loop(settings: dict[str, Any]) -> Iterator[None]:
    """The loop that a person would write who has read everything about speed, a step at a time."""
    model, objective, loader = parts(settings)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    generator, done = torch.Generator(), 0
    while True:
        for batch in loader:
            noise = model.noise(len(batch.x), 1, generator.manual_seed(stream_seed(0, "posterior", done)))
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


def in_turn(settings: dict[str, Any], steps: int) -> dict[str, float]:
    """Steps a second of the bare loop, and of the lab's own training with its logging, ledger, guard and checkpoints."""
    model, objective, loader = parts(settings)
    with tempfile.TemporaryDirectory() as folder:
        module = training_of(model, objective, settings, Path(folder))
        turns = InTurn(bare_loop(settings))
        last = build(settings["callbacks"]["checkpoint"], directory=folder)
        node = {**settings["trainer"], "max_steps": BLOCK + steps, "enable_progress_bar": False}
        history = HistoryLogger(Path(folder) / "metrics.csv")
        trainer = build({**node, "logger": [history], "callbacks": [turns, last], "default_root_dir": folder})
        trainer.fit(module, loader)
    return {name: steps / seconds for name, seconds in turns.seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=600, help=f"a multiple of {BLOCK}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    rows = []
    for batch_size in (20, 128):
        cfg = compose(
            f"batch_size={batch_size}", "latent_dim=50", "encoder.hidden=[200,200]", "decoder.hidden=[200,200]"
        )
        settings = resolve(cfg)
        rates = [in_turn(settings, options.steps) for _ in range(options.rounds)]
        ratio = statistics.median(round_["lab"] / round_["bare"] for round_ in rates)
        row = {
            "batch_size": batch_size,
            "ratio": ratio,
            **{name: statistics.median(round_[name] for round_ in rates) for name in ("bare", "lab")},
            "rates": rates,
        }
        rows.append(row)
        print(
            f"batch {batch_size:3}: bare {row['bare']:6.1f} steps/s, lab {row['lab']:6.1f} steps/s, ratio {ratio:.3f}"
        )
    facts = {"machine": platform.machine(), "processor": platform.processor(), "torch": torch.__version__, "threads": 1}
    target = Path(__file__).parent / "results" / "overhead.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(
        json.dumps({"facts": facts, "rounds": options.rounds, "steps": options.steps, "rows": rows}, indent=2)
    )
    print(target.relative_to(Path.cwd()) if target.is_relative_to(Path.cwd()) else target)


if __name__ == "__main__":
    main()
