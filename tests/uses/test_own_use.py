"""A use of one's own, as the page of uses has it."""

import json
import re
from pathlib import Path

import pytest
from small_kinds import Make
from small_runs import Lab

import vae_lab
from vae_lab.errors import RequestError

PAGE = (Path(__file__).parents[2] / "docs" / "uses.md").read_text()


@pytest.fixture
def own(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two files of the page, in a folder of their own."""
    option, code = (
        re.search(rf"```{kind}\n({start}.*?)```", PAGE, re.S)[1]  # type: ignore[index]
        for kind, start in (("yaml", "# How wide"), ("python", "from dataclasses import"))
    )
    (in_tmp / "options" / "use").mkdir(parents=True)
    (in_tmp / "options" / "use" / "width.yaml").write_text(option)
    (in_tmp / "width.py").write_text(code)
    monkeypatch.syspath_prepend(str(in_tmp))
    return in_tmp


def test_it_is_a_command_like_the_others(own: Path, made: Make, lab: Lab) -> None:
    run = made("binary")
    said = lab("width", run, "--config-dir", own / "options", "count=50")
    assert (said.code, said.err) == (0, "")
    told = json.loads((run / "uses" / "width.json").read_text())
    x = next(iter(vae_lab.load(run).dataset().batches("test", 50))).x
    assert told["numbers"]["sd"] == pytest.approx(float(vae_lab.load(run).encode(x).std(0).mean()))
    assert told["options"] == {"count": 50}
    said = lab("width", "--help", "--config-dir", own / "options")
    assert "width: How wide the code is" in said.out
    assert "how many examples, the first ones" in said.out
    said = lab("width", run, "--config-dir", own / "options", "cuont=50")
    assert said.err == "vae-lab: width.cuont: no such key; vae-lab width has count (did you mean 'count'?)\n"


def test_one_that_is_called_otherwise_is_refused_in_one_line(own: Path, made: Make, lab: Lab) -> None:
    code = (own / "width.py").read_text().replace("run: Run, dataset: Dataset", "run: Run")
    (own / "narrow.py").write_text(code)
    option = own / "options" / "use" / "narrow.yaml"
    option.write_text((own / "options" / "use" / "width.yaml").read_text().replace("width", "narrow"))
    said = lab("narrow", made("binary"), "--config-dir", own / "options")
    assert said.code == 2
    assert said.err.startswith("vae-lab: narrow: Width is no use, which has __call__(self, run, dataset) that returns")
    assert said.err.count("\n") == 1


def test_a_use_that_there_is_not_is_refused_from_python_too(made: Make) -> None:
    with pytest.raises(RequestError, match=r"prob: no such use; there are .*did you mean 'probe'"):
        vae_lab.use("prob", made("binary"))
    run = vae_lab.load(made("binary"))
    x = next(iter(run.dataset().batches("test", 2))).x
    with pytest.raises(ValueError, match="way='sph' given; there are linear, spherical, geodesic"):
        run.interpolate(x[0], x[1], way="sph")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no score 'nl'; there are elbo, nll"):
        run.score(x, ["nl"])  # type: ignore[list-item]
