"""A checkpoint and a validation are due at the same update: a cut at either end of the validation loses neither."""

from pathlib import Path
from typing import Any

import pytest

from vae_lab import compose, train
from vae_lab.errors import RunFailed
from vae_lab.training.module import Training

WORDS = (
    "encoder.hidden=[8]",
    "decoder.hidden=[8]",
    "latent_dim=2",
    "trainer.max_steps=40",
    "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=5",
    "trainer.log_every_n_steps=5",
    "callbacks.checkpoint.every_n_updates=5",
    "scheduler=plateau",
    "scheduler.patience=1",
    "optimizer.lr=0.1",
    "evaluation.nll_samples=10",
    "evaluation.checkpoint=best",
    "evaluation.figures=false",
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # Lightning's advice


class Cut(Exception):
    """What ends a run in the middle."""


def run(folder: Path) -> tuple[dict[str, Any], str]:
    result = train(compose(*WORDS, f"runs_dir={folder}"), progress=False)
    (path,) = folder.glob("solo/*/metrics.csv")
    return result, path.read_text()


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    return run(tmp_path_factory.mktemp("uncut"))


@pytest.mark.parametrize("hook", ["on_validation_epoch_start", "on_validation_epoch_end"])
@pytest.mark.parametrize("at", [10, 20, 35])
def test_a_cut_at_either_end_of_a_validation_changes_nothing(
    hook: str, at: int, uncut: tuple[dict[str, Any], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(Training, hook)

    def cut(self: Training) -> None:
        if hook.endswith("start") and self.updates == at:
            raise Cut
        original(self)
        if self.updates == at:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Training, hook, cut)
        with pytest.raises(RunFailed, match="Cut"):
            run(tmp_path)
    result, history = run(tmp_path)
    assert result["metrics"] == uncut[0]["metrics"]
    assert history == uncut[1]
    assert result["timing"]["steps_run"] <= 40 + 5
