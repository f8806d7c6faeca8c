"""`vae-lab ls` filters, sorts, chooses columns and exports; a mistake costs one line."""

import csv
import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_runs import Lab

from vae_lab import index

PRIORS = ["StandardNormalPrior", "MixturePrior"]


def write(folder: Path, name: str, status: str = "completed", **given: Any) -> None:
    run = folder / "runs" / "many" / name
    run.mkdir(parents=True)
    seed, arm, prior = given.get("seed", 0), given.get("arm", "vanilla"), given.get("prior", 0)
    settings = {
        "seed": seed,
        "latent_dim": given.get("latent_dim", 16),
        "study": {"name": "many", "arm": arm},
        "prior": {"_target_": f"vae_lab.models.priors.{PRIORS[prior]}"},
        "rate": {"_target_": "vae_lab.objectives.rate.Identity"} | given.get("rate", {}),
        "encoder": {"hidden": given.get("hidden", [200, 200]), "skip": given.get("skip", False)},
        "regularizer": {},
    }
    nll = given.get("nll")
    metrics = (
        {"test/elbo": -nll - 0.25, "test/rate": nll / 10, "test/active_units": 4.0, "test/nll": nll} if nll else {}
    )
    result = {
        "signature": name,
        "status": status,
        "metrics": metrics,
        "settings": settings,
        "evaluation": {},
        "timing": {},
    }
    if status == "failed":
        result["error"] = "RuntimeError: it broke\nhere"
    (run / "result.json").write_text(json.dumps(result))


@pytest.fixture
def runs(in_tmp: Path) -> Path:
    """Seven runs, one of which failed and one is damaged."""
    write(in_tmp, "a1", seed=0, nll=90.0)
    write(in_tmp, "b2", seed=1, nll=91.5, hidden=[300])
    write(
        in_tmp,
        "c3",
        seed=0,
        arm="free_bits",
        nll=89.0,
        rate={"_target_": "vae_lab.objectives.rate.FreeBits", "nats": 0.1},
    )
    write(in_tmp, "d4", seed=1, arm="free_bits", nll=104.25, prior=1, latent_dim=8, skip=True)
    write(in_tmp, "e5", "failed", seed=2, arm="free_bits")
    write(in_tmp, "1e9", nll=95.0, seed=3)
    (in_tmp / "runs" / "many" / "f6").mkdir()
    (in_tmp / "runs" / "many" / "f6" / "result.json").write_text("{")
    return in_tmp


def names(out: str) -> list[str]:
    """The first column, without its title and the line on other code."""
    return [line.split()[0] for line in out.splitlines()[1:] if "other code" not in line]


FILTERS = [
    ("", "1e9 a1 b2 c3 d4 e5 f6"),
    ("state=failed", "e5"),
    ("state=failed,damaged", "e5 f6"),
    ("state!=completed", "e5 f6"),
    ("arm=free_bits", "c3 d4 e5"),
    ("arm=Free_Bits seed=0,1", "c3 d4"),
    ("seed=0,1", "a1 b2 c3 d4"),
    ("seed=0.0", "a1 c3"),
    ("test/nll<91.5", "a1 c3"),
    ("test/nll<=91.5", "a1 b2 c3"),
    ("test/nll>=91.5 test/nll<100", "1e9 b2"),
    ("test/nll=null", "e5 f6"),
    ("test/nll!=null", "1e9 a1 b2 c3 d4"),
    ("elbo>-90", "c3"),
    ("rate>10", "d4"),
    ("rate._target_=FreeBits", "c3"),
    ("rate._target_=vae_lab.objectives.rate.FreeBits", "c3"),
    ("prior=mixtureprior", "d4"),
    ("encoder.hidden=[200,200]", "1e9 a1 c3 d4 e5"),
    ("encoder.hidden=[300],[100]", "b2"),
    ("encoder.skip=true", "d4"),
    ("encoder.skip=0", ""),
    ("regularizer={}", "1e9 a1 b2 c3 d4 e5"),
    ("latent_dim>=8 latent_dim<16", "d4"),
    ("rate.nats=0.1", "c3"),
    ("signature=1e9", "1e9"),
    ("signature=1000000000", ""),
    ("seed==1", "b2 d4"),
    ("error=null", "1e9 a1 b2 c3 d4 f6"),
    ("val/nll<3", ""),
]


