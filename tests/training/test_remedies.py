"""Remedies with a state of their own: a run that is cut ends as if it never was, and no remedy reaches what is reported."""

from pathlib import Path
from typing import Any

import pytest
import torch

from vae_lab import compose, load, train
from vae_lab.errors import RunFailed
from vae_lab.training.ledger import Ledger

SMALL = (
    "encoder.hidden=[8]",
    "decoder.hidden=[8]",
    "latent_dim=3",
    "batch_size=64",
    "trainer.log_every_n_steps=4",
    "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=6",
    "callbacks.checkpoint.every_n_updates=4",
    "evaluation.nll_samples=5",
    "evaluation.figures=false",
)
STATEFUL = {
    "geco": ("beta=geco",),
    "pi": ("beta=pi",),
    "target rate": ("beta=target_rate",),
    "soft free bits": ("beta=soft_free_bits",),
    "capacity": ("rate=capacity",),
    "aggressive": ("inference=aggressive", "inference.inner_steps=3", "inference.window=1", "inference.patience=1"),
    "semi-amortised": ("inference=semi_amortized", "inference.steps=2"),
    "two stages": ("inference=two_stage", "inference.pretrain=9", "beta=linear"),
    "discriminator": ("regularizer=factor", "regularizer.factor.hidden=[8]"),
    "prior draws": ("regularizer=mmd",),
    "batch normalisation": ("parametrization=batchnorm_mean",),
    "variance dropout": ("parametrization=du",),
    "corruption": ("corruption=gaussian_noise",),
}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # Lightning's advice


class Cut(Exception):
    """What ends a run in the middle."""


def run(folder: Path, *words: str) -> tuple[dict[str, Any], Path]:
    result = train(compose(*SMALL, *words, f"runs_dir={folder}"), progress=False)
    return result, folder / "solo" / result["signature"]


def _some(cases: dict[str, tuple[str, ...]], always: set[str]) -> Any:
    """The cases, of which `make test` runs those that differ most in their mechanism."""
    return pytest.mark.parametrize(
        "words",
        [
            pytest.param(words, id=name, marks=() if name in always else pytest.mark.slow)
            for name, words in cases.items()
        ],
    )


