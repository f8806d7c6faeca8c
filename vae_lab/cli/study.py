"""`vae-lab study`: a plan, one multirun over what is not done, a report."""

from typing import Any

from vae_lab.cli.runs import report
from vae_lab.cli.train import multirun, summarise
from vae_lab.cli.words import counted, only_shows, warn


def study(argv: list[str]) -> int:
    from vae_lab import config
    from vae_lab import report as reports
    from vae_lab import study as studies
    from vae_lab.errors import RequestError, listed

    dry = "--dry-run" in argv
    asked = config.parse_arguments([word for word in argv if word != "--dry-run"])
    words = asked.overrides
    if not words or "=" in words[0]:
        raise RequestError(f"study: which one? There are {listed(studies.find_studies())}")
    if only_shows(asked) or asked.multirun:
        raise RequestError("study: takes overrides, --config-dir and --dry-run, no other flag")
    flags = ["--config-dir", asked.config_dir] if asked.config_dir else []
    chosen = studies.read_study(words[0], asked.config_dir)
    command = chosen.command(words[1:])
    print(" ".join(["vae-lab train -m", *flags, *command]), flush=True)

    from vae_lab import plan, progress, run  # Lightning takes seconds to import: the first line comes before it

    cells = plan.plan(chosen, words[1:], asked.config_dir)
    warn(cell.request for cell in cells)
    if dry:
        _list_cells(cells)
        return 0
    folder = plan.write_plan(chosen, cells, command)
    requests = list({cell.request.directory.signature: cell.request for cell in cells}.values())
    pending = [request for request in requests if not run.is_done(request)]
    print(f"{counted(len(requests), 'run')}, {len(requests) - len(pending)} done already", flush=True)
    ended = True
    if pending:
        threads = pending[0].settings["threads"]
        jobs = plan.side_by_side(threads, len(pending))
        launcher = plan.launcher(jobs, words[1:])
        if launcher:
            print(f"{jobs} side by side, {counted(threads, 'thread')} each: {' '.join(launcher)}", flush=True)
        progress.begin(folder, len(requests), [request.directory.signature for request in pending])
        print(f"live: {folder / reports.PAGE}", flush=True)
        with reports.live(folder):
            ended = multirun(["-m", *flags, *command, *launcher])
    failed = summarise(requests)
    report([str(folder)])
    return int(failed or not ended)


def _list_cells(cells: list[Any]) -> None:
    for cell in cells:
        over = " ".join(f"{key}={value}" for key, value in cell.over.items())
        print(f"{cell.request.directory.signature}  {cell.request.directory.state():9}  {cell.point.name}  {over}")
    done = sum(cell.request.directory.state() == "completed" for cell in cells)
    print(f"{counted(len(cells), 'cell')}, {done} done")
