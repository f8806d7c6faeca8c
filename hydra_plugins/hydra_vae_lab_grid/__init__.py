"""The sweeper of the lab's own grids, where Hydra looks for plugins. Every Hydra application in the environment imports
this file, so that it imports nothing heavy. It is an option while a grid is handed over, and not for a person to choose."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Launches the points of a grid that were composed and checked already (see `vae_lab.grid`)."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        from vae_lab.config import SharingLoader

        shared: Any = SharingLoader(hydra_context.config_loader)
        hydra_context = replace(hydra_context, config_loader=shared)
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from vae_lab import grid
        from vae_lab.errors import RequestError

        if not grid.is_handed_over():
            raise RequestError(f"hydra/sweeper={grid.SWEEPER}: it runs what a grid hands over, and is not to be chosen")
        return grid.run_grid(self._launch)

    def _launch(self, points: Sequence[Sequence[str]], first: int) -> Sequence[Any]:
        assert self.launcher is not None
        return self.launcher.launch(points, initial_job_idx=first)
