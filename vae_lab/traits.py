"""What a component provides, needs and forbids, from which every refused combination follows with its reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Traits:
    """Declared by a class (as `traits`, or as a function `traits_of(**settings)` where they depend on its settings).

    provides: names of capabilities that the component brings.
    needs: capability -> why it is needed. Somebody must provide it and nobody may forbid it.
    forbids: capability -> why it is lost once this component is there.
    """

    provides: frozenset[str] = frozenset()
    needs: Mapping[str, str] = field(default_factory=dict)
    forbids: Mapping[str, str] = field(default_factory=dict)


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