@pytest.mark.parametrize(("words", "expected"), FILTERS)
def test_filters(words: str, expected: str, runs: Path, lab: Lab) -> None:
    said = lab("ls", *words.split())
    assert said.code == 0
    assert not said.err or said.err.startswith("no run has ")
    assert (names(said.out) if expected else said.out) == (expected.split() or f"no runs in runs with {words}\n")
    assert lab("ls", *words.split(), "runs/many").out == said.out.replace("in runs", "in runs/many")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--sort test/nll", "c3 a1 b2 1e9 d4 e5 f6"),
        ("--sort -test/nll", "d4 1e9 b2 a1 c3 e5 f6"),
        ("--sort=-elbo", "c3 a1 b2 1e9 d4 e5 f6"),
        ("--sort arm,-seed", "e5 d4 c3 1e9 b2 a1 f6"),
        ("--sort seed --limit 3", "a1 c3 b2"),
        ("arm=free_bits --limit 1 --sort -seed", "e5"),
        ("--limit 100", "1e9 a1 b2 c3 d4 e5 f6"),
    ],
)
def test_sorting_and_a_limit(words: str, expected: str, runs: Path, lab: Lab) -> None:
    assert names(lab("ls", *words.split()).out) == expected.split()


def test_what_is_shown(runs: Path, lab: Lab) -> None:
    def head(*words: str) -> list[str]:
        return lab("ls", *words).out.splitlines()[0].split()

    usual = ["signature", "arm", "seed", "state", "elbo", "nll", "rate", "active"]
    settings = ["latent_dim", "prior", "rate._target_", "hidden", "skip", "nats"]
    assert head("state!=damaged") == [*usual, *settings]
    assert head() == ["signature", "study", *usual[1:], *settings[:-1], "regularizer", "nats"]
    assert head("state=completed", "arm=vanilla") == [w for w in usual if w != "arm"] + ["hidden"]
    assert head("state=completed", "arm=vanilla", "seed=0,3", "--sort", "latent_dim") == [
        *[w for w in usual if w != "arm"],
        "latent_dim",
    ]
    assert "latent_dim" in head("latent_dim<95")
    said = lab("ls", "seed=0", "--columns", "arm,prior,test/nll,elbo", "--sort", "arm").out
    assert said.splitlines() == [
        "arm        prior                test/nll    elbo",
        "free_bits  StandardNormalPrior        89  -89.25",
        "vanilla    StandardNormalPrior        90  -90.25",
    ]


MISTAKES = [
    ("tset/nll<3", "tset/nll<3: no run has a column tset/nll (did you mean 'test/nll'?)"),
    ("status=failed", "status=failed: no run has a column status (did you mean 'state'?)"),
    ("--sort -test/nl", "-test/nl: no run has a column test/nl (did you mean 'test/nll'?)"),
    ("--columns arm,sead", "sead: no run has a column sead (did you mean 'seed'?)"),
    ("--sort", "ls: --sort: a value is needed, as in --sort test/nll, or --sort -test/nll"),
    ("--columns=,", "ls: --columns: a value is needed, as in --columns arm,seed,test/nll"),
    ("--srot arm", "ls: --srot: no such flag; there are --columns, --export, --limit, --sort (did you mean '--sort'?)"),
    ("-n 3", "ls: -n: no such flag; there are --columns, --export, --limit, --sort"),
    ("--limit 0", "ls: --limit 0: a whole number from 1 is needed"),
    ("--limit ten", "ls: --limit ten: a whole number from 1 is needed"),
    ("seed=", "seed=: a value is needed after =; null stands for none"),
    ("seed=0,", "seed=0,: a value is needed after =; null stands for none"),
    ("test/nll<low", "test/nll<low: one number is needed after <"),
    ("test/nll<1,2", "test/nll<1,2: one number is needed after <"),
    ("test/nll>nan", "test/nll>nan: one number is needed after >"),
    ("arm<3", "arm<3: arm holds no numbers; compare it with = or !="),
    ("test/nll=low", "test/nll=low: test/nll holds numbers, and low is none"),
    (
        "rate=FreeBits",
        "rate=FreeBits: test/rate holds numbers, and FreeBits is none (did you mean 'rate._target_=FreeBits'?)",
    ),
    ("latent_dim", "ls: latent_dim is no folder of runs; a comparison with < or > is quoted, as in 'latent_dim<10'"),
    ("nowhere", "ls: nowhere is no folder of runs"),
    ("runs runs/many", "ls: one folder at a time, not 2"),
    ("--export runs.xlsx", "--export: runs.xlsx: a table is written as .csv or .parquet"),
    ("--export runs/many/a1/result.json/x.csv", "cannot read or write runs/many/a1/result.json: "),
]


