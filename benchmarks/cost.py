"""What a training step (forward, backward, update) costs by method, relative to the plain ELBO's, and what it should.

`python -m benchmarks.cost` trains a 784-200-200-50 VAE at batch 20 on one thread by each bound and by each inference,
every one in turn with a loop of plain ELBO steps; prints medians over rounds and writes `benchmarks/results/cost.json`.

The factor that a method demands is counted, not timed: multiply-adds of the linear layers in its forward passes, relative
to the ELBO's. K draws share the encoder, so that a bound of K draws demands (E + K D) / (E + D), with E and D the layers'
of one pass through encoder and decoder; a method of inner steps demands their passes too. A backward pass is taken to cost
in proportion; second derivatives are not counted. A step of so small a batch is mostly the fixed cost of its calls and of
the update, so a bound of more draws costs less than it demands.
"""

import argparse
import logging
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.loops import BLOCK, InTurn, bare_loop, parts, training_of
from benchmarks.records import keep
from vae_lab import compose
from vae_lab.build import build
from vae_lab.config import resolve
from vae_lab.options import groups

PLAIN = ("bound", "elbo")
NETWORK = ("batch_size=20", "latent_dim=50", "encoder.hidden=[200,200]", "decoder.hidden=[200,200]")
HOW = "demanded: multiply-adds of linear layers forward, relative to the ELBO's; K draws share the encoder"


def methods() -> list[tuple[str, str]]:
    """The plain ELBO, then every other bound and inference, as (group, option)."""
    found = [(group, name) for group in ("bound", "inference") for name in groups()[group]]
    return [PLAIN, *(method for method in found if method not in (PLAIN, ("inference", "amortized")))]


def settings_of(group: str, name: str) -> dict[str, Any]:
    return resolve(compose(f"{group}={name}", *NETWORK))


def count_products(model: nn.Module) -> list[float]:
    """A list of one number, to which every forward pass of a linear layer adds its multiply-adds."""
    count = [0.0]

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        count[0] += output.numel() * layer.in_features  # type: ignore[operator]

    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(add)
    return count


def in_turn(settings: dict[str, Any], plain: dict[str, Any], steps: int) -> dict[str, float]:
    """The time of a step relative to that of a bare loop of plain steps beside it, multiply-adds a step, and draws of z for
    each example."""
    model, objective, loader = parts(settings)
    products, turns = count_products(model), InTurn(bare_loop(plain))
    with tempfile.TemporaryDirectory() as folder:
        module = training_of(model, objective, settings, Path(folder))
        limits = {"max_steps": -1, "max_epochs": 1, "limit_train_batches": BLOCK + steps, "enable_progress_bar": False}
        quiet = {"logger": False, "default_root_dir": folder, "callbacks": [turns]}
        build({**settings["trainer"], **limits, **quiet}).fit(module, loader)
    relative = turns.seconds["lab"] / turns.seconds["bare"]
    return {"relative": relative, "products": products[0] / (BLOCK + steps), "draws": objective.samples}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150, help=f"a multiple of {BLOCK}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # of Lightning, on what this loop leaves out
    plain, chosen = settings_of(*PLAIN), methods()
    measured = [
        [in_turn(settings_of(*method), plain, options.steps) for method in chosen] for _ in range(options.rounds)
    ]
    rows = [_row(method, [found[0] for found in measured], column) for method, column in _columns(chosen, measured)]
    print(f"{'method':28}{'draws':>6}{'demanded':>10}{'measured':>10}")
    for row in rows:
        print(f"{row['method']:28}{row['draws']:6}{row['demanded']:10.2f}{row['measured']:10.2f}")
    keep("cost", how=HOW, rounds=options.rounds, steps=options.steps, rows=rows)


def _columns(chosen: list[tuple[str, str]], measured: list[list[dict[str, float]]]) -> Any:
    return zip(chosen, map(list, zip(*measured, strict=True)), strict=True)


def _row(method: tuple[str, str], elbo: list[dict[str, float]], own: list[dict[str, float]]) -> dict[str, Any]:
    """A method's row from its rounds and the ELBO's."""
    ratios = [a["relative"] / b["relative"] for a, b in zip(own, elbo, strict=True)]
    return {
        "method": "=".join(method),
        "draws": own[0]["draws"],
        "demanded": statistics.median(a["products"] / b["products"] for a, b in zip(own, elbo, strict=True)),
        "measured": statistics.median(ratios),
        "rounds": ratios,
    }


if __name__ == "__main__":
    main()
