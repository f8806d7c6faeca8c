"""Hydra's sweep syntax means to a search what it means to Hydra."""

import random

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from vae_lab.errors import RequestError
from vae_lab.search.space import corners, split

SPACES = [
    ("prior=normal,mixture", CategoricalDistribution(("normal", "mixture"))),
    ("prior=choice(normal,mixture)", CategoricalDistribution(("normal", "mixture"))),
    ("prior=shuffle(normal,mixture)", CategoricalDistribution(("normal", "mixture"))),
    ("encoder.hidden=[20,20],[50]", CategoricalDistribution(("[20,20]", "[50]"))),
    ("x=null,true", CategoricalDistribution(("null", "True"))),
    ("lr=interval(0,1)", FloatDistribution(0, 1)),
    ("lr=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
    ("k=int(interval(2,16))", IntDistribution(2, 16)),
    ("k=tag(log,int(interval(2,16)))", IntDistribution(2, 16, log=True)),
    ("k=range(2,9,3)", IntDistribution(2, 8, step=3)),
    ("k=range(8,1,-2)", IntDistribution(2, 8, step=2)),
    ("k=tag(log,range(1,9))", IntDistribution(1, 8, log=True)),
    ("x=range(0,1,0.25)", FloatDistribution(0, 0.75, step=0.25)),
]


@pytest.mark.parametrize(("word", "distribution"), SPACES)
def test_a_word_is_a_distribution(word: str, distribution: object) -> None:
    fixed, (dimension,) = split(["seed=3", "hydra.sweeper.n_trials=2", word])
    assert fixed == ["seed=3"]
    assert repr(dimension.distribution()) == repr(distribution)


@pytest.mark.parametrize("word", ["x=range(0,1,0.1)", "k=range(9,-1,-4)", "p=a,b", "p=choice([1],0.50)"])
def test_a_value_is_written_as_hydra_s_own_sweeper_writes_it(word: str) -> None:
    from vae_lab.arguments import expand

    (dimension,) = split([word])[1]
    values = dimension.values or dimension.texts
    assert [[dimension.word(value)] for value in values] == expand([word])


def test_every_value_of_a_range_can_be_drawn_and_no_other() -> None:
    """Sums of tenths are not tenths: what Optuna takes for beyond the end is never drawn."""
    rng = random.Random(0)
    for _ in range(300):
        digits = rng.randint(0, 4)
        start, step = (round(rng.uniform(*ends), digits) for ends in ((-2, 2), (0.1, 0.9)))
        stop = start + max(step, 10.0**-digits) * rng.uniform(0.5, 12)
        word = f"x=range({start},{stop:.{digits + 1}f},{step or 10.0**-digits})"
        (dimension,) = split([word])[1]
        distribution = dimension.distribution()
        if isinstance(distribution, FloatDistribution):
            assert distribution.step is not None
            drawn = np.arange(round((distribution.high - distribution.low) / distribution.step) + 1) * distribution.step
            drawn = drawn + distribution.low
        else:
            assert isinstance(distribution, IntDistribution)
            drawn = np.arange(distribution.low, distribution.high + 1, distribution.step)
        assert sorted(map(dimension.word, drawn)) == sorted(f"x={text}" for text in dimension.texts), word


REFUSED = [
    ("lr=interval(2,1)", "an interval goes from the lesser end to the greater"),
    ("lr=tag(lg,interval(1,2))", "lg: no such tag; allowed: log (did you mean 'log'?)"),
    ("lr=tag(log,interval(0,1))", "a logarithmic scale begins above 0"),
    ("k=tag(log,range(1,9,2))", "on a logarithmic scale a range has whole numbers and steps of 1"),
    ("p=tag(log,choice(a,b))", "log is for an interval or a range; a choice has no scale"),
    ("k=range(3,3)", "no values"),
]


@pytest.mark.parametrize(("word", "text"), REFUSED)
def test_a_mistaken_sweep_is_told_in_one_line(word: str, text: str) -> None:
    with pytest.raises(RequestError) as error:
        split([word])
    assert str(error.value) == f"{word}: {text}"


def test_the_corners_hold_each_choice_and_each_end() -> None:
    words = ["hydra.sweeper.n_trials=3", "seed=0", "a=1,2,3", "lr=interval(1,2)", "k=range(0,9)"]
    assert corners(words) == [
        ["seed=0", "a=1", "lr=1.0", "k=0"],
        ["seed=0", "a=2", "lr=1.0", "k=0"],
        ["seed=0", "a=3", "lr=1.0", "k=0"],
        ["seed=0", "a=1", "lr=2.0", "k=0"],
        ["seed=0", "a=1", "lr=1.0", "k=8"],
    ]
