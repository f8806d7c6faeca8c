"""`vae-lab encode`: every example has its code, each told from the model alone, in the order of the data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_kinds import Make
from small_runs import Lab

from vae_lab import load


def codes(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "uses" / "encode_codes.npz") as file:
        return dict(file)


@pytest.mark.parametrize(("kind", "labelled"), [("binary", True), ("vectors", False)])
def test_every_example_has_its_code(kind: str, labelled: bool, made: Make, lab: Lab) -> None:
    path = made(kind)
    said = lab("encode", path)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-2:] == [str(path / "uses" / name) for name in ("encode.json", "encode_codes.npz")]
    found, run = codes(path), load(path)
    assert set(found) == {"mean", "sd", "split", "index"} | ({"label"} if labelled else set())
    data = run.dataset()
    sizes = data.spec().sizes
    assert {name: int((found["split"] == name).sum()) for name in sizes} == sizes
    for split in sizes:
        rows = {name: array[found["split"] == split] for name, array in found.items()}
        assert list(rows["index"]) == list(range(sizes[split]))
        i = sizes[split] // 2
        batch = next(iter(data.batches(split, sizes[split])))
        with torch.no_grad():  # one example by itself
            q = run.model.encode(batch.x[i : i + 1])
        np.testing.assert_allclose(rows["mean"][i], q.mean[0].numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(rows["sd"][i], q.variance[0].sqrt().numpy(), rtol=1e-4, atol=1e-6)
        if labelled:
            assert rows["label"][i] == data.load(split).y[i]
    whole = found["mean"][found["split"] == "test"]
    assert lab("encode", path, "splits=[test]", "count=3").code == 0
    few = codes(path)
    assert (list(few["split"]), list(few["index"])) == (["test"] * 3, [0, 1, 2])
    np.testing.assert_allclose(few["mean"], whole[:3], rtol=1e-4, atol=1e-6)


def test_a_split_twice_is_refused(made: Make, lab: Lab) -> None:
    said = lab("encode", made("vectors"), "splits=[test,test]")
    assert (said.code, said.out) == (2, "")
    assert said.err == "vae-lab: encode.splits: ['test', 'test'] given; a split is there twice\n"
    assert "splits: [] given" in lab("encode", made("vectors"), "splits=[]").err
