"""What a run needs at the least, against what this machine has: amounts that no machine holds are refused, before anything
is allocated. The bounds are low on purpose, so that nothing is refused that could run."""

import math
import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib
import torch
from torch import nn

from vae_lab.amounts import counted
from vae_lab.data.spec import Spec
from vae_lab.errors import RequestError
from vae_lab.training.trainer import device_of, processes_of

_BYTES = 4  # of a float32
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check_room(settings: Mapping[str, Any], spec: Spec, model: nn.Module, draws: int) -> None:
    """Refuses a model, a batch or draws that this machine cannot hold.

    Arguments:
        model: built without memory. draws: of z for each example in training.

    Errors: `RequestError`, one line.
    """
    room = _room(settings)
    for what, needed in _needs(settings, spec, model, draws):
        if needed > room:
            raise RequestError(f"{what}, which needs at least {size(needed)} of memory; this machine has {size(room)}")


def check_workers(key: str, workers: int) -> None:
    """Refuses more threads or processes than a machine can start. More than there are cores are slow, and allowed."""
    most = max(256, 8 * joblib.cpu_count())
    if workers > most:
        here = counted(joblib.cpu_count(), "core")
        raise RequestError(f"{key}: {workers} given; must be at most {most} on this machine, which has {here}")


def _needs(settings: Mapping[str, Any], spec: Spec, model: nn.Module, draws: int) -> Iterator[tuple[str, int]]:
    """Parts of a request and the bytes that each needs: weights and gradients; an input, a code and the outputs of the
    linear layers for every example of a batch and every draw; the codes of a split."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    widths = [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]
    latents, batch = settings["latent_dim"], settings["batch_size"]
    evaluation = settings["evaluation"]
    shape = math.prod(spec.shape)
    yield f"latent_dim: {latents} given; one code has as many numbers", _BYTES * latents
    yield (
        f"the model has {parameters:,} parameters (latent_dim={latents}, and the widths of the networks)",
        (2 * _BYTES * parameters),
    )
    yield (
        f"batch_size: {batch} given; one batch of examples {spec.shape}",
        _BYTES * batch * (shape + sum(widths) + latents),
    )
    yield f"bound.samples: {draws} given; the draws of one example", _BYTES * draws * (latents + shape)
    yield (
        f"evaluation.elbo_samples: {evaluation['elbo_samples']} given; the draws of one example",
        (_BYTES * evaluation["elbo_samples"] * latents),
    )
    yield (
        f"evaluation.aggregate_samples: {evaluation['aggregate_samples']} given; the draws of the test split",
        (_BYTES * evaluation["aggregate_samples"] * spec.sizes["test"] * latents),
    )


def _room(settings: Mapping[str, Any]) -> int:
    """Bytes of memory that a process may have: of the GPU if the run is on one, else of the machine, its container, or
    its own limit, whichever is least."""
    if device_of(settings["trainer"]["accelerator"]).type == "cuda" and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limits += [
        int(text) for file in map(Path, _CGROUPS) if file.exists() and (text := file.read_text().strip()).isdigit()
    ]
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min([*limits, *([soft] if soft != resource.RLIM_INFINITY else [])])


def size(amount: float) -> str:
    """Bytes as a person says them.

    Example:
        >>> size(2_000), size(3.2e9), size(4e16)
        ('2 kB', '3.2 GB', '40000 TB')
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if amount >= scale:
            return f"{amount / scale:.3g} {unit}" if amount < 1000 * scale else f"{amount / scale:.0f} {unit}"
    return f"{amount / 1000:.3g} kB"


def check_processes(settings: Mapping[str, Any]) -> None:
    """Refuses threads and processes of one run that no machine could start."""
    check_workers("threads", settings["threads"])
    check_workers("trainer.devices", processes_of(settings["trainer"].get("devices", 1)))
