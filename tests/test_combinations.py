"""Any composition either trains or is refused by a rule that docs/combinations.md names."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_combinations import ALWAYS, GROUPS, Steps, drawn

from vae_lab.combinations import FREE, component_traits
from vae_lab.config import composer, resolve
from vae_lab.errors import RequestError
from vae_lab.places import option_directories
from vae_lab.request import request
from vae_lab.targets import targets
from vae_lab.testing import declared

PAGE = (Path(__file__).parent.parent / "docs" / "combinations.md").read_text(encoding="utf-8")
DRAWS, LEAST, PARTS = 300, 150, 20


@pytest.fixture(scope="module")
def compose() -> Iterator[Any]:
    with composer() as compose:
        yield compose


def tried(compose: Any, words: list[str]) -> str | None:
    """Trains a composition for 20 updates; the reason if it is refused instead."""
    cfg = compose(words)
    try:
        asked = request(cfg)
    except RequestError as error:
        return str(error)
    Steps(asked).take(20)
    return None


def reasons(compose: Any, words: list[str]) -> dict[str, str]:
    """Every reason that a composition's parts state, with its capability."""
    found = {}
    for _, traits in component_traits(resolve(compose(words))):
        found |= {why: capability for capability, why in (*traits.needs.items(), *traits.forbids.items())}
    return found


def _always() -> list[Any]:
    """The fixed list, of which `make test` runs every sixth."""
    marks = [() if number % 6 == 0 else (pytest.mark.slow,) for number in range(len(ALWAYS))]
    return [pytest.param(words, marks=m, id=" ".join(words[4:])) for words, m in zip(ALWAYS, marks, strict=True)]


@pytest.mark.parametrize("words", _always())
def test_what_must_always_train(words: list[str], compose: Any) -> None:
    assert tried(compose, words) is None


@pytest.mark.parametrize(
    "part", [pytest.param(0, id="one"), *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, PARTS))]
)
def test_every_composition_trains_or_is_refused_by_a_named_rule(part: int, compose: Any) -> None:
    """Three hundred draws over all the groups, in twenty parts, of which `make test` runs the first."""
    for draw in range(part * DRAWS // PARTS, (part + 1) * DRAWS // PARTS):
        words = drawn(random.Random(draw))
        refused = tried(compose, words)
        if refused is None:
            continue
        rules = {capability for why, capability in reasons(compose, words).items() if why in refused}
        assert rules, f"{' '.join(words)}: refused by no declared rule: {refused}"
        assert any(f"`{rule}`" in PAGE for rule in rules), f"docs/combinations.md does not name {rules}"


@pytest.mark.slow
def test_at_least_half_of_the_draws_are_allowed(compose: Any) -> None:
    """That they then train is what the parts of the test above say."""

    def allowed(words: list[str]) -> bool:
        try:
            request(compose(words))
        except RequestError:
            return False
        return True

    assert sum(allowed(drawn(random.Random(draw))) for draw in range(DRAWS)) >= LEAST


def test_every_option_is_drawn() -> None:
    seen = {word for draw in range(DRAWS) for word in drawn(random.Random(draw))}
    for group, options in GROUPS.items():
        assert {f"{group}={option}" for option in options} <= seen


REFUSED = {
    "E01": "bound=iwae rate=free_bits",
    "E02": "bound=iwae beta=linear",
    "E03": "prior=mixture rate=free_bits",
    "E04": "beta=geco rate=capacity",
    "E05": "beta=geco likelihood=gaussian_optimal dataset.binarization=none",
    "E06": "parametrization=batchnorm_mean inference=semi_amortized",
    "E07": "parametrization=batchnorm_mean trainer.accumulate_grad_batches=2",
    "E07, one example": "parametrization=du batch_size=1",
    "E07, a fitted scale": "likelihood=gaussian_optimal dataset.binarization=none trainer.accumulate_grad_batches=2",
    "wide_gradients": "bound=dreg trainer.precision=16-mixed",
    "wide_moments": "regularizer=factor trainer.precision=16-true",
    "unrecorded_step": "regularizer=mmd compile=true",
    "unrecorded_step, several processes": "trainer=ddp compile=true",
    "E10": "regularizer=mmd regularizer.mmd.alpha=0.5 regularizer.mmd.scale=0.1",
    "E11": "bound=dreg regularizer=mmd",
    "E14": "parametrization=delta prior=mixture",
    "E16": "inference=aggressive trainer.accumulate_grad_batches=2",
    "E19": "dataset.binarization=none",
    "E19, the other way": "likelihood=gaussian_optimal",
    "unit_x": "dataset=linear_gaussian likelihood=gaussian corruption=salt_and_pepper",
}


@pytest.mark.parametrize("rule", REFUSED)
def test_each_rule_refuses(rule: str, compose: Any) -> None:
    with pytest.raises(RequestError):
        request(compose(REFUSED[rule].split()))


def test_what_holds_unless_somebody_claims_it_is_needed_by_somebody(compose: Any) -> None:
    needed = set()
    for directory in option_directories():
        for file in directory.glob("*/*.yaml"):
            if file.parent.name in GROUPS:
                content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
                needed |= {c for _, node in targets({file.parent.name: content}) for c in declared(node).needs}
    assert needed >= FREE


@pytest.mark.parametrize("group", GROUPS)
def test_every_capability_of_a_part_is_on_the_page(group: str) -> None:
    for directory in option_directories():
        for file in directory.glob(f"{group}/*.yaml"):
            for _, node in targets({group: yaml.safe_load(file.read_text(encoding="utf-8")) or {}}):
                traits = declared(node)
                for capability in (*traits.needs, *traits.forbids):
                    assert f"`{capability}`" in PAGE, f"docs/combinations.md does not name {capability} ({file.stem})"


def test_the_harness_would_see_a_part_that_does_not_learn(compose: Any) -> None:
    steps = Steps(request(compose(["trainer.max_steps=20"])))
    first, *_ = steps.module.model.decoder.parameters()
    steps.frozen = [first]
    with pytest.raises(AssertionError, match="never moved"):
        steps.take(20)
    assert torch.is_grad_enabled()
