"""`vae-lab check --time` says how fast a run would train, and leaves nothing of it behind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import TINY, UNENDING, Lab

from vae_lab import compose, timing
from vae_lab.fitting import built
from vae_lab.request import request

CPU = {"threads": 1, "compile": False, "trainer": {"accelerator": "cpu"}}


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ROUNDS", 2)
    monkeypatch.setattr(timing, "SECONDS", 0.01)


@pytest.mark.parametrize(
    ("settings", "cores", "expected"),
    [
        (CPU, 1, [1]),
        (CPU, 2, [1, 2]),
        (CPU, 12, [1, 2, 4, 8, 12]),
        ({**CPU, "threads": 3}, 4, [1, 2, 3, 4]),
        ({**CPU, "threads": 3, "compile": True}, 4, [3]),
        ({**CPU, "threads": 2, "trainer": {"accelerator": "gpu"}}, 8, [2]),
    ],
)
def test_numbers_of_threads_that_are_tried(settings: dict[str, object], cores: int, expected: list[int]) -> None:
    assert timing.candidates(settings, cores) == expected


@pytest.mark.parametrize(
    ("found", "own", "several", "advised"),
    [
        ({1: 1.0, 2: 0.95, 4: 0.93}, 1, False, 1),  # a tenth is not worth another name
        ({1: 1.0, 2: 0.6, 4: 0.58}, 1, False, 2),
        ({1: 1.0, 2: 0.6, 4: 0.3}, 1, False, 4),
        ({1: 1.0, 2: 1.4, 4: 3.0}, 4, False, 1),
        ({1: 1.0, 2: 0.6, 4: 0.3}, 1, True, 1),  # two of one thread do more than one of two
        ({1: 1.0, 2: 0.6, 4: 0.3}, 4, True, 1),
        ({1: 1.0, 2: 0.4, 4: 0.3}, 1, True, 2),
    ],
)
def test_the_advice(found: dict[int, float], own: int, several: bool, advised: int) -> None:
    said = timing.advice(found, own, several)
    assert said.startswith(f"threads={advised} is ")
    assert (f"threads={own} is best" in said) == (advised == own)


def test_every_number_of_threads_has_its_turns(monkeypatch: pytest.MonkeyPatch, brief: None) -> None:
    asked = built(request(compose(*TINY)))
    before, used = torch.get_num_threads(), list[int]()
    monkeypatch.setattr(
        torch, "set_num_threads", lambda count, set_it=torch.set_num_threads: used.append(count) or set_it(count)
    )
    found = timing.timed(asked, [1, 2])
    assert used == [1, 2] * 3 + [before]
    assert torch.get_num_threads() == before
    assert sorted(found) == [1, 2]
    assert min(found.values()) > 0


def test_it_is_told_and_nothing_is_left(lab: Lab, in_tmp: Path, brief: None) -> None:
    said = lab("check", *TINY, "--time")
    assert (said.code, said.err) == (0, "")
    assert "12 updates" in said.out
    assert [line for line in said.out.splitlines() if line.startswith("threads=")]
    assert list(in_tmp.iterdir()) == []


def test_of_a_grid_the_longest_is_timed(lab: Lab, in_tmp: Path, brief: None) -> None:
    said = lab("check", "-m", *UNENDING, "trainer.max_steps=20,90,40", "--time")
    assert "3 runs: no mistake found\n" in said.out
    assert "90 updates" in said.out
    assert "seed=0, the longest of 3: timed for" in said.out


@pytest.mark.parametrize(("inference", "expected"), [("amortized", False), ("aggressive", True), ("two_stage", True)])
def test_an_inference_that_changes_its_steps_is_said_to(inference: str, expected: bool) -> None:
    assert timing.is_of_a_stage(request(compose(*TINY, f"inference={inference}"))) is expected


def test_several_processes_are_not_timed(lab: Lab, in_tmp: Path) -> None:
    said = lab("check", *TINY, "trainer.devices=2", "--time")
    assert said.code == 2
    assert "--time takes runs of one process; trainer.devices=2 given: set it to 1\n" in said.err
    assert "timed for" not in said.out


def test_data_that_are_bad_beyond_their_header_are_one_line(lab: Lab, in_tmp: Path) -> None:
    x = np.zeros((50, 4), np.float32)
    x[7, 2] = 3
    np.save(in_tmp / "x.npy", x)
    said = lab("check", "dataset=arrays", "dataset.path=x.npy", "dataset.kind=unit", "likelihood=gaussian", "--time")
    assert said.code == 2
    told = "x.npy: x has 3.0 in row 7 (of 1 such rows): dataset.kind=unit allows [0, 1]; rescale x, or use dataset.kind=real"
    assert said.err == f"vae-lab: {told}\n"


def test_a_search_has_no_run_to_time(lab: Lab, in_tmp: Path) -> None:
    said = lab("check", "-m", *TINY, "hydra/sweeper=optuna", "study.name=quest", "seed=0,1", "--time")
    assert said.code == 2
    assert said.err.endswith(
        "vae-lab: check: --time times a run, and a search has none before it begins; leave out -m\n"
    )