@pytest.mark.parametrize(("words", "text"), MISTAKES)
def test_a_mistake_costs_one_line(words: str, text: str, runs: Path, lab: Lab) -> None:
    said = lab("ls", *words.split())
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"vae-lab: {text}" if text.endswith(" ") else f"vae-lab: {text}\n")
    assert said.err.count("\n") == 1


def test_a_value_that_no_run_has_is_asked_back(runs: Path, lab: Lab) -> None:
    said = lab("ls", "arm=free_bit")
    assert said == (0, "no runs in runs with arm=free_bit (did you mean 'free_bits'?)\n", "")
    assert lab("ls", "seed=0", "arm=fre_bits").out.endswith("(did you mean 'free_bits'?)\n")


def test_a_value_that_no_run_has_is_told_beside_those_that_some_have(runs: Path, lab: Lab) -> None:
    said = lab("ls", "arm=fre_bits,vanilla")
    assert said.err == "no run has arm=fre_bits (did you mean 'free_bits'?)\n"
    assert names(said.out) == names(lab("ls", "arm=vanilla").out) != []


def test_a_folder_with_a_sign_in_its_name_is_a_folder(runs: Path, lab: Lab) -> None:
    (runs / "runs").rename(runs / "lr=0.1,seed=0")
    assert names(lab("ls", "lr=0.1,seed=0", "state=failed").out) == ["e5"]


def test_a_csv_holds_every_column_exactly(runs: Path, lab: Lab) -> None:
    assert lab("ls", "--export", "out/runs.csv") == (0, "out/runs.csv: 7 runs\n", "")
    with open(runs / "out" / "runs.csv", newline="") as file:
        table = list(csv.DictReader(file))
    rows = index.rows(Path("runs"))
    assert len(table) == len(rows)
    for written, row in zip(table, rows, strict=True):
        assert set(row) <= set(written)
        for key, text in written.items():
            value = row.get(key)
            expected = "" if value is None else json.dumps(value) if isinstance(value, (list, dict)) else str(value)
            assert text.replace(",", ", ") == expected if isinstance(value, list) else text == expected


def test_an_export_is_of_what_was_chosen(runs: Path, lab: Lab) -> None:
    lab("ls", "arm=free_bits", "--sort", "-seed", "--limit", "2", "--columns", "seed,test/nll", "--export", "x.csv")
    assert (runs / "x.csv").read_text() == "seed,test/nll\n2,\n1,104.25\n"
    assert lab("ls", "seed=77", "--export", "x.csv").out == "x.csv: 0 runs\n"
    assert (runs / "x.csv").read_text().count("\n") == 1


