"""Nothing is written, or handed to a tracker, through a link out of a run's folder."""

from pathlib import Path

import pytest
from small_runs import STUDY, TINY, Lab, write_study

from vae_lab.links import leads_out, pictures_in


@pytest.mark.parametrize("part", ["run.log", "figures", "uses"])
def test_nothing_is_written_through_a_link(part: str, lab: Lab, in_tmp: Path) -> None:
    run = Path(lab("train", *TINY).out.split()[-1])
    outside = in_tmp / "outside"
    outside.mkdir()
    target = outside / "notes.txt" if part == "run.log" else outside
    (outside / "notes.txt").write_text("mine")
    if (run / part).is_dir():
        (run / part).rename(in_tmp / "moved")
    (run / part).unlink(missing_ok=True)
    (run / part).symlink_to(target)
    said = lab("evaluate", str(run), "evaluation.nll_samples=7")
    assert said.code == 2
    assert said.err == f"vae-lab: {run}: {part}: a link out of the run, through which nothing is written\n"
    assert [file.name for file in outside.iterdir()] == ["notes.txt"]
    assert (outside / "notes.txt").read_text() == "mine"


def test_a_picture_that_is_a_link_out_is_none_of_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    (tmp_path / "mine.png").write_text("mine")
    (run / "figures" / "own.png").write_text("own")
    (run / "figures" / "stranger.png").symlink_to(tmp_path / "mine.png")
    assert [file.name for file in pictures_in(run)] == ["own.png"]
    assert leads_out(run / "figures" / "stranger.png", run)


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ("{plain: {latent_dim: [3]}, plain-3: {latent_dim: 5}}", "arms plain and plain-3: two points have the name plain-3"),
        ("{plain: {}, 2024: {}}", "arms.2024: reads as no name but a value; name it otherwise, as in arm_2024"),
        ("{plain: !!set {a, b}}", "a set given; a setting is a word, a number, a list or keys with values"),
    ],
)  # fmt: skip
def test_no_arm_is_lost(arms: str, said: str, lab: Lab, in_tmp: Path) -> None:
    head, _, tail = STUDY.partition("arms:\n")
    over = tail[tail.index("over:") :]
    write_study(in_tmp, "small", f"{head}arms: {arms}\n{over}")
    answer = lab("study", "small", "--dry-run")
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_texts_beyond_ascii_are_crossed_as_they_stand(lab: Lab, in_tmp: Path) -> None:
    text = STUDY.replace("over: {seed: [0, 1]}", "over: {logger.name: ['sé b', 'c\\d e']}\n")
    write_study(in_tmp, "small", text)
    line = lab("study", "small", "--dry-run").out.splitlines()[0]
    assert "sé b" in line
    assert "u00e9" not in line
