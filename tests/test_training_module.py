"""What a training step does when a loss is not finite, when batches are accumulated, and when a gradient is clipped."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vae_lab import compose
from vae_lab.distributions import stream_seed
from vae_lab.fitting import lightning_fit, make_module, make_trainer
from vae_lab.models import Terms
from vae_lab.objectives.rate import Transform
from vae_lab.request import Request, request
from vae_lab.training.history import HistoryLogger
from vae_lab.training.module import Training
from vae_lab.training.window import Diverged

BASE = (
    "encoder.hidden=[8]",
    "decoder.hidden=[8]",
    "latent_dim=2",
    "trainer.max_steps=6",
    "trainer.log_every_n_steps=3",
)


class Spoiled(Transform):
    """The rate as it is, but NaN at the calls named."""

    def __init__(self, calls: set[int]) -> None:
        super().__init__()
        self.calls, self.seen = calls, 0

    def forward(self, terms: Terms, target: Tensor) -> Tensor:
        self.seen += 1
        return terms.rate.mean() * (float("nan") if self.seen - 1 in self.calls and torch.is_grad_enabled() else 1.0)


def asked(folder: Path, *words: str) -> Request:
    return request(compose(*BASE, f"runs_dir={folder}", *words))


def fit(ask: Request, spoiled: set[int] | None = None) -> tuple[Training, list[dict[str, Any]]]:
    """Trains; returns the module and, after each update, its weights and the optimiser's state."""
    torch.manual_seed(0)
    module = make_module(ask)
    if spoiled is not None:
        module.objective.rate = Spoiled(spoiled)
    seen: list[dict[str, Any]] = []
    update = module._update

    def watched() -> None:
        update()
        state = {i: made.state_dict()["state"] for i, made in enumerate(module.trainer.optimizers)}
        seen.append({"weights": [p.detach().clone() for p in module.parameters()], "state": clone(state)})

    module._update = watched  # type: ignore[method-assign]
    ask.directory.path.mkdir(parents=True, exist_ok=True)
    trainer = make_trainer(ask, [HistoryLogger(ask.directory.path / "metrics.csv")], progress=False)
    lightning_fit(trainer, module, ask, None)
    return module, seen


def clone(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    return value.clone() if isinstance(value, Tensor) else value


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # Lightning's advice


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize(
    "words", ["trainer.gradient_clip_val=null", "trainer.gradient_clip_val=0.5", "regularizer=factor"]
)
def test_an_update_of_a_loss_that_is_not_finite_changes_nothing(optimizer: str, words: str, tmp_path: Path) -> None:
    ask = asked(tmp_path, f"optimizer={optimizer}", words)
    module, seen = fit(ask, spoiled={2})
    assert equal(seen[2], seen[1])  # weights, moments and step counts, to the bit
    assert not equal(seen[3], seen[2])
    assert all(w.isfinite().all() for w in seen[-1]["weights"])
    assert module.updates == 6
    rows = ask.directory.history()
    assert [value for _, _, name, value in rows if name == "train/skipped_updates"] == [1.0, 0.0]


def test_a_discriminator_has_an_optimizer_of_its_own(tmp_path: Path) -> None:
    """What the run's optimiser, its scheduler and clipping do is nothing to it: with the model held by a learning rate of
    nothing it takes the same steps. They are Adam's with its betas, and no update of the run's."""
    held = ("regularizer=factor", "regularizer.factor.hidden=[8]", "optimizer.lr=1e-30")
    runs = [
        ("optimizer=sgd",),
        ("optimizer=adamw", "optimizer.weight_decay=0.5", "scheduler=cosine", "trainer.gradient_clip_val=1e-3"),
    ]
    (module, seen), (_, others) = (fit(asked(tmp_path / str(i), *held, *words)) for i, words in enumerate(runs))
    for one, other in zip(seen, others, strict=True):
        assert equal(one["weights"], other["weights"])
    own = module.trainer.optimizers[1]
    steps = {float(state["step"]) for state in own.state.values()}
    assert (module.updates, steps, module.trainer.global_step) == (6, {6.0}, 6)

    torch.manual_seed(0)
    discriminator = (fresh := make_module(asked(tmp_path, *held))).objective.regularizers[0]
    by_hand = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    for number, batch in zip(
        range(6), asked(tmp_path, *held).dataset.batches("train", 128, seed=0, shuffle=True), strict=False
    ):
        noise = fresh.model.noise(len(batch.x), 1, fresh._noise_stream("posterior", number))
        torch.manual_seed(stream_seed(0, "step", number))
        by_hand.zero_grad()
        discriminator.cross_entropy(fresh.model.terms(batch, noise).z.detach()).backward()
        by_hand.step()
    for mine, theirs in zip(discriminator.parameters(), module.objective.parameters(), strict=True):
        torch.testing.assert_close(theirs, mine)


def test_one_bad_micro_batch_skips_the_whole_update(tmp_path: Path) -> None:
    _, seen = fit(asked(tmp_path, "trainer.accumulate_grad_batches=2", "trainer.max_steps=4"), spoiled={2})
    assert equal(seen[1], seen[0])
    assert not equal(seen[2], seen[1])


def test_a_loss_that_does_not_recover_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="NaN or infinite for 51 batches in a row"):
        fit(asked(tmp_path, "trainer.max_steps=60"), spoiled=set(range(100)))