def test_parquet_holds_every_column_with_its_type(runs: Path, lab: Lab) -> None:
    from pyarrow import parquet

    write(runs, "g7", seed="text", nll=90)
    assert lab("ls", "--export", "runs.parquet") == (0, "runs.parquet: 8 runs\n", "")
    table, rows = parquet.read_table(runs / "runs.parquet"), index.rows(Path("runs"))
    types = {field.name: str(field.type) for field in table.schema}
    assert types["test/nll"] == "double"
    assert types["latent_dim"] == "int64"
    assert types["encoder.skip"] == "bool"
    assert types["seed"] == types["arm"] == types["encoder.hidden"] == types["version"] == "string"
    for written, row in zip(table.to_pylist(), rows, strict=True):
        assert written["seed"] == (None if row["seed"] is None else str(row["seed"]))
        assert written["encoder.hidden"] == (
            row.get("encoder.hidden") and json.dumps(row["encoder.hidden"]).replace(" ", "")
        )
        same = ("signature", "state", "path", "test/nll", "latent_dim", "encoder.skip", "rate.nats")
        assert [written[key] for key in same] == [row.get(key) for key in same]


def test_parquet_without_its_package_is_refused_in_a_line(runs: Path) -> None:
    hidden = "import sys; sys.modules['pyarrow'] = None; from vae_lab.cli import main; main()"
    command = [sys.executable, "-c", hidden, "ls", "--export", "x.parquet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "vae-lab: --export: Parquet needs one more package: pip install 'vae-lab[parquet]'\n"
    assert not list(runs.glob("*.parquet*"))


def test_it_waits_for_nothing_heavy(runs: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "vae_lab", "ls", "--sort", "test/nll"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert names(done.stdout)[0] == "c3"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "vae_lab.index" in imported
    assert not {"torch", "hydra", "omegaconf", "numpy", "yaml", "rich", "pydantic", "pyarrow"} & imported


def test_a_reader_that_has_enough_ends_it_quietly(runs: Path) -> None:
    for i in range(400):
        write(runs, f"many{i}", seed=i, nll=90.0)
    script = f"'{sys.executable}' -m vae_lab ls | head -2; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 2)


def on_a_terminal(width: int, *words: str) -> str:
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": str(width)}
    with subprocess.Popen([sys.executable, "-m", "vae_lab", "ls", *words], stdout=slave, env=environment) as process:
        os.close(slave)
        said = b""
        while select.select([master], [], [], 30)[0]:
            try:
                said += os.read(master, 10_000)
            except OSError:  # the other end is closed
                break
        os.close(master)
        assert process.wait() == 0
    return said.decode().replace("\r\n", "\n")


def test_a_terminal_gets_whole_lines_and_is_told_what_had_no_room(runs: Path, lab: Lab) -> None:
    everything = lab("ls").out
    assert on_a_terminal(500) == everything
    *lines, last = on_a_terminal(60).splitlines()
    assert max(map(len, lines)) <= 60
    assert names("\n".join(lines)) == names(everything)
    left_out = last.removeprefix("no room for ").removesuffix("; --columns shows them").split(", ")
    assert lines[0].split() + left_out == everything.splitlines()[0].split()
    assert on_a_terminal(60, "--columns", ",".join(left_out)) == lab("ls", "--columns", ",".join(left_out)).out


def test_information_that_cannot_be_trusted_is_told_under_the_table(in_tmp: Path, lab: Lab) -> None:
    """A bound above the rate, as older results have it, and one of a dozen examples; and no word where it is not shown."""
    for name, bound, size in (("a1", 0.58, 300), ("b2", 0.3, 12), ("c3", 0.3, 300)):
        write(in_tmp, name, nll=4.3)
        file = in_tmp / "runs" / "many" / name / "result.json"
        content = json.loads(file.read_text())
        content["metrics"] |= {"test/mutual_information": bound, "test/mutual_information_se": 0.1}
        content["settings"]["spec"] = {"sizes": {"test": size}}
        file.write_text(json.dumps(content))
    said = lab("ls", "--columns", "signature,test/mutual_information,test/rate")
    assert said.out.splitlines()[4:6] == [
        "test/mutual_information: 1 of 3 not to be trusted (noise took it to the rate, which it cannot exceed)",
        "test/mutual_information: 1 of 3 not to be trusted (fewer than 30 examples)",
    ]
    assert "trusted" not in lab("ls").out
