"""`vae-lab sweep-yaml`: a study as a W&B sweep, whose agents each run one `vae-lab train` after another."""

from typing import TYPE_CHECKING, Any

from vae_lab.amounts import counted
from vae_lab.cli.words import only_shows, warn

if TYPE_CHECKING:
    from vae_lab.study import Study

SWEEP = "sweep.yaml"
MODE = (
    "logger.mode=${oc.env:WANDB_MODE,online}"  # a sweep has a server, so its runs are online unless a person says else
)


def sweep_yaml(argv: list[str]) -> int:
    """Writes the sweep file of a study into the study's folder, and says what to type next."""
    import yaml

    from vae_lab import study as studies

    name, overrides, config_dir = _asked(argv)
    chosen = studies.read_study(name, config_dir)
    words = chosen.command(overrides)

    from vae_lab import plan
    from vae_lab.store import write_atomically

    cells = plan.plan(chosen, overrides, config_dir)
    warn(cell.task.request for cell in cells)
    folder = cells[0].directory.path.parent
    plan.write_plan(folder, plan.content_of(chosen, cells, words))
    file = folder / SWEEP
    write_atomically(file, yaml.safe_dump(_sweep(chosen, words, config_dir), sort_keys=False, width=120))
    print(f"{file}  {counted(len(cells), 'run')}\nwandb sweep {file}\nwandb agent SWEEP_ID")
    return 0


def _asked(argv: list[str]) -> tuple[str, list[str], str | None]:
    """The study, what a person overrides, and the folder of their options."""
    from vae_lab import arguments
    from vae_lab import study as studies
    from vae_lab.errors import RequestError, listed

    asked = arguments.parse(argv)
    name, *overrides = asked.overrides or [""]
    if not name or "=" in name:
        raise RequestError(f"sweep-yaml: which study? There are {listed(studies.find_studies())}")
    if only_shows(asked) or asked.multirun:
        raise RequestError("sweep-yaml: takes overrides and --config-dir, no other flag")
    for override in arguments.parse_overrides(overrides):
        if override.key_or_group.startswith(("hydra", "logger", "optimized_metric")):
            reason = "an agent's job is one run, tracked by W&B and compared by val/elbo"
            raise RequestError(f"sweep-yaml: {override.input_line}: not to be set here: {reason}")
    return name, overrides, asked.config_dir


def _sweep(chosen: "Study", words: list[str], config_dir: str | None) -> dict[str, Any]:
    """The content of the sweep file."""
    parameters, fixed = _parameters(words, {"arm", *chosen.over})
    flags = ["--config-dir", config_dir] if config_dir else []
    return {
        "name": chosen.name,
        "description": str(chosen.content["study"].get("question", "")),
        "project": "vae_lab",
        "program": "vae-lab",
        "command": ["${env}", "${program}", "train", *flags, *fixed, "${args_no_hyphens}", "logger=wandb", MODE],
        "method": "grid",
        "metric": {"name": "val/elbo", "goal": "maximize"},
        "parameters": parameters,
    }


def _parameters(words: list[str], crossed: set[str]) -> tuple[dict[str, Any], list[str]]:
    """What the sweep chooses, each with its values, and the words that are the same in every job."""
    from vae_lab import arguments

    parameters: dict[str, Any] = {}
    fixed = []
    for override in arguments.parse_overrides(words):
        word = override.input_line or ""
        if override.is_sweep_override() or override.key_or_group in crossed:
            key = word.partition("=")[0]
            values = [point[0].partition("=")[2] for point in arguments.expand([word])]
            parameters[key] = {"values": [_value(value) for value in values]}
        else:
            fixed.append(word)
    return parameters, fixed


def _value(text: str) -> Any:
    """A value such that W&B writes it back as it is on the command line: a number or a boolean, or else its text."""
    from vae_lab.yaml_text import value_of

    value = value_of(text)
    return value if isinstance(value, int | float) and str(value) == text else text
