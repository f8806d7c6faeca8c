"""A run that no use can be made of costs one line, whatever the use, and nothing is written over."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_kinds import MLP, Make
from small_runs import Lab, Said

from vae_lab import places


def files(folder: Path) -> dict[str, bytes]:
    return {path.as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_use_refuses_a_run_that_is_none_unfinished_damaged_or_without_its_data(made: Make, lab: Lab) -> None:
    run = made("grey")
    assert lab("map", run, "split=train").code == 0
    result, checkpoint, data = run / "result.json", run / "checkpoints" / "last.ckpt", Path("x.npy")
    whole = {path: path.read_bytes() for path in (result, checkpoint, data)}
    failed = whole[result].replace(b'"completed"', b'"failed"')
    Path("empty").mkdir()
    for path, content, line in [
        (result, None, f"{run} has not completed; `vae-lab ls` shows its state"),
        (result, failed, f"{run} has not completed; `vae-lab ls` shows its state"),
        (result, whole[result][:-9], f"{result} is damaged: "),
        (checkpoint, whole[checkpoint][:900], f"{checkpoint} is damaged: "),
        (checkpoint, b"", f"{checkpoint} is damaged: "),
        (checkpoint, None, f"{checkpoint} is not there: {run} is no finished run, or never saved its last model"),
        (data, None, "x.npy is missing: "),
        (data, whole[data][:300], "x.npy is not a whole .npy or .npz file"),
        (data, whole[data][:-4] + b"\0\0\0?", f"{run} was trained on other data: the content of its dataset has changed"),
    ]:  # fmt: skip
        path.unlink() if content is None else path.write_bytes(content)
        before = files(run)
        for use in places.uses():
            said = lab(use, run)
            assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), (use, said)
            assert said.err.startswith(f"vae-lab: {line}"), use
        assert files(run) == before
        path.write_bytes(whole[path])
    for use in places.uses():
        for none in ("empty", "x.npy"):
            assert lab(use, none) == Said(2, "", f"vae-lab: {none} is no run directory: it has no config.yaml\n")
        told = "no such folder; a run is runs/STUDY/NAME, and `vae-lab ls` lists them"
        assert lab(use, "nowhere") == Said(2, "", f"vae-lab: nowhere: {told}\n")


@pytest.mark.parametrize("use", ["score data=", "score against=", "interpolate first="])
def test_new_pictures_of_another_size_cost_one_line(use: str, lab: Lab, in_tmp: Path) -> None:
    rng = np.random.default_rng(0)
    for folder, shape in (("own", (9, 7)), ("large", (9, 8))):
        Path(folder).mkdir()
        for i in range(40 if folder == "own" else 2):
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(f"{folder}/{i:02}.png")
    words = ["dataset=images", "dataset.path=own", "likelihood=gaussian", "decoder=mlp", *MLP]
    run = Path(lab("train", *words).out.split()[-1])
    before = files(run)
    name, option = use.split()
    for folder, line in [
        ("large", "large/00.png is 9x8 pixels (height x width), not 9x7: the model takes this size alone; "),
        ("none", {"data=": "none given; must be a file or a folder that there is", "first=": "none is missing"}.get(option, "none given; must be a file or a folder that there is")),
    ]:  # fmt: skip
        said = lab(name, run, f"{option}{folder}")
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        key = f"{name}.{option.removesuffix('=')}"
        assert said.err.startswith(f"vae-lab: {key}: {line}"), said
    assert files(run) == before
