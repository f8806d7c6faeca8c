"""Reconstruction on every kind of data, by command and from Python."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_kinds import KINDS, Make
from small_runs import Lab, Said

import vae_lab
from vae_lab.evaluation.sharpness import high_frequency_power, laplacian_variance


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_is_reconstructed(kind: str, made: Make, lab: Lab) -> None:
    run = made(kind)
    said = lab("reconstruct", run, "count=20")
    assert (said.code, said.err) == (0, "")
    content = json.loads((run / "uses" / "reconstruct.json").read_text())
    assert content["options"] == {"split": "test", "count": 20, "seed": 0}
    printed = [Path(line) for line in said.out.splitlines() if line.startswith("runs/")]
    assert [path.exists() for path in printed] == [True] * len(printed)

    loaded, numbers = vae_lab.load(run), content["numbers"]
    x = next(iter(loaded.dataset().batches("test", 20))).x
    found = loaded.reconstruct(x)
    assert numbers["examples"] == len(x)
    assert found.sample.shape == x.shape
    assert numbers["mean_squared_error"]["sample"] == pytest.approx(float(((found.sample - x) ** 2).mean()))
    has_mean, is_image = kind != "autoregressive", x.dim() == 4
    assert (found.mean is not None) == (numbers["mean_squared_error"]["mean"] is not None) == has_mean
    pictures = {path.stem.removeprefix("reconstruct_") for path in printed if path.suffix == ".png"}
    assert pictures == ({"originals", "sample"} | ({"mean", "errors"} if has_mean else set()) if is_image else set())
    if not is_image or kind == "two pixels":
        assert "laplacian_variance" not in numbers
        return
    for name, measure in (("laplacian_variance", laplacian_variance), ("high_frequency_power", high_frequency_power)):
        data, of = float(measure(x).mean()), float(measure(found.sample).mean())
        assert (numbers[name]["data"], numbers[name]["sample"]) == pytest.approx((data, of))
        assert numbers[name]["sample_relative"] == pytest.approx(of / data)
        assert (numbers[name]["mean_relative"] is None) == (not has_mean)
    with Image.open(printed[-1]) as picture:
        assert picture.mode == ("RGB" if kind == "colour" else "L")


def test_all_of_a_split_is_measured_in_parts(made: Make, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers without noise are those of one part."""
    run = made("grey")
    found = []
    for part in (500, 4):
        monkeypatch.setattr("vae_lab.uses.reconstruction._BATCH", part)
        assert lab("reconstruct", run, "split=train", "count=1000").code == 0
        found.append(json.loads((run / "uses" / "reconstruct.json").read_text())["numbers"])
    assert found[0]["examples"] == found[1]["examples"] == 48
    for name in ("mean_squared_error", "laplacian_variance", "high_frequency_power"):
        assert found[1][name]["mean"] == pytest.approx(found[0][name]["mean"], rel=1e-5)
    assert found[1]["mean_squared_error"]["sample"] == pytest.approx(found[0]["mean_squared_error"]["sample"], rel=0.1)


def test_a_draw_is_the_same_whatever_was_drawn_before(made: Make) -> None:
    loaded = vae_lab.load(made("binary"))
    x = next(iter(loaded.dataset().batches("test", 20))).x
    first = loaded.reconstruct(x, seed=3).sample
    torch.rand(7)
    state = torch.get_rng_state()
    assert torch.equal(loaded.reconstruct(x, seed=3).sample, first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(loaded.reconstruct(x, seed=4).sample, first)


def test_what_lies_in_the_plane_of_a_perfect_linear_model_comes_back(made: Make) -> None:
    """x = W z with orthonormal columns, an encoder whose location is W^T x, a decoder whose mean is W z."""
    loaded = vae_lab.load(made("vectors"))
    parameters = dict(loaded.model.named_parameters())
    (encoder,) = (p for name, p in parameters.items() if name.startswith("encoder.") and p.dim() == 2)
    (decoder,) = (p for name, p in parameters.items() if name.startswith("decoder.") and p.dim() == 2)
    w = torch.linalg.qr(torch.randn(*decoder.shape, generator=torch.Generator().manual_seed(0))).Q
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.zero_()
        decoder.copy_(w)
        encoder[: w.shape[1]] = w.T
    x = torch.randn(6, w.shape[1], generator=torch.Generator().manual_seed(1)) @ w.T
    assert torch.allclose(loaded.reconstruct(x).mean, x, atol=1e-6)  # type: ignore[arg-type]


WRONG = [
    ([], "reconstruct: which run? vae-lab reconstruct RUN [option=value ...]"),
    (["RUN", "RUN"], "reconstruct: one run at a time, not 2: vae-lab reconstruct RUN [option=value ...]"),
    (["RUN", "count=1", "count=2"], "count is there twice: count=1 and count=2"),
    (["nowhere"], "nowhere: no such folder; a run is runs/STUDY/NAME, and `vae-lab ls` lists them"),
    (["RUN", "cont=3"], "reconstruct.cont: no such key; vae-lab reconstruct has count, seed, split (did you mean 'count'?)"),
    (["RUN", "count=0"], "reconstruct.count: 0 given; must be a whole number, at least 1"),
    (["RUN", "split=tset"], "reconstruct.split: 'tset' given; must be one of train, val, test (did you mean 'test'?)"),
    (["RUN", "count=1,2"], "count=1,2: one value is needed here, as in key=value"),
    (["RUN", "-m"], "reconstruct: takes options and --config-dir, no other flag: vae-lab reconstruct RUN [option=value ...]"),
]  # fmt: skip


def test_mistakes_cost_one_line_and_write_nothing(made: Make, lab: Lab) -> None:
    run = made("vectors")
    for words, text in WRONG:
        said = lab("reconstruct", *(run if word == "RUN" else word for word in words))
        assert said == Said(2, "", f"vae-lab: {text}\n"), words
    assert not (run / "uses").exists()


def test_tensors_of_another_shape_are_refused_from_python(made: Make) -> None:
    loaded = vae_lab.load(made("binary"))
    with pytest.raises(ValueError, match=r"examples \(2, 3\) given; this model takes a tensor \(n, 1, 8, 8\)"):
        loaded.reconstruct(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="examples int given"):
        loaded.encode(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"examples of torch.uint8 given; this model takes torch.float32; "):
        loaded.encode(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_a_run_that_is_cut_failed_or_damaged_is_refused(made: Make, lab: Lab) -> None:
    run = made("vectors")
    result, checkpoint = run / "result.json", run / "checkpoints" / "last.ckpt"
    whole = result.read_text()
    result.unlink()
    assert lab("reconstruct", run).err == f"vae-lab: {run} has not completed; `vae-lab ls` shows its state\n"
    result.write_text(whole[:-20])
    assert "result.json is damaged" in lab("reconstruct", run).err
    result.write_text(whole)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    said = lab("reconstruct", run)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "last.ckpt" in said.err
    assert not (run / "uses").exists()


def test_data_that_have_changed_are_refused(made: Make, lab: Lab) -> None:
    run = made("grey")
    np.save("x.npy", np.zeros((60, 1, 9, 7), dtype=np.float32))
    said = lab("reconstruct", run)
    assert said == Said(2, "", f"vae-lab: {run} was trained on other data: the content of its dataset has changed\n")
