"""The index says what the run directories say, whatever was done to them, or to it, since the last call."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from vae_lab import index, results
from vae_lab.claim import claim
from vae_lab.index import INDEX
from vae_lab.metrics import reported
from vae_lab.report.reading import read
from vae_lab.settings import flatten
from vae_lab.store import Damaged, RunDirectory, find_runs

SETTINGS = {
    "seed": 0,
    "latent_dim": 16,
    "study": {"name": "made_up", "arm": "vanilla"},
    "encoder": {"_target_": "vae_lab.models.encoders.MLPEncoder", "hidden": [200, 200]},
    "regularizer": {},
    "overrides": ["seed=0"],
}


def content(status: str = "completed", seed: int = 0, nll: float = 23.5) -> dict[str, Any]:
    return {
        "signature": "?",
        "status": status,
        "metrics": {"test/nll": nll, "test/elbo": -nll, "test/rate": None} if status == "completed" else {},
        "evaluation": {"hash": "e", "settings": {}},
        "settings": SETTINGS | {"seed": seed},
        "environment": {"vae_lab": "0.1.0", "commit": "abc1234"},
        "timing": {"seconds_fit": 1.5, "steps": 12},
    } | ({"error": "RuntimeError: it broke\nhere"} if status == "failed" else {})


def write(run: Path, status: str = "completed", seed: int = 0, nll: float = 23.5) -> Path:
    """A run's directory; `cut` is a run that has no result yet."""
    run.mkdir(parents=True, exist_ok=True)
    (run / ".ledger").write_text("")
    (run / "config.yaml").write_text(yaml.safe_dump(SETTINGS | {"seed": seed}))
    if status == "cut":
        (run / "result.json").unlink(missing_ok=True)
    else:
        (run / "result.json").write_text(json.dumps(content(status, seed, nll)))
    return run


def truth(folder: Path) -> list[dict[str, Any]]:
    """What the files say, read without the index."""
    rows = []
    for run in find_runs(folder):
        try:
            result = run.result() or {}
        except Damaged:
            result = {}
        settings = flatten(result.get("settings") or yaml.safe_load((run.path / "config.yaml").read_text()) or {})
        study, arm, seed = (settings.pop(key, None) for key in ("study.name", "study.arm", "seed"))
        made = result.get("environment", {})
        rows.append(
            {
                "signature": run.signature,
                "study": study,
                "arm": arm,
                "seed": seed,
                "state": run.state(),
                "path": str(run.path),
                "version": made.get("vae_lab"),
                "commit": made.get("commit"),
                "error": result["error"].splitlines()[0] if "error" in result else None,
                **result.get("metrics", {}),
                **flatten(result.get("timing", {}), "timing."),
                **settings,
            }
        )
    return rows


def assert_true(folder: Path) -> None:
    assert index.rows(folder) == truth(folder)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the files grow old enough to be remembered, in less time than the index takes by itself."""
    monkeypatch.setattr(index, "YOUNG", 30_000_000)
    return lambda: time.sleep(0.04)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that the index did not remember."""
    names: list[str] = []
    read = index._read
    monkeypatch.setattr(index, "_read", lambda run: names.append(run.signature) or read(run))
    return names


