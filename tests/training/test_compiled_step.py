"""compile=true takes the steps that compile=false takes, or says that it cannot."""

import itertools
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from small_combinations import ALWAYS, Steps
from torch import Tensor

from vae_lab.config import composer
from vae_lab.errors import RequestError
from vae_lab.models import Batch
from vae_lab.request import request
from vae_lab.training import step

UPDATES = 4
EXTRA = [  # what the fixed list has not, or only beside what is refused
    "parametrization=du",
    "dataset.binarization=none likelihood=gaussian_optimal",
    "trainer.accumulate_grad_batches=2",
    "trainer.gradient_clip_val=1.0 bound=iwae bound.samples=3",
    "labels=given",
    "prior=mixture beta=linear beta.warmup=4",
]
DRAWING = ("mmd", "factor", "semi_amortized")  # they are refused: see test_combinations


@pytest.fixture(autouse=True)
def _nothing_compiled_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test has put in the place of a compiled graph would be taken for one."""
    monkeypatch.setattr(step, "_compiled", {})


@pytest.fixture(scope="module")
def compose() -> Iterator[Any]:
    with composer() as compose:
        yield compose


def _doubled(batch: Batch) -> Batch:
    return batch._replace(x=batch.x.double())


def trained(compose: Any, words: list[str]) -> dict[str, Tensor]:
    """All parameters and buffers after a few updates in float64, where nothing but a mistake is seen: with an epsilon of Adam
    beside which the last bits of a gradient that should be zero are nothing."""
    steps = Steps(request(compose([*words, "optimizer.eps=1e-4"])))
    module: Any = steps.module.double().train()
    module._in_precision = _doubled
    for number, batch in enumerate(islice(steps._endless(), UPDATES)):
        module.training_step(_doubled(batch), number)
    return {name: value.clone() for name, value in steps.module.state_dict().items()}


def assert_the_same(compose: Any, words: list[str], rtol: float) -> None:
    plain, compiled = (trained(compose, [*words, f"compile={word}"]) for word in ("false", "true"))
    for name, value in plain.items():
        a, b = value.double(), compiled[name].double()
        assert torch.equal(a, b) or float((a - b).norm()) <= rtol * float(a.norm()), name


def _compositions() -> list[Any]:
    words = [" ".join(words) for words in ALWAYS if not any(part in " ".join(words) for part in DRAWING)]
    words += [f"{' '.join(ALWAYS[0][:4])} {words}" for words in EXTRA]
    return [
        pytest.param(one.split(), marks=() if number % 6 == 0 else (pytest.mark.slow,), id=" ".join(one.split()[4:]))
        for number, one in enumerate(words)
    ]


@pytest.mark.parametrize("words", _compositions())
def test_the_recorded_step_is_the_plain_one(words: list[str], compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph as it was recorded, run operation by operation."""
    monkeypatch.setattr(torch, "compile", lambda recorded, **_: recorded)
    assert_the_same(compose, words, rtol=1e-11)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([*ALWAYS[0][:4], *words.split()], id=words, marks=() if number == 0 else (pytest.mark.slow,))
        for number, words in enumerate(
            (
                "decoder.hidden=[16]",
                "parametrization=du",
                "decoder=conv encoder=conv",
                "decoder=pixelcnn bound=iwae",
                "bound=dreg",
                "dataset.binarization=none likelihood=gaussian_optimal",
            )
        )
    ],
)
def test_the_compiled_step_is_the_plain_one(words: list[str], compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Inductor, whose sums have another order; what is drawn (the dropout of `du`) is the same."""
    by_inductor, compiled = torch.compile, list[object]()
    monkeypatch.setattr(
        torch, "compile", lambda recorded, **how: compiled.append(recorded) or by_inductor(recorded, **how)
    )
    assert_the_same(compose, words, rtol=1e-11)
    assert len(compiled) == 1


def test_what_changes_in_hiding_is_found_out(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that counts its own calls, of which the next changes little, would be recorded with the first count."""
    monkeypatch.setattr(torch, "compile", lambda recorded, **_: recorded)
    steps = Steps(request(compose([*ALWAYS[0][:4], "compile=true"])))
    plain, calls = steps.module.objective.forward, itertools.count(1)
    monkeypatch.setattr(steps.module.objective, "forward", lambda *given: plain(*given) * (1 + 1e-9 * next(calls)))
    with pytest.raises(RuntimeError, match=r"compile=true: the step of batch 2 is not that of the first: "):
        steps.take(2)


def test_what_changes_later_is_found_out_too(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a schedule of a part's own that begins after some updates."""
    monkeypatch.setattr(torch, "compile", lambda recorded, **_: recorded)
    steps = Steps(request(compose([*ALWAYS[0][:4], "compile=true"])))
    plain, module = steps.module.objective.forward, steps.module
    monkeypatch.setattr(module.objective, "forward", lambda *given: plain(*given) * (1 + (module.updates > 60)))
    steps.take(50)
    with pytest.raises(RuntimeError, match=r"compile=true: the step of batch 100 is not that of the first: "):
        steps.take(50)


@pytest.mark.slow
@pytest.mark.parametrize("words", [pytest.param(one.values[0], id=one.id) for one in _compositions()])
def test_the_step_of_a_hundred_batches_later_is_the_same(
    words: list[str], compose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that goes with compile=true is refused for what it does later, such as an inference in stages."""
    monkeypatch.setattr(torch, "compile", lambda recorded, **_: recorded)
    steps = Steps(request(compose([*words, "compile=true"])))
    for number, batch in enumerate(islice(steps._endless(), max(step.LOOKED_AT) + 1)):
        steps.module.training_step(batch, number)
    assert steps.module._batch_step._batches > max(step.LOOKED_AT)


@pytest.mark.parametrize("part", ["rate", "distortion"])
def test_a_part_that_counts_for_nothing_yet_is_looked_at(
    part: str, compose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the beginning of a warm-up the weight of the rate is zero, and a wrong rate would not be seen in the loss."""

    def compiled(recorded: Any, **_: Any) -> Any:
        def graph(*inputs: Any) -> Any:
            loss, rate, distortion, *rest = recorded(*inputs)
            off = 1.01 if part == "rate" else 1.0
            return loss, rate * off, distortion * (2.01 - off), *rest

        return graph

    monkeypatch.setattr(torch, "compile", compiled)
    steps = Steps(request(compose([*ALWAYS[0][:4], "beta=linear", "beta.warmup=1000", "compile=true"])))
    with pytest.raises(
        RuntimeError, match=rf"compile=true: the {part} of the compiled step is not that of the plain one"
    ):
        steps.take(2)


@pytest.mark.parametrize("factor", [1.001, 1.3])
def test_a_kink_in_a_gradient_stops_no_run_and_a_mistake_does(
    factor: float, compose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the convolutional model one ReLU on the other side of zero changed the gradients before it by a thousandth."""

    def compiled(recorded: Any, **_: Any) -> Any:
        def graph(*inputs: Any) -> Any:
            loss, rate, distortion, gradient, *rest = recorded(*inputs)
            return loss, rate, distortion, gradient * factor, *rest

        return graph

    monkeypatch.setattr(torch, "compile", compiled)
    steps = Steps(request(compose([*ALWAYS[0][:4], "compile=true"])))
    if factor > 1.1:
        with pytest.raises(
            RuntimeError, match=r"the gradient of \S+ of the compiled step is not that of the plain one"
        ):
            steps.take(2)
    else:
        steps.take(2)


def test_what_cannot_be_recorded_is_one_line(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(request(compose([*ALWAYS[0][:4], "compile=true"])))
    plain = steps.module.objective.forward
    monkeypatch.setattr(steps.module.objective, "forward", lambda *given: plain(*given) * float(plain(*given)))
    with pytest.raises(RuntimeError, match=r"^compile=true: .*; use compile=false$"):
        steps.take(1)


def test_runs_of_one_process_share_what_was_compiled(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another seed and another weight of the rate; not of another width."""
    made: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda recorded, **_: made.append(recorded) or recorded)
    for words, expected in (("seed=0", 1), ("seed=1 beta.value=4", 1), ("decoder.hidden=[20]", 2)):
        Steps(request(compose([*ALWAYS[0][:4], *words.split(), "compile=true"]))).take(2)
        assert len(made) == expected


@pytest.mark.slow
def test_runs_that_share_a_compiled_graph_are_the_plain_ones(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, as people run it, within what its rounding makes of four updates."""
    by_inductor, compiled = torch.compile, list[object]()
    monkeypatch.setattr(
        torch, "compile", lambda recorded, **how: compiled.append(recorded) or by_inductor(recorded, **how)
    )
    for seed in (0, 1, 2):
        found = []
        for word in ("false", "true"):
            words = [*ALWAYS[0][:4], f"seed={seed}", "optimizer.eps=1e-4", f"compile={word}"]
            steps = Steps(request(compose(words)))
            steps.take(UPDATES)
            found.append({name: value.clone() for name, value in steps.module.state_dict().items()})
        for name, value in found[0].items():
            torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-6)
    assert len(compiled) == 1


def test_a_machine_without_a_compiler_is_told_before_training(compose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RequestError, match=r"^compile: true given; it needs a C\+\+ compiler, and there is no no-such"):
        request(compose(["compile=true"]))
