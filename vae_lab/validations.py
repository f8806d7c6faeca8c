"""The updates at which a run validates, and what acts on that."""

from collections.abc import Iterator, Mapping
from typing import Any

from vae_lab.build import batches_of, updates_of
from vae_lab.data.dataset import Spec
from vae_lab.errors import RequestError
from vae_lab.options import option_name
from vae_lab.targets import Node, locate, targets


def validated_at(settings: Node, spec: Spec) -> list[int]:
    """The updates after which a run validates, in order: as Lightning places them."""
    trainer, batches, end = settings["trainer"], batches_of(settings, spec), updates_of(settings, spec)
    every, share = trainer.get("check_val_every_n_epoch", 1), trainer.get("accumulate_grad_batches", 1)
    if trainer.get("limit_val_batches") == 0:
        return []
    interval = trainer.get("val_check_interval") or 1.0
    step = interval if isinstance(interval, int) else max(1, int(batches * interval))
    an_epoch = -(-batches // share)  # updates
    found = []
    for epoch in range(-(-end // an_epoch)):
        first = epoch * batches  # batches before the epoch, which count where the whole run is counted
        if every is None:
            places = range(step - first % step, batches + 1, step)
        else:
            places = range(step, batches + 1, step) if (epoch + 1) % every == 0 else range(0)
        found += [epoch * an_epoch + (an_epoch if place == batches else place // share) for place in places]
    return [update for update in found if update <= end]


def check_watchers(settings: Node, spec: Spec) -> None:
    """Refuses what acts on validations in a run that has none."""
    watching = [f"{key}={option_name(key, node)}" for key, node, _ in watchers(settings)]
    watching += ["evaluation.checkpoint=best"] if settings["evaluation"].get("checkpoint") == "best" else []
    if watching and not validated_at(settings, spec):
        trainer, end = settings["trainer"], updates_of(settings, spec)
        keys = ("check_val_every_n_epoch", "val_check_interval", "limit_val_batches")
        given = ", ".join(f"trainer.{key}={trainer[key]}" for key in keys if trainer.get(key) is not None)
        epochs = f"{end} updates, {batches_of(settings, spec)} batches an epoch"
        raise RequestError(f"{watching[0]}: it acts on val/elbo, and this run is never validated ({given}; {epochs})")


def too_late(settings: Node, spec: Spec, since: int) -> list[str]:
    """A line for each part that can act only after more validations than a run has from update `since` on, before its end."""
    end = updates_of(settings, spec)
    counted = sum(since <= update < end for update in validated_at(settings, spec))
    return [
        f"{key}={option_name(key, node)} cannot act in this run: it needs {needed} validations before the end, and there are {counted}"
        for key, node, needed in watchers(settings)
        if needed > counted
    ]


def watchers(settings: Node) -> Iterator[tuple[str, Node, int]]:
    """The parts of a run that act on validations, and how many each needs at least, as its class says (`acts_after`)."""
    for key, node in targets(settings):
        acts_after = getattr(locate(key, str(node["_target_"])), "acts_after", None)
        if acts_after is not None:
            yield key, node, acts_after(**_settings(node))


def _settings(node: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in node.items() if key != "_target_"}
