"""The commands that train nothing: `report`, `evaluate`, `options`."""

from vae_lab.cli.words import figures_of, only_shows


def report(argv: list[str]) -> int:
    from pathlib import Path

    from vae_lab import report as reports
    from vae_lab.errors import RequestError

    if not argv:
        raise RequestError("report: which folder? vae-lab report runs/STUDY")
    for word in argv:
        if not Path(word).is_dir():
            raise RequestError(f"report: {word} is no folder of runs")
        for folder in reports.study_folders(Path(word)):
            page, table = reports.write(folder)
            reports.print_table(folder)
            print(f"{page}\n{table}")
    return 0


def evaluate(argv: list[str]) -> int:
    from vae_lab import config, finished
    from vae_lab.errors import RequestError

    asked = config.parse_arguments(argv)
    run, *overrides = asked.overrides or [""]
    if not run or "=" in run:
        raise RequestError("evaluate: which run? vae-lab evaluate RUN [evaluation.nll_samples=5000]")
    if only_shows(asked) or asked.multirun:
        raise RequestError("evaluate: takes overrides and --config-dir, no other flag")
    result = finished.reevaluate(run, config.plain_values(overrides), asked.config_dir)
    print(f"{figures_of(result)}\n{run}")
    return 0


def options(argv: list[str]) -> int:
    from vae_lab.catalog import catalog, print_catalog
    from vae_lab.errors import RequestError

    if len(argv) > 1:
        raise RequestError(f"options: one group at a time, not {len(argv)}")
    print_catalog(catalog(*argv))
    return 0
