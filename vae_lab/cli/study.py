"""`vae-lab study`: a plan, one multirun over what is not done, a report."""

import shlex
from pathlib import Path
from typing import Any

from vae_lab.amounts import counted, visible
from vae_lab.cli.runs import show_report
from vae_lab.cli.train import RETRY, multirun, summarise
from vae_lab.cli.words import only_shows, warn, without_flag

DRY = "--dry-run"


def study(argv: list[str]) -> int:
    from vae_lab import arguments
    from vae_lab import study as studies
    from vae_lab.errors import RequestError, listed

    argv, dry = without_flag(argv, DRY)
    argv, retry_failed = without_flag(argv, RETRY)
    asked = arguments.parse(argv)
    words = asked.overrides
    if not words or "=" in words[0]:
        raise RequestError(f"study: which one? There are {listed(studies.find_studies())}")
    if only_shows(asked) or asked.multirun:
        raise RequestError(f"study: takes overrides, --config-dir, {DRY} and {RETRY}, no other flag")
    flags = ["--config-dir", asked.config_dir] if asked.config_dir else []
    chosen = studies.read_study(words[0], asked.config_dir)
    given = arguments.launcher_chosen(words[1:])
    if arguments.is_search(given):
        raise RequestError(_search_instead(chosen.name, given, flags))
    command = [*flags, *chosen.command(given)]
    print(shlex.join(["vae-lab", "train", "-m", *command]), flush=True)

    from vae_lab import plan

    cells = plan.plan(chosen, given, asked.config_dir)

    from vae_lab import check, launching, progress, store  # Lightning takes seconds to import: the first line and what
    from vae_lab import report as reports  # is wrong come before it

    tasks = [cell.task for cell in cells]
    check.check_alone(task.request for task in tasks)
    launching.check_launcher(tasks[0].words, asked.config_dir)
    warn(task.request for task in tasks)
    if dry:
        print(visible("\n".join([*plan.described(cells, retry_failed), *_power(chosen, cells)])))
        return 0
    folder = tasks[0].path.parent
    with launching.unless_refused(folder / name for name in (store.PLAN, progress.LAUNCH, reports.PAGE)):
        content = plan.content_of(chosen, cells, command)
        plan.write_plan(folder, content)
        ended = _launch(folder, tasks, command, given, retry_failed, content)
    failed = summarise(tasks)
    show_report(folder, content)
    return int(failed or not ended)


def _launch(
    folder: Path, tasks: list[Any], command: list[str], given: list[str], retry_failed: bool, content: dict[str, Any]
) -> bool:
    """Runs what is not done, with a page that follows it; False if that was stopped before its end."""
    from vae_lab import grid, plan, progress, run
    from vae_lab import report as reports

    pending, runs = grid.to_do(tasks, retry_failed), {task.path: task for task in tasks}
    done = sum(run.is_done(task.request) for task in runs.values())
    print(_counts(len(runs), done, len(pending)), flush=True)
    if not pending:
        return True
    threads = pending[0].request.settings["threads"]
    jobs = plan.side_by_side(threads, len(pending))
    launcher = plan.launcher(jobs, given)
    if launcher:
        print(f"{jobs} side by side, {counted(threads, 'thread')} each: {' '.join(launcher)}", flush=True)
    progress.begin(folder, len(runs), [task.path.name for task in pending])
    print(f"live: {folder / reports.PAGE}", flush=True)
    with reports.live_page(folder, content):
        return multirun(["-m", *command, *launcher], tasks, retry_failed)


def _power(study: Any, cells: list[Any]) -> list[str]:
    """Says in a line which difference from the reference this design could show, before any of its runs; in none where
    nothing is compared."""
    from vae_lab.report.power import power_of

    facts, arms = study.content["study"], list(study.content["arms"])
    reference = facts.get("reference") or arms[0]
    controls = set(facts.get("controls") or [])
    runs: dict[str, list[str]] = {}
    of: dict[str, str] = {}
    for cell in cells:
        if cell.point.arm not in controls:
            runs.setdefault(cell.point.name, []).append(cell.directory.signature)
            of[cell.point.name] = cell.point.arm
    distinct = {tuple(sorted(names)): of[name] == reference for name, names in reversed(runs.items())}
    if all(distinct.values()) or not any(distinct.values()):
        return []
    fewest = min(len(set(names)) for names in runs.values())
    return [f"Power: {power_of(len(distinct), sum(distinct.values()), fewest)}"]


def _search_instead(name: str, given: list[str], flags: list[str]) -> str:
    import shlex

    sweeper = next(word for word in given if word.startswith("hydra/sweeper="))
    line = shlex.join(["vae-lab", "train", "-m", *flags, f"experiment={name}", *given])
    return f"{sweeper}: a study runs every point of its grid; a search in its settings is {line} ..."


def _counts(runs: int, done: int, pending: int) -> str:
    from vae_lab.plan import failed_before

    return f"{counted(runs, 'run')}, {done} done already{failed_before(runs - done - pending)}"
