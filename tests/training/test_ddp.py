"""A run that several processes share gives the numbers of one process, whatever its objective makes of a batch."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import STUDY, TINY, UNENDING, finish, results, start, write_study

from vae_lab import compose, train
from vae_lab.build import build_model
from vae_lab.check import _check_parts
from vae_lab.cli import train as commands
from vae_lab.cli.study import study
from vae_lab.config import resolve
from vae_lab.errors import RequestError, RunFailed
from vae_lab.fitting import lightning_fit, make_trainer, prepared
from vae_lab.ranks import Other, ProcessLost
from vae_lab.request import Request, request
from vae_lab.training.history import HistoryLogger
from vae_lab.training.ledger import Ledger
from vae_lab.training.processes import ALONE, Alone, Ranks, joined

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

SMALL = (
    "latent_dim=4",
    "batch_size=50",
    "trainer.precision=64-true",
    "trainer.max_steps=12",
    "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=5",
    "trainer.log_every_n_steps=4",
    "callbacks.checkpoint.every_n_updates=6",
)
NARROW = ("encoder.hidden=[8]", "decoder.hidden=[8]")
CASES = {
    "free_bits": ("mitigation=free_bits",),
    "geco": ("beta=geco", "beta.speed=0.01"),
    "iwae": ("bound=iwae", "trainer.gradient_clip_val=0.5"),
    "batchnorm_mean": ("parametrization=batchnorm_mean", "optimizer=sgd"),
    "factor": ("regularizer=factor", "prior=mixture"),
    "aggressive": ("inference=aggressive", "inference.inner_steps=4", "inference.window=2"),
}
SLOW = {
    "accumulated": ("trainer.accumulate_grad_batches=2", "rate=free_bits", "rate.reduction=example"),
    "total_correlation": ("regularizer=total_correlation",),
    "the_others": ("regularizer=[mmd,dip,mutual_posterior]",),
    "du": ("parametrization=du", "corruption=salt_and_pepper"),
    "dreg": ("bound=dreg",),
    "piwae": ("bound=piwae",),
    "hinge": ("rate=hinge", "rate.nats=5"),
    "pi": ("beta=pi", "beta.nats=3"),
    "two_stage": ("inference=two_stage", "inference.pretrain=4"),
    "plateau": ("scheduler=plateau", "scheduler.patience=1", "callbacks=early_stopping"),
    "gaussian": ("dataset.binarization=none", "likelihood=gaussian_shared"),
    "pixelcnn": ("encoder=conv", "decoder=pixelcnn", "decoder.channels=8"),
}


def asked(folder: Path, *words: str, sizes: tuple[int, ...] = (1, 2)) -> list[Request]:
    """The same run on so many processes."""
    cfg, found = compose(*SMALL, *(() if "encoder=conv" in words else NARROW), *words), []
    for size in sizes:
        cfg.runs_dir, cfg.trainer.devices = str(folder / str(size)), size
        found.append(request(cfg))
    return found


def take_part(ask: Request, rank: int, processes: Alone, resume: str | None = None) -> None:
    """Trains as one process of a run does."""
    module = prepared(ask, bool(resume), processes=processes)
    ask.directory.path.mkdir(parents=True, exist_ok=True)
    loggers = [HistoryLogger(ask.directory.path / "metrics.csv")] if rank == 0 else []
    lightning_fit(make_trainer(ask, loggers, False, rank), module, ask, resume)


def _rank(ask: Request, rank: int, size: int, store: Path, over: Any) -> None:
    with joined(store, rank, size, torch.device("cpu")) as ranks:
        take_part(ask, rank, ranks)
        if rank == 0:
            over.set()
        over.wait()


def share(ask: Request, size: int, store: Path) -> None:
    """Trains in real processes; forked, since importing Lightning takes seconds."""
    ways = multiprocessing.get_context("fork")
    over = ways.Event()
    processes = [ways.Process(target=_rank, args=(ask, rank, size, store, over)) for rank in range(size)]
    for process in processes:
        process.start()
    processes[0].join(300)
    for process in processes[1:]:
        process.kill()
        process.join()
    assert processes[0].exitcode == 0


def left(ask: Request) -> tuple[dict[tuple[int, str], float], dict[str, torch.Tensor]]:
    """Every logged figure of a run, and its last weights."""
    rows = {(step, name): value for step, _, name, value in ask.directory.history()}
    state = torch.load(ask.directory.path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return rows, state


def files(ask: Request) -> set[str]:
    """What lies in a run's directory."""
    return {str(path.relative_to(ask.directory.path)) for path in ask.directory.path.rglob("*")}


