"""The commands that put a finished run to a use."""

from pathlib import Path


def use(name: str, argv: list[str]) -> int:
    """`vae-lab NAME RUN [option=value ...]`: prints the numbers, and where they and the pictures are."""
    from vae_lab import arguments
    from vae_lab.amounts import visible
    from vae_lab.cli.words import only_shows, say_aside
    from vae_lab.errors import RequestError
    from vae_lab.forms import written
    from vae_lab.lookup import RUNS, check_run, find_run
    from vae_lab.options import folders
    from vae_lab.settings import flatten
    from vae_lab.stages import Stages
    from vae_lab.use_options import use_node

    form = f"vae-lab {name} RUN [option=value ...]"
    asked = arguments.parse(argv)
    if only_shows(asked) or asked.multirun:
        raise RequestError(f"{name}: takes options and --config-dir, no other flag: {form}")
    runs = [word for word in asked.overrides if "=" not in word or Path(word).is_dir()]
    if len(runs) != 1:
        raise RequestError(f"{name}: {'which run?' if not runs else f'one run at a time, not {len(runs)}:'} {form}")
    options = arguments.plain_values([word for word in asked.overrides if word not in runs])
    run = find_run(runs[0], options.pop("runs_dir", RUNS))
    use_node(name, options, folders(asked.config_dir), written)
    check_run(run)

    from vae_lab import uses  # Lightning takes seconds to import: what is mistyped is said before that

    with Stages(say_aside, name) as stage:
        stage(f"at work on {runs[0]}")
        answer, paths = uses.use(name, run, options, asked.config_dir)
    for key, value in flatten(answer.numbers).items():
        shown = "n/a" if value is None else f"{value:.4g}" if isinstance(value, float) else value
        print(visible(f"{key:40} {shown}"))
    print(*paths, sep="\n")
    return 0


def known(argv: list[str]) -> dict[str, str]:
    """The uses that there are, with those of a folder of options of one's own, and what each is."""
    from vae_lab import places

    return places.uses(_named(argv))


def explain(name: str, argv: list[str]) -> int:
    """What a use is, and its options."""
    from vae_lab.catalog import catalog, print_catalog
    from vae_lab.places import USE

    print(f"vae-lab {name} RUN [option=value ...]")
    print_catalog([option for option in catalog(USE, _named(argv)) if option.name == name])
    return 0


def _named(argv: list[str]) -> tuple[str, ...]:
    """The folder of options of one's own, if one is given."""
    if not any(word.startswith("--config-dir") for word in argv):
        return ()
    from vae_lab import arguments, options

    return options.folders(arguments.parse(argv).config_dir)
