"""From checked settings to objects. A constructor is given its settings, and whatever it asks for by name of what the lab
knows: the shape of x, the number of latents, the length of the run."""

import inspect
import math
from collections.abc import Callable
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from vae_lab.data.dataset import Spec
from vae_lab.errors import RequestError
from vae_lab.models import VAE
from vae_lab.objectives import Objective
from vae_lab.targets import Node, locate, parts, raise_for_memory


def build(node: Node, **context: Any) -> Any:
    """Builds a node: its own settings, and what its constructor asks for of the context."""
    target = locate("", str(node["_target_"]))
    wanted = inspect.signature(target).parameters
    given = {name: value for name, value in context.items() if name in wanted and name not in node}
    try:
        part = instantiate(dict(node), _partial_=True, _convert_="all")
        return part(**given)  # by us: Hydra would build what the context holds too, such as a config for a tracker
    except Exception as error:  # Hydra wraps a constructor's own error, whose text is the clear one
        raise_for_memory(error)
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        text = str(cause) if isinstance(cause, ValueError) else f"{node['_target_']}: {type(cause).__name__}: {cause}"
        if "overflow" in text.lower():  # of a tensor's size
            whole = [f"{key}={value}" for key, value in {**node, **given}.items() if isinstance(value, int | list)]
            text = f"{node['_target_']}: its sizes are beyond the memory of any machine ({', '.join(whole)})"
        raise RequestError(" ".join(text.split())) from error


MODEL = (
    "encoder",
    "decoder",
    "posterior",
    "parametrization",
    "likelihood",
    "prior",
    "labels",
    "inference",
)  # its groups


def build_model(settings: Node, spec: Spec) -> VAE:
    """The model: the posterior says how much the encoder must give, the likelihood how much the decoder must."""
    common: dict[str, Any] = {"shape": list(spec.shape), "latent_dim": settings["latent_dim"]}
    posterior = build(settings["posterior"], **common)
    likelihood = build(settings["likelihood"], **common)
    labels = build(settings["labels"], classes=spec.labels)

    def part(name: str, **needed: Any) -> Callable[..., Any]:
        return lambda **told: build(settings[name], **{**common, **needed, **told})

    return VAE(
        encoder=labels.encoder(part("encoder", outputs=posterior.outputs), common["shape"]),
        parametrization=build(settings["parametrization"], **common),
        posterior=posterior,
        decoder=labels.decoder(part("decoder", arity=likelihood.arity), common["latent_dim"]),
        likelihood=likelihood,
        prior=labels.prior(build(settings["prior"], **common), common["latent_dim"]),
        inference=build(settings["inference"], **common, total_updates=updates_of(settings, spec)),
        log_units=spec.log_units,
    )


def build_objective(settings: Node, spec: Spec) -> Objective:
    """The objective of a run on such data."""
    common = {
        "latent_dim": settings["latent_dim"],
        "total_updates": updates_of(settings, spec),
        "examples": spec.sizes["train"],
    }
    bound, beta, rate = (build(settings[key], **common) for key in ("bound", "beta", "rate"))
    return Objective(bound, beta, rate, [build(node, **common) for node in parts(settings["regularizer"]).values()])


def updates_of(settings: Node, spec: Spec) -> int:
    """How many updates a run takes."""
    trainer = settings["trainer"]
    limits = trainer.get("max_epochs"), trainer.get("max_steps")
    return total_updates(*limits, batches_of(settings, spec), trainer.get("accumulate_grad_batches", 1))


def batches_of(settings: Node, spec: Spec) -> int:
    """How many batches an epoch has."""
    return max(1, spec.sizes["train"] // settings["batch_size"])


def spec_of(settings: Node) -> Spec:
    """The spec that a run has recorded in its config."""
    recorded = settings["spec"]
    units = float(recorded.get("log_units", 0.0))  # a config of before there were any has no such key
    return Spec(tuple(recorded["shape"]), recorded["kind"], dict(recorded["sizes"]), recorded["labels"], units)


def total_updates(max_epochs: int | None, max_steps: int | None, batches: int, accumulate: int) -> int:
    """How many updates a run takes at most, from the limits of its trainer and the batches of an epoch.

    Example:
        >>> total_updates(2, None, 10, 4)
        6
    """
    by_epochs = max_epochs * math.ceil(batches / accumulate) if max_epochs is not None and max_epochs >= 0 else None
    by_steps = max_steps if max_steps is not None and max_steps >= 0 else None
    limits = [limit for limit in (by_epochs, by_steps) if limit is not None]
    return min(limits) if limits else 20 * math.ceil(batches / accumulate)