def assert_same(one: Request, other: Request, tolerance: float) -> None:
    (figures, weights), (others, other_weights) = left(one), left(other)
    assert figures.keys() == others.keys()
    assert any(name == "val/elbo" for _, name in figures)
    for key, value in figures.items():
        assert others[key] == pytest.approx(value, rel=tolerance, abs=tolerance, nan_ok=True), key
    torch.testing.assert_close(other_weights, weights, rtol=tolerance, atol=tolerance)
    assert files(one) == files(other)  # the others wrote nothing


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_two_processes_give_the_figures_of_one(case: str, tmp_path: Path) -> None:
    """In double precision, so that nothing but the order of sums can differ."""
    words = (CASES | SLOW)[case]
    alone, shared = asked(tmp_path, *words)
    take_part(alone, 0, ALONE)
    share(shared, 2, tmp_path / "store")
    assert_same(alone, shared, 1e-9)


def test_parts_may_be_of_unequal_size(tmp_path: Path) -> None:
    """50 examples for 3 processes; free bits, with a second prior and in single precision."""
    words = ("mitigation=free_bits", "trainer.precision=32-true", "prior=mixture", "rate.granularity=total")
    alone, shared = asked(tmp_path, *words, sizes=(1, 3))
    take_part(alone, 0, ALONE)
    share(shared, 3, tmp_path / "store")
    assert_same(alone, shared, 1e-5)


def test_a_checkpoint_of_two_processes_goes_on_with_one(tmp_path: Path) -> None:
    alone, shared = asked(tmp_path, "beta=geco")
    take_part(alone, 0, ALONE)
    cut = replace(shared, settings={**shared.settings, "trainer": {**shared.settings["trainer"], "max_steps": 6}})
    share(cut, 2, tmp_path / "store")
    (gone_on,) = asked(tmp_path / "gone_on", "beta=geco", sizes=(1,))
    take_part(gone_on, 0, ALONE, str(cut.directory.path / "checkpoints" / "last.ckpt"))
    torch.testing.assert_close(left(gone_on)[1], left(alone)[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("examples", "size"), [(50, 3), (4, 4), (7, 2), (128, 5)])
def test_the_parts_of_a_batch_are_the_batch(examples: int, size: int) -> None:
    batch = torch.arange(examples)
    parts = [Ranks(rank, size).part(batch, 0) for rank in range(size)]
    assert torch.equal(torch.cat(parts), batch)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


# ---- the whole of it: processes that the first one starts

LINEAR = [*UNENDING, "callbacks.checkpoint.every_n_updates=20", "mitigation=free_bits"]


def other_ranks(pid: int) -> list[int]:
    """The processes that a process has started to share its run."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            words = Path(f"/proc/{child}/cmdline").read_bytes()
            found += [child] if b"vae_lab.other_rank" in words else []
    return found


def updates_of(folder: Path) -> int:
    ledgers = list(folder.glob("**/.ledger"))
    return Ledger(ledgers[0]).updates if ledgers else 0


def kill_once(folder: Path, updates: int, victim: Callable[[], list[int]]) -> None:
    """Kills a process once its run has taken so many updates."""
    deadline = time.monotonic() + 240
    while updates_of(folder) < updates and time.monotonic() < deadline:
        time.sleep(0.002)
    for pid in victim():
        os.kill(pid, signal.SIGKILL)


def assert_close(metrics: dict[str, Any], expected: dict[str, Any]) -> None:
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def cut(cfg: Any, updates: int) -> None:
    """Trains in Python, where there is no command line to start again, and kills the other process on the way."""
    folder = Path(cfg.runs_dir)
    killer = threading.Thread(target=kill_once, args=(folder, updates, lambda: other_ranks(os.getpid())))
    killer.start()
    with pytest.raises(RunFailed, match="process 1 of 2 was ended by SIGKILL; the same command goes on"):
        train(cfg, progress=False)
    killer.join()
    assert updates <= updates_of(folder) < cfg.trainer.max_steps
    assert not other_ranks(os.getpid())
    assert list(folder.glob("*/*/checkpoints/last.ckpt"))


def test_a_run_whose_other_process_is_killed_ends(tmp_path: Path) -> None:
    cut(compose(*LINEAR, "trainer=ddp", "trainer.max_steps=2000", f"runs_dir={tmp_path}"), 25)


@pytest.mark.slow
def test_a_run_whose_other_process_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    words = (*LINEAR, "trainer.max_steps=400")
    cfg = compose(*words, "trainer=ddp", f"runs_dir={tmp_path}")
    cut(cfg, 50)
    result = train(cfg, progress=False)
    assert result["timing"]["attempts"] == 2
    assert 400 <= result["timing"]["steps_run"] <= 400 + 20
    assert not other_ranks(os.getpid())
    alone = train(compose(*words, f"runs_dir={tmp_path / 'one'}"), progress=False)
    assert_close(result["metrics"], alone["metrics"])
    assert result["signature"] != alone["signature"]


@pytest.mark.slow
def test_the_command_line_gives_the_numbers_of_one_process(tmp_path: Path) -> None:
    short = [*LINEAR, "trainer.max_steps=60"]
    two, one = (finish(start(tmp_path, "train", *short, trainer)) for trainer in ("trainer=ddp", "trainer=cpu"))
    assert (two.code, one.code) == (0, 0), two.err
    assert len(two.out.splitlines()) == 3  # one process speaks
    found = {found["settings"]["trainer"]["devices"]: found for found in results(tmp_path).values()}
    assert_close(found[2]["metrics"], found[1]["metrics"])
    again = finish(start(tmp_path, "train", *short, "trainer=ddp"))
    assert again.out.splitlines()[-1] == two.out.splitlines()[-1]
    assert results(tmp_path)[found[2]["signature"]] == found[2]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_others_end_with_the_first(how: int, code: int, tmp_path: Path) -> None:
    long = [*LINEAR, "trainer=ddp", "trainer.max_steps=100000"]
    process = start(tmp_path, "train", *long)
    kill_once(tmp_path, 50, list)
    others = other_ranks(process.pid)
    assert len(others) == 1
    process.send_signal(how)
    assert finish(process).code == code
    deadline = time.monotonic() + 60
    while Path(f"/proc/{others[0]}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert list(tmp_path.glob("**/last.ckpt"))


@pytest.mark.slow
def test_a_process_that_cannot_begin_is_said(tmp_path: Path) -> None:
    other = Other(1, 2, tmp_path / "nowhere", tmp_path / "store", False)
    with pytest.raises(ProcessLost, match=r"process 1 of 2 ended with code 1: FileNotFoundError.*nowhere/config.yaml"):
        other.wait_until_ready()
    other.end()


@pytest.mark.slow
def test_a_first_process_that_waits_for_a_dead_one_is_ended(tmp_path: Path) -> None:
    script = """
import time
from pathlib import Path
from vae_lab import ranks
ranks.PATIENCE = 1.0
if __name__ == "__main__":
    with ranks._watched([ranks.Other(1, 2, Path("nowhere"), Path("store"), False)]):
        time.sleep(900)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 1
    assert "process 1 of 2 ended with code 1" in ended.stderr


# ---- what is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["batch_size=1"], r"^trainer.devices: 2 given; a batch of 1 examples has parts for 1 at most$"),
        (["trainer.devices=0"], r"^trainer.devices: 0 given; .*at least 1"),
        (["trainer.accelerator=gpu", "trainer.devices=99"], r"^trainer\.(accelerator: gpu|devices: 99) given; .* GPU"),
        (["+trainer.max_time=00:00:01:00"], r"^trainer.max_time: .* use trainer.max_steps$"),
        (["+trainer.strategy=ddp"], r"^trainer.strategy: not to be set here: trainer.devices says how many"),
        (["inference=semi_amortized"], r"semi_amortized does not go with trainer.devices=2: .* decodes only its part"),
        (
            ["dataset.binarization=none", "likelihood=gaussian_optimal"],
            r"gaussian_optimal does not go with trainer.devices=2: its variance .* decodes only its part of a batch$",
        ),
    ],
)
def test_what_processes_cannot_share_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        request(compose("trainer=ddp", *words))