@_some(STATEFUL, {"geco", "aggressive", "semi-amortised", "two stages", "discriminator", "variance dropout"})
def test_a_cut_run_ends_as_if_it_never_was(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*words, "trainer.max_steps=18")
    uncut, its_path = run(tmp_path / "uncut", *words)
    count = Ledger.count_update

    def counted(self: Ledger) -> None:
        if self.updates >= 11:
            raise Cut
        count(self)

    with monkeypatch.context() as patch, pytest.raises(RunFailed, match="Cut"):
        patch.setattr(Ledger, "count_update", counted)
        run(tmp_path / "cut", *words)
    result, path = run(tmp_path / "cut", *words)
    assert result["metrics"] == uncut["metrics"]
    assert (path / "metrics.csv").read_text() == (its_path / "metrics.csv").read_text()
    states = [torch.load(p / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for p in (path, its_path)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


PLAIN = ("elbo", "rate", "distortion", "nll", "active_units", "mutual_information")
OBJECTIVES = {
    "beta": ("beta.value=0.1",),
    "warm-up": ("beta=linear", "beta.end=0.5"),
    "geco": ("beta=geco",),
    "target rate": ("beta=target_rate",),
    "free bits": ("rate=free_bits", "rate.nats=3"),
    "capacity": ("rate=capacity",),
    "hinge": ("rate=hinge",),
    "iwae": ("bound=iwae",),
    "dreg": ("bound=dreg",),
    "renyi": ("bound=renyi",),
    "mmd": ("regularizer=mmd",),
    "total correlation": ("regularizer=total_correlation",),
    "factor": ("regularizer=factor",),
    "noise": ("corruption=gaussian_noise",),
    "dropout": ("corruption=input_dropout",),
    "two stages": ("inference=two_stage",),
}
FROZEN = ("optimizer=sgd", "optimizer.lr=1e-30", "trainer.max_steps=2")  # every objective leaves the same weights


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return run(tmp_path_factory.mktemp("plain"), *FROZEN)[0]["metrics"]


@_some(OBJECTIVES, {"beta", "target rate", "free bits", "dreg", "mmd", "factor", "noise"})
def test_what_is_reported_does_not_move_with_the_objective(
    words: tuple[str, ...], plain: dict[str, float], tmp_path: Path
) -> None:
    """With the same weights every figure is the same, to the bit, whatever was trained; the loss is not."""
    metrics = run(tmp_path, *FROZEN, *words)[0]["metrics"]
    for split in ("val", "test"):
        assert {name: metrics[f"{split}/{name}"] for name in PLAIN} == {
            name: plain[f"{split}/{name}"] for name in PLAIN
        }
    if "corruption" not in words[0] and "inference" not in words[0]:
        assert metrics["test/loss"] != plain["test/loss"]


def test_the_refined_posterior_is_what_is_reported(tmp_path: Path) -> None:
    """Refinement by the true gradient gains ELBO on average, and the encoder's own is reported beside it: the ELBO of
    the same weights without refinement."""
    words = ("inference=semi_amortized", "inference.steps=8", "inference.rate=0.02", "inference.samples=8")
    amortized = run(tmp_path, *FROZEN)[0]["metrics"]
    refined, path = run(tmp_path, *FROZEN, *words)
    for split in ("val", "test"):
        assert refined["metrics"][f"{split}/elbo_amortized"] == amortized[f"{split}/elbo"]
        assert refined["metrics"][f"{split}/elbo"] > amortized[f"{split}/elbo"] + 0.05
    model = load(path).model
    x = torch.zeros(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(model.encode(x).mean, model.encode(x).mean)
        assert not torch.equal(model.encode(x).mean, model.amortized(x).mean)
        assert torch.allclose(model.encode(x).mean[1:], model.encode(x).mean[:1], atol=1e-5)  # wherever in the batch


def test_aggressive_steps_of_the_encoder_leave_the_decoder(tmp_path: Path) -> None:
    """While aggressive the encoder moves between two updates, and an update moves the decoder alone."""
    words = ("inference=aggressive", "inference.inner_steps=4", "inference.window=2", "inference.patience=100")
    _, path = run(tmp_path, *words, "trainer.max_steps=8")
    rows = [line.split(",") for line in (path / "metrics.csv").read_text().splitlines()]
    inner = [float(value) for _, _, name, value in rows if name == "train/inner_steps"]
    assert 8 * 2 <= inner[-1] <= 8 * 4
    state = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)
    steps = {float(entry["step"]) for entry in state["optimizer_states"][0]["state"].values()}
    assert steps == {8.0, inner[-1]}  # the decoder's own count, and the encoder's


def test_the_second_stage_begins_with_the_first_decoder(tmp_path: Path) -> None:
    """At the end of the first stage the decoder is as it was made; the encoder is as it was trained."""
    _, start = run(tmp_path, *FROZEN)
    words = ("inference=two_stage", "inference.pretrain=6", "optimizer=sgd")
    _, trained = run(tmp_path, *words, "trainer.max_steps=6", "optimizer.lr=0.1")
    seen = {}
    from vae_lab.training.module import Training

    def keep(self: Training, name: str) -> None:
        Training.__dict__["_reset"](self, name)
        seen.update({key: value.clone() for key, value in self.model.state_dict().items()})

    Training._reset = Training.reset  # type: ignore[attr-defined]
    try:
        Training.reset = keep  # type: ignore[method-assign]
        run(tmp_path, *words, "trainer.max_steps=7", "optimizer.lr=0.1")
    finally:
        Training.reset = Training._reset  # type: ignore[attr-defined, method-assign]
        del Training._reset  # type: ignore[attr-defined]
    first, last = load(start).model.state_dict(), load(trained).model.state_dict()
    for name, value in seen.items():
        expected = first[name] if name.startswith("decoder") else last[name]
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)


def test_the_steps_of_the_encoder_are_clipped_too(tmp_path: Path) -> None:
    words = ("inference=aggressive", "optimizer=sgd", "optimizer.lr=1.0", "trainer.max_steps=3")
    start = load(run(tmp_path / "start", *FROZEN)[1]).model.state_dict()
    _, path = run(tmp_path, *words, "trainer.gradient_clip_val=1e-9")
    for name, value in load(path).model.state_dict().items():
        if name in start:
            torch.testing.assert_close(value, start[name], rtol=0, atol=1e-6)


def test_a_controller_learns_nothing_of_a_stage_that_leaves_the_rate_out(tmp_path: Path) -> None:
    _, path = run(tmp_path, "inference=two_stage", "inference.pretrain=9", "beta=geco", "trainer.max_steps=9")
    state = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert float(state["objective.beta.multiplier"]) == 1.0


def test_another_run_s_weights_start_an_aggressive_one(tmp_path: Path) -> None:
    """From a plain run and from an aggressive one that had ended being so: what it knows of itself begins anew."""
    aggressive = ("inference=aggressive", "inference.inner_steps=3", "inference.window=1", "inference.patience=1")
    _, plain = run(tmp_path, "trainer.max_steps=6")
    _, first = run(tmp_path, *aggressive, "trainer.max_steps=13", f"init_from={plain}")
    _, second = run(tmp_path, *aggressive, "trainer.max_steps=5", f"init_from={first}")
    states = [torch.load(p / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for p in (first, second)]
    assert bool(states[1]["model.inference.active"])
    assert int(states[1]["model.inference.inner"]) <= 15 < int(states[0]["model.inference.inner"])
