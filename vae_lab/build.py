"""From checked settings to objects. A constructor is given its settings, and whatever it asks for by name of what the lab
knows: the shape of x, the number of latents, the length of the run."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import nn
from torch.nn.parameter import is_lazy

from vae_lab.data.dataset import Spec
from vae_lab.errors import RequestError, place
from vae_lab.models import VAE
from vae_lab.objectives import Objective
from vae_lab.targets import HANDED, Node, locate, parts, raise_for_memory

FORMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "encoder": ("torch.nn.Module", ()),
    "decoder": ("torch.nn.Module", ()),
    "posterior": ("vae_lab.models.posteriors.Posterior", ("outputs", "noise_dim", "reparametrize")),
    "parametrization": ("torch.nn.Module", ()),
    "likelihood": ("torch.nn.Module", ("arity",)),
    "prior": ("torch.nn.Module", ()),
    "labels": ("vae_lab.models.labels.Ignored", ("encoder", "decoder", "prior")),
    "inference": ("vae_lab.training.inference.Amortized", ("step", "rate_weight", "validated", "facts", "settled")),
    "corruption": ("torch.nn.Module", ()),
    "bound": ("vae_lab.objectives.bounds.Bound", ("draws",)),
    "beta": ("vae_lab.objectives.beta.Weight", ("weights", "settled", "observe", "adaptive")),
    "rate": ("vae_lab.objectives.rate.Transform", ("target", "settled")),
    "regularizer": ("torch.nn.Module", ()),
}
"""What to derive a part from, all but `labels` a torch.nn.Module, and the attributes that the lab relies on."""


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
        where = f" ({place(cause)})" if place(cause) else ""
        text = f"{node['_target_']}: {type(cause).__name__}: {cause}{where}"
        if isinstance(cause, ValueError):
            text = str(cause)
        if "overflow" in text.lower():  # of a tensor's size
            whole = [f"{key}={value}" for key, value in {**node, **given}.items() if isinstance(value, int | list)]
            text = f"{node['_target_']}: its sizes are beyond the memory of any machine ({', '.join(whole)})"
        raise RequestError(" ".join(text.split())) from error


def build_part(group: str, node: Node, **context: Any) -> Any:
    """Builds a module of a group. Errors: `RequestError` where it is none, or lacks what the lab relies on."""
    part, (base, relied_on) = build(node, **context), FORMS[group]
    lacking = [name for name in relied_on if not hasattr(part, name)]
    if not isinstance(part, nn.Module) and group != "labels":
        raise RequestError(
            f"{group}: {node['_target_']} gives a {type(part).__name__}, no torch.nn.Module: derive it from {base}"
        )
    if lacking:
        raise RequestError(f"{group}: {node['_target_']} has no `{lacking[0]}`: derive it from {base}, or set it")
    for name, parameter in part.named_parameters() if isinstance(part, nn.Module) else ():
        if is_lazy(parameter):
            layer = part.get_submodule(name.rpartition(".")[0])
            raise RequestError(
                f"{group}: {node['_target_']} has a layer {type(layer).__name__} ({name}), whose size is unknown until it has "
                f"seen data: use {type(layer).__name__.removeprefix('Lazy')} with the sizes that the constructor is handed "
                f"({', '.join(HANDED.get(group, ()))})"
            )
    return part


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
    posterior = build_part("posterior", settings["posterior"], **common)
    likelihood = build_part("likelihood", settings["likelihood"], **common)
    labels = build_part("labels", settings["labels"], classes=spec.labels)

    def part(name: str, **needed: Any) -> Callable[..., Any]:
        return lambda **told: build_part(name, settings[name], **{**common, **needed, **told})

    return VAE(
        encoder=labels.encoder(part("encoder", outputs=posterior.outputs), common["shape"]),
        parametrization=build_part("parametrization", settings["parametrization"], **common),
        posterior=posterior,
        decoder=labels.decoder(part("decoder", arity=likelihood.arity), common["latent_dim"]),
        likelihood=likelihood,
        prior=labels.prior(build_part("prior", settings["prior"], **common), common["latent_dim"]),
        inference=build_part("inference", settings["inference"], **common, total_updates=updates_of(settings, spec)),
        log_units=spec.log_units,
    )


def build_objective(settings: Node, spec: Spec) -> Objective:
    """The objective of a run on such data."""
    common = {
        "latent_dim": settings["latent_dim"],
        "total_updates": updates_of(settings, spec),
        "examples": spec.sizes["train"],
    }
    bound, beta, rate = (build_part(key, settings[key], **common) for key in ("bound", "beta", "rate"))
    extra = [build_part("regularizer", node, **common) for node in parts(settings["regularizer"]).values()]
    return Objective(bound, beta, rate, extra)


def updates_of(settings: Node, spec: Spec) -> int:
    """How many updates a run takes."""
    trainer = settings["trainer"]
    limits = trainer.get("max_epochs"), trainer.get("max_steps")
    return total_updates(*limits, batches_of(settings, spec), trainer.get("accumulate_grad_batches", 1))


EPOCHS, UPDATES = 20, 3000
"""How long a run trains by itself: the ELBO of the digits on validation is within 0.3 nats of its best after 3,000 updates,
where 20 epochs of them are 180 updates, 3 nats below it."""


def with_end(settings: Node, spec: Spec) -> dict[str, Any]:
    """The settings with an end of the training, where none is given: 20 epochs, or as many as 3,000 updates take. It is
    written out, since a stored config without an end means 20 epochs: such runs keep their names."""
    trainer = settings["trainer"]
    steps = math.ceil(batches_of(settings, spec) / trainer.get("accumulate_grad_batches", 1))
    epochs = math.ceil(UPDATES / steps)
    is_open = trainer.get("max_epochs") is None and trainer.get("max_steps") is None
    return {**settings, "trainer": {**trainer, "max_epochs": epochs}} if is_open and epochs > EPOCHS else dict(settings)


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
    return min(limits) if limits else EPOCHS * math.ceil(batches / accumulate)