def test_more_processes_than_cores_are_said() -> None:
    (said,) = request(compose("trainer=ddp", "trainer.devices=100")).cautions
    assert said.startswith("trainer.devices=100: 100 threads in all will wait for each other on ")


def test_a_layer_that_looks_at_a_batch_is_refused() -> None:
    settings = resolve(compose("trainer=ddp"))
    model = build_model(settings, request(compose()).dataset.spec())
    _check_parts(settings, model)
    model.encoder.add_module("last", torch.nn.BatchNorm1d(3))
    with pytest.raises(RequestError, match="encoder has a layer BatchNorm1d, which normalises over the batch"):
        _check_parts(settings, model)


@pytest.mark.parametrize("command", [commands.train, commands.check])
def test_grids_are_refused_with_advice(command: Callable[[list[str]], int], in_tmp: Path) -> None:
    with pytest.raises(RequestError, match=r"side by side, a process each; .* vae-lab train trainer=ddp without -m"):
        command(["-m", *TINY, "seed=0,1", "trainer=ddp"])
    assert not list(in_tmp.iterdir())


def test_studies_are_refused_with_advice(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(in_tmp, "small", STUDY.replace(", beta.end: [1.0, 0.5]", ""))
    with pytest.raises(RequestError, match="several processes are for one big run"):
        study(["small", "trainer=ddp"])
    assert not (in_tmp / "runs").exists()