class Tree:
    """A folder of runs and what may happen to it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random, self.count = folder, random.Random(seed), 0

    @property
    def runs(self) -> list[Path]:
        return [run.path for run in find_runs(self.folder)]

    def some(self) -> Path:
        return self.random.choice(self.runs or [self.add()])

    def fresh(self) -> Path:
        self.count += 1
        return self.folder / self.random.choice(["a", "b", "b/deeper", "."]) / f"run{self.count}"

    def nll(self) -> float:
        return self.random.randint(100, 999) / 10  # every number has as many digits, and so every file its size

    def add(self) -> Path:
        return write(self.fresh(), self.random.choice(["completed", "failed", "cut"]), self.count, self.nll())

    def begin_or_end(self) -> None:
        write(self.some(), self.random.choice(["completed", "failed", "cut"]), nll=self.nll())

    def rewrite(self) -> None:
        write(self.some(), nll=self.nll())

    def rewrite_and_hide_it(self) -> None:
        """With the same size and the same time, as a copy or an editor may leave it."""
        file = self.some() / "result.json"
        if file.exists():
            before, text = file.stat(), file.read_text()
            file.write_text(re.sub(r'"test/nll": [0-9.]{4}', f'"test/nll": {self.nll()}', text))
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def replace(self) -> None:
        run = self.some()
        (run / "new").write_text(json.dumps(content(nll=self.nll())))
        os.replace(run / "new", run / "result.json")

    def damage(self) -> None:
        (self.some() / "result.json").write_text(self.random.choice(['{"signature": ', "[]", "\0", ""]))

    def edit_config(self) -> None:
        run = write(self.some(), "cut")
        (run / "config.yaml").write_text(yaml.safe_dump({"seed": self.random.randint(0, 9), "rate": {"nats": 0.5}}))

    def delete(self) -> None:
        shutil.rmtree(self.some())

    def move(self) -> None:
        target = self.fresh()
        target.parent.mkdir(parents=True, exist_ok=True)
        self.some().rename(target)

    def swap(self) -> None:
        one, other = self.some(), self.some()
        if one != other:
            one.rename(self.folder / "aside")
            other.rename(one)
            (self.folder / "aside").rename(other)

    def copy(self) -> None:
        shutil.copytree(self.some(), self.fresh())

    def lose_the_index(self) -> None:
        (self.folder / INDEX).unlink(missing_ok=True)

    def spoil_the_index(self) -> None:
        spoil(self.folder / INDEX, self.random)


def spoil(file: Path, rng: random.Random) -> None:
    """Flips bytes of a file, or cuts it."""
    if not file.is_file():
        return
    data = bytearray(file.read_bytes())
    for _ in range(rng.choice([1, 5, 200])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data[: rng.choice([None, rng.randrange(len(data))])])


EVENTS = [
    name for name, value in vars(Tree).items() if callable(value) and name not in ("__init__", "some", "fresh", "nll")
]


@pytest.mark.parametrize("seed", range(3))
def test_the_index_says_what_the_files_say_after_anything(
    seed: int, tmp_path: Path, soon: Callable[[], None], reads: list[str]
) -> None:
    tree = Tree(tmp_path, seed)
    for _ in range(5):
        tree.add()
    remembered = 0
    for _ in range(60):
        getattr(tree, tree.random.choice(EVENTS))()
        tree.random.choice([soon, lambda: None])()
        reads.clear()
        assert_true(tmp_path)
        remembered += len(tree.runs) - len(reads)
    assert remembered > 100


def test_a_file_changed_at_once_is_seen(tmp_path: Path) -> None:
    """In place, with the same size, and within one tick of the file system's clock: nothing but its content tells."""
    file, end, nll, told_by_nothing = write(tmp_path / "a") / "result.json", time.monotonic() + 2, 100, 0
    while told_by_nothing < 3 and time.monotonic() < end:
        index.rows(tmp_path)
        before, nll = file.stat(), 100 + (nll - 99) % 900
        with open(file, "r+") as opened:
            opened.write(json.dumps(content(nll=nll / 10)))
        told_by_nothing += file.stat().st_ctime_ns == before.st_ctime_ns
        assert index.rows(tmp_path)[0]["test/nll"] == nll / 10


