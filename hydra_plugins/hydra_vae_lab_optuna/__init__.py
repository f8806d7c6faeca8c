"""The sweeper `hydra/sweeper=optuna`, where Hydra looks for plugins. Every Hydra application in the environment imports
this file, so that what it needs is imported when it is used."""

from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from vae_lab.search.study import Outcome


class OptunaSweeper(Sweeper):
    """Runs the points that Optuna chooses through whatever launcher there is.

    Its settings are those of `hydra.sweeper`, checked by `vae_lab.search`, which does the work.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from vae_lab.config import named_directories
        from vae_lab.search.sweep import sweep

        assert self.config is not None
        named = named_directories(self.config.hydra)
        told = [word for word in self.config.hydra.overrides.hydra if not word.startswith("hydra.mode=")]
        sweep(arguments, told, self.settings, named[0] if named else None, self._launch, _with_page)

    def _launch(self, batch: list[list[str]], first: int) -> "Sequence[Outcome]":
        assert self.launcher is not None
        try:
            jobs = self.launcher.launch(batch, initial_job_idx=first)
        except MemoryError as error:  # of the launcher's own part of a job
            raise BrokenExecutor("a worker was out of memory") from error
        return [_outcome(job) for job in jobs]


@contextmanager
def _with_page(folder: Path) -> Iterator[None]:
    """Keeps the page of a search up to date, and says where it is."""
    from vae_lab import report
    from vae_lab.report.reading import NoReport

    print(f"live: {folder / report.PAGE}", flush=True)
    with report.live_page(folder):
        yield
    with suppress(NoReport):  # there is no run where no trial made sense
        print(*report.write(folder), sep="\n", flush=True)


def _outcome(job: JobReturn) -> "Outcome":
    """What a job returned, or raised."""
    try:
        outcome: Outcome = job.return_value
    except MemoryError:  # of a run it would be a failure, which has a result: this is a lost job
        return BrokenExecutor("a worker was out of memory")
    except Exception as error:
        return error
    return outcome
