"""A component's traits add to those of its base classes."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from vae_lab import compose
from vae_lab.errors import RequestError
from vae_lab.options import PRESETS
from vae_lab.places import option_directories
from vae_lab.request import request
from vae_lab.targets import locate, targets
from vae_lab.testing import declared
from vae_lab.traits import Traits


def shipped() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of an option's file, by the file."""
    for directory in option_directories():
        for file in sorted(directory.glob("*/*.yaml")):
            if file.parent.name not in PRESETS:
                content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
                yield from ((f"{file.parent.name}/{file.stem}", dict(node)) for _, node in targets({"": content}))


def test_no_shipped_class_loses_what_a_base_class_of_it_declares() -> None:
    """By the letter of each class: what stands in `traits` of a class that it derives from is declared by it too."""
    several = 0
    for where, node in shipped():
        target, all_of_it = locate("", node["_target_"]), declared(node)
        lineage = inspect.getmro(target) if inspect.isclass(target) else ()
        written = [each.__dict__["traits"] for each in lineage if isinstance(each.__dict__.get("traits"), Traits)]
        several += len(written) > 1
        for traits in written:
            assert traits.provides <= all_of_it.provides, where
            assert traits.needs.keys() <= all_of_it.needs.keys(), where
            assert traits.forbids.keys() <= all_of_it.forbids.keys(), where
    assert several >= 3, "nothing was compared"


class Base:
    traits = Traits(provides=frozenset({"a"}), needs={"b": "base"}, forbids={"c": "base"})


class BySettings(Base):
    @classmethod
    def traits_of(cls, strength: float = 1.0) -> Traits:
        return Traits(needs={"d": "strong"} if strength > 0 else {})


class Lowest(BySettings):
    traits = Traits(provides=frozenset({"e"}), needs={"b": "lowest"})


@pytest.mark.parametrize(("strength", "needs"), [(1.0, {"b", "d"}), (0.0, {"b"})])
def test_traits_of_a_base_are_kept_whether_or_not_they_depend_on_settings(strength: float, needs: set[str]) -> None:
    option = {"_target_": f"{__name__}.Lowest", "strength": strength, "a_setting_of_the_subclass": 3}
    traits = declared(option)
    assert traits.provides == {"a", "e"}
    assert traits.needs.keys() == needs
    assert traits.needs["b"] == "lowest"
    assert traits.forbids == {"c": "base"}


@pytest.mark.parametrize("corruption", ["gaussian_noise", "salt_and_pepper", "input_dropout"])
def test_no_corruption_goes_with_a_descent_on_each_example(corruption: str) -> None:
    with pytest.raises(RequestError, match="the x that would be descended on is the corrupted one"):
        request(compose(f"corruption={corruption}", "inference=semi_amortized"))


@pytest.mark.parametrize("precision", ["16-mixed", "32-true"])
def test_a_bound_that_rescales_nothing_is_allowed_where_its_kin_is_not(precision: str) -> None:
    """`stl` has no shares by which it would divide, `dreg` and `piwae` have."""
    words = (f"trainer.precision={precision}",)
    request(compose("bound=stl", *words))
    for bound in ("dreg", "piwae"):
        if precision == "32-true":
            request(compose(f"bound={bound}", *words))
        else:
            with pytest.raises(RequestError, match="it divides by shares"):
                request(compose(f"bound={bound}", *words))