def test_what_is_young_is_read_again(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a")
    monkeypatch.setattr(index, "YOUNG", 1000 * index.YOUNG)
    index.rows(tmp_path)
    index.rows(tmp_path)
    assert reads == ["a", "a"]
    assert not (tmp_path / INDEX).exists()


def test_only_what_changed_is_read(tmp_path: Path, soon: Callable[[], None], reads: list[str]) -> None:
    for i in range(20):
        write(tmp_path / "study" / f"r{i}", ["completed", "failed", "cut"][i % 3], i)
    soon()
    index.rows(tmp_path)
    assert len(reads) == 20
    reads.clear()
    write(tmp_path / "study" / "r5", seed=7)
    (tmp_path / "study" / "r6").rename(tmp_path / "study" / "moved")
    soon()
    assert_true(tmp_path)
    assert sorted(reads) == ["moved", "r5"]
    reads.clear()
    assert_true(tmp_path)
    assert reads == []


def test_what_is_damaged_is_read_once_and_what_cannot_be_read_at_every_call(
    tmp_path: Path, soon: Callable[[], None], reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("damaged", "unreadable"):
        (write(tmp_path / name) / "result.json").write_text("{")
    soon()

    def read_text(path: Path, *given: Any, **named: Any) -> str:
        if path.parent.name == "unreadable":
            raise OSError(5, "Input/output error")  # no folder here can be made to give one
        return whole(path, *given, **named)

    whole = Path.read_text
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", read_text)
        for _ in range(2):
            assert [row["state"] for row in index.rows(tmp_path)] == ["damaged", "damaged"]
    assert reads == ["damaged", "unreadable", "unreadable"]
    write(tmp_path / "unreadable")
    assert [row["state"] for row in index.rows(tmp_path)] == ["damaged", "completed"]


def test_rows_are_the_same_by_whatever_way_the_folder_is_named(in_tmp: Path, soon: Callable[[], None]) -> None:
    write(in_tmp / "runs" / "s" / "a")
    soon()
    for _ in range(2):
        for name in (".", "runs", "./runs/", "runs/s", "runs/s/a", str(in_tmp), "runs/../runs"):
            assert_true(Path(name))
            assert results(name) == [{**dict.fromkeys(reported()), **row} for row in index.rows(Path(name))]
    assert index.rows(Path("nowhere")) == []


def test_no_index_is_left_where_there_are_no_runs_or_one(tmp_path: Path, soon: Callable[[], None]) -> None:
    write(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    soon()
    index.rows(tmp_path / "a")
    index.rows(tmp_path / "empty")
    assert not list(tmp_path.rglob(INDEX))
    index.rows(tmp_path)
    assert list(tmp_path.rglob(INDEX)) == [tmp_path / INDEX]


def test_code_that_reads_otherwise_reads_again(
    tmp_path: Path, soon: Callable[[], None], reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a")
    soon()
    for code in (1, 1, 2):
        monkeypatch.setattr(index, "_code", lambda code=code: code)
        index.rows(tmp_path)
    assert reads == ["a", "a"]


FRESH = """
import sys
from pathlib import Path
from vae_lab import index
index.YOUNG = 0
print(index.__file__, sorted(index.rows(Path(sys.argv[1]))[0]))
"""


def test_a_change_of_any_code_that_a_row_is_made_by_is_noticed(tmp_path: Path) -> None:
    """What one version of the lab has remembered, read by another one."""
    shutil.copytree(Path(index.__file__).parent, tmp_path / "lab" / "vae_lab", ignore=lambda _, names: {"__pycache__"})
    write(tmp_path / "runs" / "a")

    def keys() -> str:
        return subprocess.run(
            [sys.executable, "-B", "-c", FRESH, str(tmp_path / "runs")],
            cwd=tmp_path / "lab",  # which comes first on its path
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert f"{tmp_path}" in keys()
    assert (tmp_path / "runs" / INDEX).exists()
    settings = tmp_path / "lab" / "vae_lab" / "settings.py"
    settings.write_text(settings.read_text().replace("{key}.", "{key}/"))
    assert "encoder/hidden" in keys()


@pytest.mark.parametrize("is_held", [False, True])
@pytest.mark.parametrize("status", ["completed", "failed", "damaged", "cut"])
def test_the_table_the_index_and_the_report_tell_one_state(status: str, is_held: bool, tmp_path: Path) -> None:
    run = write(tmp_path / "a", "completed" if status == "damaged" else status)
    if status == "damaged":
        (run / "result.json").write_text("{")
    with claim(run) if is_held else contextlib.nullcontext():
        told = RunDirectory(run).state(), index.rows(tmp_path)[0]["state"], read(tmp_path).rows[0].status
    assert set(told) == {"running" if is_held and status != "completed" else status}


CONFIGS = {
    "a date": "seed: 0\nday: 2026-11-22\n",
    "keys that are no text": "{1: {2: 3}, null: 4, [1, 2]: 5}",
    "a ring": "&a {seed: 1, again: *a}",
    "no mapping": "- 1\n- 2\n",
    "no YAML": "a: [",
    "bytes": "a: !!binary AAEC\nb: !!set {x, y}\n",
    "nothing": "",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_an_odd_config_is_a_row_all_the_same(name: str, tmp_path: Path, soon: Callable[[], None]) -> None:
    write(tmp_path / "a", "cut")
    (tmp_path / "a" / "config.yaml").write_text(CONFIGS[name])
    soon()
    first, again = index.rows(tmp_path), index.rows(tmp_path)
    assert first == again
    assert first[0]["state"] == "cut"


ODD_RESULTS = [
    {"environment": None},
    {"environment": [1], "error": 3},
    {"settings": {"study": None}},
    {"settings": {"study": "x", "state": "y", "path": 1}},
    {"status": "completed", "metrics": {"test/nll": "low", "a": {"b": 1}}},
    {"settings": {"name": "\ud800 \u2028 line\nbreak"}},
]


@pytest.mark.parametrize("change", ODD_RESULTS, ids=repr)
def test_an_odd_result_is_a_row_all_the_same(change: dict[str, Any], tmp_path: Path, soon: Callable[[], None]) -> None:
    (write(tmp_path / "a") / "result.json").write_text(json.dumps(content() | change))
    soon()
    first, again = index.rows(tmp_path), index.rows(tmp_path)
    assert first == again
    assert first[0]["signature"] == "a"


HOLD = """
import sys, time
from pathlib import Path
from vae_lab.claim import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("status", ["failed", "cut"])
def test_running_is_never_remembered(status: str, tmp_path: Path, soon: Callable[[], None]) -> None:
    run = write(tmp_path / "a", status)
    soon()
    assert [index.rows(tmp_path)[0]["state"] for _ in range(2)] == [status] * 2
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert [index.rows(tmp_path)[0]["state"] for _ in range(2)] == ["running"] * 2
        holder.kill()
    assert [index.rows(tmp_path)[0]["state"] for _ in range(2)] == [status] * 2


BAD_INDEXES: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "no database": lambda file: file.write_bytes(b"not a database" * 1000),
    "cut": lambda file: os.truncate(file, 5000),
    "of another make": lambda file: other_schema(file),
}


def other_schema(file: Path) -> None:
    import sqlite3

    file.unlink()
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE runs (something INTEGER)")
    db.close()


@pytest.mark.parametrize("damage", BAD_INDEXES)
def test_a_bad_index_is_made_again(
    damage: str, tmp_path: Path, soon: Callable[[], None], reads: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    for i in range(10):
        write(tmp_path / f"r{i}", seed=i)
    soon()
    index.rows(tmp_path)
    BAD_INDEXES[damage](tmp_path / INDEX)
    assert_true(tmp_path)
    index.rows(tmp_path)
    reads.clear()
    assert_true(tmp_path)
    assert reads == []
    assert capfd.readouterr() == ("", "")


def test_no_flipped_bit_gets_into_a_row(tmp_path: Path, soon: Callable[[], None]) -> None:
    for i in range(10):
        write(tmp_path / f"r{i}", seed=i)
    expected = truth(tmp_path)
    soon()
    index.rows(tmp_path)
    good, rng = (tmp_path / INDEX).read_bytes(), random.Random(0)
    for _ in range(80):
        (tmp_path / INDEX).write_bytes(good)
        spoil(tmp_path / INDEX, rng)
        assert index.rows(tmp_path) == expected


def test_something_else_in_the_place_of_the_index(tmp_path: Path, soon: Callable[[], None]) -> None:
    (write(tmp_path / "a").parent / INDEX).mkdir()
    soon()
    assert_true(tmp_path)
    assert (tmp_path / INDEX).is_dir()


READ = """
import json, os, sys
from pathlib import Path
from vae_lab import index, yaml_text  # now: a nobody may not be let into the folder of the packages
index.YOUNG = 0
index._code()
if os.geteuid() == 0:
    os.setuid(65534)  # whom no mode lets write here
print(json.dumps(index.rows(Path(sys.argv[1]))))
"""


@pytest.fixture
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of runs that its reader cannot write to."""
    import tempfile

    folder = Path(tempfile.mkdtemp())  # everybody may look into it, unlike into those of pytest
    write(folder / "a"), write(folder / "b", "failed"), write(folder / "c", "cut")
    for place in (folder, *folder.rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)
    yield folder
    folder.chmod(0o755)
    for place in folder.rglob("*"):
        place.chmod(0o755)
    shutil.rmtree(folder)


def test_an_archive_that_cannot_be_written_is_read_with_and_without_an_index(archive: Path) -> None:
    def read() -> Any:
        done = subprocess.run([sys.executable, "-c", READ, str(archive)], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return json.loads(done.stdout)

    before = truth(archive)
    assert read() == before
    assert not (archive / INDEX).exists()
    archive.chmod(0o755)
    write(archive / "d")
    index.rows(archive)
    archive.chmod(0o555)
    assert read() == truth(archive)


LOOP = """
import json, sys
from pathlib import Path
from vae_lab import index
index.YOUNG = 0
folder = Path(sys.argv[1])
expected = index.rows(folder)
for _ in range(int(sys.argv[2])):
    if sys.argv[3] == "forget":
        (folder / index.INDEX).unlink(missing_ok=True)
    assert index.rows(folder) == expected
"""


def test_several_processes_use_it_at_once_and_may_be_killed(tmp_path: Path) -> None:
    for i in range(200):
        write(tmp_path / f"r{i}", seed=i)
    expected, rng = truth(tmp_path), random.Random(0)

    def start(times: int, how: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", LOOP, str(tmp_path), str(times), how])

    others = [start(10, "keep"), start(10, "forget")]
    for _ in range(2):
        victim = start(10_000, "forget")
        time.sleep(0.5 + rng.random())
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        assert index.rows(tmp_path) == expected
    assert [process.wait(timeout=600) for process in others] == [0, 0]
    assert index.rows(tmp_path) == expected