def test_t_counts_updates_and_every_micro_batch_has_its_own_noise(tmp_path: Path) -> None:
    module, _ = fit(asked(tmp_path, "trainer.accumulate_grad_batches=4", "trainer.max_steps=4"))
    assert module.updates == 4
    assert module.batches == 9 + 4  # an epoch of 9 batches is three updates: 4, 4 and 1
    module, _ = fit(asked(tmp_path, "trainer.accumulate_grad_batches=4", "trainer.max_steps=3"))
    assert module.batches == 9


def test_accumulated_gradients_are_the_mean_over_the_batches(tmp_path: Path) -> None:
    """Two batches of one update against the same two gradients computed by hand."""
    ask = asked(
        tmp_path, "trainer.accumulate_grad_batches=2", "trainer.max_steps=1", "optimizer=sgd", "optimizer.lr=1.0"
    )
    _, seen = fit(ask)
    torch.manual_seed(0)
    by_hand = make_module(ask)
    batches = iter(ask.dataset.batches("train", 128, seed=0, shuffle=True))
    gradients = []
    for b in range(2):
        batch = next(batches)
        terms = by_hand.model.terms(batch, by_hand.model.noise(128, 1, by_hand._noise_stream("posterior", b)))
        gradients.append(torch.autograd.grad(-terms.elbo.mean(), list(by_hand.parameters())))
    for before, after, g, h in zip(by_hand.parameters(), seen[0]["weights"], *gradients, strict=True):
        torch.testing.assert_close(after, before - 0.5 * (g + h), atol=1e-5, rtol=1e-4)


def test_the_last_update_of_an_epoch_is_the_mean_of_the_batches_that_are_left(tmp_path: Path) -> None:
    """Nine batches by fours: the third update is of one batch, and counts as one."""
    words = ("trainer.accumulate_grad_batches=4", "trainer.max_steps=3", "optimizer=sgd", "optimizer.momentum=0")
    ask = asked(tmp_path, *words)
    _, seen = fit(ask)
    by_hand = make_module(ask)
    for parameter, value in zip(by_hand.parameters(), seen[1]["weights"], strict=True):
        parameter.data.copy_(value)
    batch = next(itertools.islice(ask.dataset.batches("train", 128, seed=0, shuffle=True), 8, None))
    terms = by_hand.model.terms(batch, by_hand.model.noise(len(batch.x), 1, by_hand._noise_stream("posterior", 8)))
    gradients = torch.autograd.grad(-terms.elbo.mean(), list(by_hand.parameters()))
    for before, after, gradient in zip(seen[1]["weights"], seen[2]["weights"], gradients, strict=True):
        torch.testing.assert_close(after, before - 0.01 * gradient, atol=1e-6, rtol=1e-4)


def test_a_loss_scaler_lets_no_discriminator_step_on_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    """Its own gradients are finite when the model's loss alone overflows."""
    module = make_module(asked(tmp_path, "regularizer=factor"))
    (own,) = module.configure_optimizers()[0][1:]
    module._scaler = torch.amp.GradScaler("cpu")
    module._scaler.scale(torch.zeros(()))
    weights = [p for group in own.param_groups for p in group["params"]]
    for bad, moves in ((1.0, False), (0.0, True)):
        before = [w.detach().clone() for w in weights]
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        module._bad = torch.tensor(bad)
        module._step_beside(own)
        module._scaler.update()
        assert [not torch.equal(a, b) for a, b in zip(before, weights, strict=True)] == [moves] * len(weights)


def test_a_gradient_is_clipped_to_its_norm(tmp_path: Path) -> None:
    ask = asked(tmp_path, "trainer.gradient_clip_val=0.25", "trainer.max_steps=1", "optimizer=sgd", "optimizer.lr=1.0")
    _, seen = fit(ask)
    torch.manual_seed(0)
    start = list(make_module(ask).parameters())
    moved = torch.cat([(a - b).flatten() for a, b in zip(seen[0]["weights"], start, strict=True)])
    assert float(moved.detach().norm()) == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize(("scheduler", "expected"), [("constant", 1.0), ("step", 0.01), ("cosine", 0.0)])
def test_a_scheduler_counts_updates(scheduler: str, expected: float, tmp_path: Path) -> None:
    words = ["scheduler.period=3"] if scheduler == "step" else []
    module, _ = fit(asked(tmp_path, f"scheduler={scheduler}", *words))
    rate = module.trainer.optimizers[0].param_groups[0]["lr"]
    assert rate / 1e-3 == pytest.approx(expected, abs=1e-6)


def test_the_best_checkpoint_waits_until_the_objective_has_settled(tmp_path: Path) -> None:
    words = (
        "mitigation=kl_annealing",
        "beta.warmup=4",
        "trainer.check_val_every_n_epoch=null",
        "trainer.val_check_interval=2",
    )
    ask = asked(tmp_path, *words, "trainer.max_steps=3")
    fit(ask)
    assert not (ask.directory.path / "checkpoints" / "best.ckpt").exists()
    ask = asked(tmp_path, *words, "trainer.max_steps=6")
    fit(ask)
    assert (ask.directory.path / "checkpoints" / "best.ckpt").exists()
