"""What a component provides, needs and forbids, from which every refused combination follows with its reason."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any


@dataclass(frozen=True)
class Traits:
    """Declared by a class (as `traits`, or as a function `traits_of(**settings)` where they depend on its settings). They
    add to those of its base classes: `traits_of` below.

    provides: names of capabilities that the component brings.
    needs: capability -> why it is needed. Somebody must provide it and nobody may forbid it.
    forbids: capability -> why it is lost once this component is there.
    """

    provides: frozenset[str] = frozenset()
    needs: Mapping[str, str] = field(default_factory=dict)
    forbids: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, more: "Traits") -> "Traits":
        """Both together. Where both give a reason, the second one's is given."""
        return Traits(self.provides | more.provides, {**self.needs, **more.needs}, {**self.forbids, **more.forbids})


def traits_of(target: Callable[..., Any], settings: Mapping[str, Any]) -> Traits | None:
    """The traits of a class at these settings: its own and those of all its base classes; None where none declares any.

    Example:
        >>> class Base:
        ...     traits = Traits(forbids={"factorised_prior": "it couples the latents"})
        >>> class Learned(Base):
        ...     traits = Traits(needs={"whole_batch": "it is fitted to a batch"})
        >>> traits_of(Learned, {}).forbids
        {'factorised_prior': 'it couples the latents'}
    """
    lineage = reversed(target.__mro__) if inspect.isclass(target) else (target,)
    declared = [traits for each in lineage for traits in _own(each, settings)]
    return reduce(or_, declared) if declared else None


def _own(target: Any, settings: Mapping[str, Any]) -> list[Traits]:
    """The traits that a class itself declares. Of a base class, `traits_of` may not know the settings of a subclass."""
    own = [vars(target)["traits"]] if isinstance(vars(target).get("traits"), Traits) else []
    if "traits_of" in vars(target) and callable(target.traits_of):
        takes = inspect.signature(target.traits_of).parameters
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
        own.append(target.traits_of(**{key: value for key, value in settings.items() if takes_all or key in takes}))
    return own


def conflicts(components: Iterable[tuple[str, Traits]]) -> list[str]:
    """One line for every unmet need, with both reasons, from (name, traits) pairs.

    Example:
        >>> conflicts([("rate=free_bits", Traits(needs={"factorised_prior": "it floors each latent's rate"})),
        ...            ("prior=mixture", Traits(forbids={"factorised_prior": "it couples the latents"}))])
        ["rate=free_bits does not go with prior=mixture: it floors each latent's rate, but it couples the latents"]
    """
    components = list(components)
    provided = {capability for _, traits in components for capability in traits.provides}
    lines = []
    for name, traits in components:
        for capability, why in traits.needs.items():
            against = [(other, t.forbids[capability]) for other, t in components if capability in t.forbids]
            lines += [f"{name} does not go with {other}: {why}, but {reason}" for other, reason in against]
            if not against and capability not in provided:
                lines.append(f"{name} cannot be used here: {why}")
    return lines
