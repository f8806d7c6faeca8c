"""Which parts go together: what each declares, what the lab provides, and what is allowed yet worth a word."""

import joblib

from vae_lab.options import option_name
from vae_lab.targets import Node, locate, targets
from vae_lab.training.trainer import device_of, processes_of
from vae_lab.traits import Traits, traits_of

FREE = frozenset(
    {
        "unconstrained_rate",
        "pathwise_z",
        "free_parameters_of_q",
        "declared_scale",
        "rate_in_full",
        "shared_prior",
    }
)
"""What holds unless a component claims it: nobody holds the rate at a value of his own, the gradient at z
is the sum of what the loss sends there, the parameters of one example's q are nobody else's, the scale of the
likelihood is a setting or a parameter, the rate counts in full, all examples have one prior."""


def component_traits(settings: Node) -> list[tuple[str, Traits]]:
    """(name, traits) of every component whose class declares them, of the trainer, and of the lab itself."""
    found = [("the lab", Traits(provides=FREE))]
    for key, node in targets(settings):
        traits = traits_of(locate(key, str(node["_target_"])), {k: v for k, v in node.items() if k != "_target_"})
        if traits:
            found.append((f"{key.partition('.')[0]}={option_name(key, node)}", traits))
    accumulated = settings["trainer"].get("accumulate_grad_batches", 1)
    whole = Traits(provides=frozenset({"whole_batch"}))
    parts = Traits(forbids={"whole_batch": "gradient accumulation shows the loss only a part of it at a time"})
    found.append((f"trainer.accumulate_grad_batches={accumulated}", whole if accumulated == 1 else parts))
    several = Traits(provides=frozenset({"several_examples"}))
    alone = Traits(forbids={"several_examples": "it is an example at a time"})
    found.append((f"batch_size={settings['batch_size']}", several if settings["batch_size"] > 1 else alone))
    devices = settings["trainer"].get("devices", 1)
    undivided = Traits(provides=frozenset({"undivided_decoder"}))
    divided = Traits(
        needs={"unrecorded_step": "its processes talk to each other within a step"},
        forbids={"undivided_decoder": "each process decodes only its part of a batch"},
    )
    found.append((f"trainer.devices={devices}", undivided if processes_of(devices) == 1 else divided))
    precision = settings["trainer"].get("precision", "32-true")
    lost = (
        {"wide_gradients": "its gradients are scaled, or lose what is small"} if str(precision).startswith("16") else {}
    )
    lost |= {"wide_moments": "its squared gradients underflow in float16"} if precision == "16-true" else {}
    kept = frozenset({"wide_gradients", "wide_moments"}) - lost.keys()
    scaled = {"unrecorded_step": "its loss is scaled from outside"} if precision == "16-mixed" else {}
    found.append((f"trainer.precision={precision}", Traits(provides=kept, needs=scaled, forbids=lost)))
    plain = Traits(provides=frozenset({"unrecorded_step"}))
    recorded = Traits(forbids={"unrecorded_step": "a step is recorded once, and is ever after the same operations"})
    found.append(("compile=true", recorded) if settings["compile"] else ("compile=false", plain))
    return found


def cautions(settings: Node) -> list[str]:
    """What is allowed and yet to be known, one line each: a class may say it in `caution(settings)`, with the whole config
    given."""
    told = []
    for key, node in targets(settings):
        caution = getattr(locate(key, str(node["_target_"])), "caution", lambda _: None)(settings)
        told += [f"{key}={option_name(key, node)}: {caution}"] if caution else []
    return told + _crowded(settings) + _underflowing(settings)


def _underflowing(settings: Node) -> list[str]:
    """What Adam remembers, kept in float16."""
    if settings["trainer"].get("precision") != "16-true":
        return []
    return [
        "trainer.precision=16-true: squared gradients underflow in float16; 16-mixed and bf16-mixed keep them in float32"
    ]


def _crowded(settings: Node) -> list[str]:
    """Processes that wait for each other."""
    trainer, threads, cores = settings["trainer"], settings["threads"], joblib.cpu_count()
    devices = trainer.get("devices", 1)
    wanted = processes_of(devices) * threads
    if processes_of(devices) == 1 or wanted <= cores or device_of(trainer["accelerator"]).type != "cpu":
        return []
    return [f"trainer.devices={devices}: {wanted} threads in all will wait for each other on {cores} cores"]
