"""A point of a grid is named by the number that a person would write for it."""

import json
import math
import random
from fractions import Fraction
from pathlib import Path

import pytest
from small_runs import STUDY, TINY, Lab, write_study

from vae_lab import compose
from vae_lab.arguments import expand
from vae_lab.errors import RequestError
from vae_lab.request import request
from vae_lab.search.space import split


def values(word: str) -> list[str]:
    return [point[0].partition("=")[2] for point in expand([word])]


def test_a_range_is_start_plus_whole_steps_of_the_written_decimals() -> None:
    """Against rational arithmetic on the written text: every number, how many there are, upwards and downwards."""
    chance = random.Random(0)
    for _ in range(300):
        digits = chance.randint(1, 6)
        unit = Fraction(1, 10**digits)
        start, step = chance.randint(-3000, 3000), chance.choice((-1, 1)) * chance.randint(1, 400)
        stop = start + round(step * chance.uniform(0.5, 12))
        count = math.ceil(Fraction(stop - start, step))
        texts = [f"{float(number * unit):.{digits}f}" for number in (start, stop, step)]
        expected = [float((start + i * step) * unit) for i in range(count)]
        assert [float(value) for value in values(f"x=range({','.join(texts)})")] == expected, texts
        assert "-0.0" not in values(f"x=range({','.join(texts)})")


def test_ranges_with_other_starts_agree_on_their_common_points() -> None:
    words = [
        "x=range(0,1,0.1)",
        "x=range(0.1,1,0.1)",
        "x=range(-0.3,0.8,0.1)",
        "x=sort(range(0.1,0.8,0.1),reverse=true)",
    ]
    for word in words:
        assert {"0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"} <= set(values(word)), word
        assert {"0.3", "0.7"} <= set(split([word])[1][0].texts)  # the space of a search
    assert values("x=0.3,0.30,3e-1,.3") == ["0.3"]


def test_a_point_has_one_signature_however_it_was_written(in_tmp: Path) -> None:
    free_bits = [*TINY, "mitigation=free_bits"]
    typed = request(compose(*free_bits, "rate.nats=0.3")).directory.signature
    assert typed == "2351b9e2f6"  # as it has always been
    for word in ("rate.nats=range(0.1,0.4,0.1)", "rate.nats=range(0.3,1,0.4)", "rate.nats=3e-1,0.7"):
        points = expand([word])
        assert typed in {request(compose(*free_bits, *point)).directory.signature for point in points}


def test_numbers_of_a_study_are_read_as_hydra_reads_them(lab: Lab, in_tmp: Path) -> None:
    """`1e-1` in its file, and in the words of its plan, is a number; one point that is written twice is one cell."""
    arms = "arms:\n  bits: {mitigation: free_bits, rate.nats: [1e-1, 3e-1, 0.30]}"
    text = STUDY.replace("arms:", arms).replace("seed: [0, 1]", "seed: [0, 0], optimizer.lr: [1e-5, 0.00001]")
    write_study(in_tmp, "small", text)
    said = lab("sweep-yaml", "small", "arm=bits-0.1,bits-0.3")
    assert (said.code, said.err) == (0, "")
    plan = json.loads((in_tmp / "runs/small/plan.json").read_text())
    assert [(cell["strength"], cell["over"]) for cell in plan["cells"]] == [
        ({"rate.nats": nats}, {"optimizer.lr": 1e-5, "seed": 0}) for nats in (0.1, 0.3)
    ]


REFUSED = [
    ("x=range(0,1,0)", "a range has finite ends and a step that is not 0, as in range(0,1,0.1)"),
    ("x=range(0,3,0)", "a range has finite ends and a step that is not 0, as in range(0,1,0.1)"),
    ("x=range(0,1e400)", "a range has finite ends and a step that is not 0, as in range(0,1,0.1)"),
    ("x=range(3,3)", "no values"),
    ("seed=range(0,1000000000)", "more than 100,000 values"),
]


@pytest.mark.parametrize(("word", "text"), REFUSED)
def test_a_range_without_values_or_without_end_is_refused(word: str, text: str) -> None:
    with pytest.raises(RequestError) as error:
        expand([word])
    assert str(error.value) == f"{word}: {text}"


def test_a_grid_that_cannot_be_checked_is_refused_before_it_is_listed() -> None:
    with pytest.raises(RequestError, match="a grid of 50,000 times 50,000 points given; 100,000 points are allowed"):
        expand(["seed=range(0,50000)", "latent_dim=range(0,50000)"])
    with pytest.raises(RequestError, match="latent_dim is there twice: latent_dim=2 and latent_dim=4,8"):
        expand(["latent_dim=2", "latent_dim=4,8"])
