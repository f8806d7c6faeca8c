"""The commands that train nothing: `report`, `evaluate`, `options`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from vae_lab.cli.words import figures_of, only_shows, say_aside


def report(argv: list[str]) -> int:
    from vae_lab import report as reports
    from vae_lab.errors import RequestError
    from vae_lab.lookup import find_run

    asked = _report_request(argv)
    if not asked.paths:
        raise RequestError("report: which folder? vae-lab report runs/STUDY")
    paths = [find_run(word) for word in asked.paths]
    for path in paths:
        if not path.is_dir():
            raise RequestError(f"report: {path} is no folder of runs")
    folders = [folder for path in paths for folder in reports.study_folders(path)]
    if asked.serve:
        from vae_lab.report.serve import serve

        serve(folders, asked.host, asked.port)
        return 0
    for folder in folders:
        show_report(folder)
    return 0


def show_report(folder: Path, plan: Mapping[str, Any] | None = None) -> None:
    """Writes the report on a folder, or on the cells of a launch's own plan in it, and prints its table."""
    from vae_lab import report as reports
    from vae_lab.stages import Stages

    with Stages(say_aside, "report") as stage:
        stage(f"reading the runs of {folder}")
        made = reports.build(folder, plan)
        stage(f"writing the page of {folder}")
        page, table = reports.write(folder, made)
    reports.print_table(folder, made)
    print(f"{page}\n{table}")


def _report_request(argv: list[str]) -> Any:
    """What `report` was asked: `paths`, `serve`, `host`, `port`."""
    import argparse

    from vae_lab.errors import RequestError, listed, nearest

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise RequestError(f"report: {message}")

    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--host", default=None)
    parser.add_argument("--port", type=int, default=None)
    asked, unknown = parser.parse_known_args(argv)
    flags = ("--serve", "--host", "--port")
    if unknown:
        raise RequestError(f"report: {unknown[0]}: no such flag; there are {listed(flags)}{nearest(unknown[0], flags)}")
    if not asked.serve and (asked.host, asked.port) != (None, None):
        raise RequestError("report: --host and --port say where to serve; they need --serve")
    if asked.port is not None and not 0 <= asked.port < 65536:
        raise RequestError(f"report: --port {asked.port}: a port is a number from 0 (any free one) to 65535")
    asked.host, asked.port = asked.host or "127.0.0.1", 8765 if asked.port is None else asked.port
    return asked


def evaluate(argv: list[str]) -> int:
    from vae_lab import arguments
    from vae_lab.errors import RequestError
    from vae_lab.forms import written
    from vae_lab.lookup import RUNS, check_run, find_run
    from vae_lab.options import folders
    from vae_lab.use_options import check_evaluation

    asked = arguments.parse(argv)
    run, *overrides = asked.overrides or [""]
    if not run or ("=" in run and not Path(run).is_dir()):
        raise RequestError("evaluate: which run? vae-lab evaluate RUN [evaluation.nll_samples=5000]")
    if only_shows(asked) or asked.multirun:
        raise RequestError("evaluate: takes overrides and --config-dir, no other flag")
    values = arguments.plain_values(overrides)
    path = find_run(run, values.pop("runs_dir", RUNS))
    check_evaluation(values, folders(asked.config_dir), written)
    check_run(path)

    from vae_lab import finished  # Lightning takes seconds to import: what is wrong is said before that

    result = finished.reevaluate(path, values, asked.config_dir)
    print(f"{figures_of(result)}\n{path}")
    return 0


def options(argv: list[str]) -> int:
    from vae_lab import arguments
    from vae_lab.catalog import catalog, print_catalog
    from vae_lab.errors import RequestError
    from vae_lab.options import folders

    asked = arguments.parse(argv)
    if only_shows(asked) or asked.multirun:
        raise RequestError("options: takes a group and --config-dir, no other flag")
    if len(asked.overrides) > 1:
        raise RequestError(f"options: one group at a time, not {len(asked.overrides)}")
    print_catalog(catalog(asked.overrides[0] if asked.overrides else None, folders(asked.config_dir)))
    return 0
