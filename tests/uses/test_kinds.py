"""Every use on every kind of data and of model: it works, or says in one line why it makes no sense there."""

import functools
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_kinds import MLP

import vae_lab
from vae_lab import places, uses
from vae_lab.errors import RequestError
from vae_lab.finished import Run, load

NET = ["decoder=mlp", *MLP]
GAUSSIAN = ["likelihood=gaussian", *NET]
ARRAYS = ["dataset=arrays", *GAUSSIAN]
KINDS = {
    "binary": ["dataset=digits", *NET],
    "binary, no labels": ["dataset=arrays", "dataset.path=binary.npy", *NET],
    "grey": ["dataset=digits", "dataset.binarization=none", *GAUSSIAN],
    "grey, no labels": ["dataset.path=grey.npy", *ARRAYS],
    "colour": ["dataset=images", "dataset.path=colour", *GAUSSIAN],
    "colour, no labels": ["dataset.path=colour.npy", *ARRAYS],
    "five channels": ["dataset.path=five.npz", *ARRAYS],
    "real images": ["dataset.path=real.npz", *ARRAYS],
    "vectors": ["dataset=table", "dataset.path=table.csv", "dataset.label=kind", *GAUSSIAN],
    "vectors, no labels": ["dataset=table", "dataset.path=table.csv", "dataset.ignore=[kind]", *GAUSSIAN],
    "factors": [
        "dataset=sprites",
        "dataset.scales=2",
        "dataset.orientations=2",
        "dataset.positions=4",
        "dataset.test_part=0.5",
        *NET,
    ],
    "binary, told labels": ["dataset=digits", "labels=given", "labels.prior=true", *NET],
    "colour, told labels": ["dataset=images", "dataset.path=colour", "labels=given", *GAUSSIAN],
    "vectors, told labels": [
        "dataset=table",
        "dataset.path=table.csv",
        "dataset.label=kind",
        "labels=given",
        *GAUSSIAN,
    ],
}
IN_01 = {kind for kind in KINDS if re.match("binary|grey|colour|five|factors", kind)}
"""Images in [0, 1]."""
IMAGES = {*IN_01, "real images"}

REASONS = {
    "L": "this run's dataset has no labels",
    "F": "nobody knows what this run's data were made from; dataset=sprites has known factors",
    "T": r"this run's model is told labels \(labels=given\), and this use has none to tell it",
}
TABLE = """
                      denoise encode factors interpolate map probe reconstruct sample score semi_supervised traverse
binary                   +      +       F         +       +    +        +        +      +          +           +
binary, no labels        +      +       F         +       +    L        +        +      +          L           +
grey                     +      +       F         +       +    +        +        +      +          +           +
grey, no labels          +      +       F         +       +    L        +        +      +          L           +
colour                   +      +       F         +       +    +        +        +      +          +           +
colour, no labels        +      +       F         +       +    L        +        +      +          L           +
five channels            +      +       F         +       +    +        +        +      +          +           +
real images              +      +       F         +       +    +        +        +      +          +           +
vectors                  +      +       F         +       +    +        +        +      +          +           +
vectors, no labels       +      +       F         +       +    L        +        +      +          L           +
factors                  +      +       +         +       +    +        +        +      +          +           +
binary, told labels      +      +       T         T       +    T        +        +      T          T           +
colour, told labels      +      +       T         T       +    T        +        +      T          T           +
vectors, told labels     +      +       T         T       +    T        +        +      T          T           +
"""
"""What comes of each use of a run of each kind: an answer (+), or a refusal for one of the reasons."""

OPTIONS: dict[str, dict[str, Any]] = {
    "denoise": {"count": 20, "levels": [0, 0.2]},
    "encode": {"count": 20},
    "factors": {"count": 200},
    "interpolate": {"steps": 3, "nll_samples": 2},
    "map": {"count": 30},
    "probe": {"train_count": 60, "test_count": 30},
    "reconstruct": {"count": 20},
    "sample": {"count": 24},
    "score": {"against": "constant", "count": 20, "samples": 2, "steps": 2, "resamples": 5, "false_alarms": 0.4},
    "semi_supervised": {"label_counts": [20], "draws": 2, "updates": 3},
    "traverse": {"steps": 3},
}
PICTURES: dict[Any, tuple[set[str], set[str]]] = {  # of images; of vectors
    "denoise": ({"clean", "noisy", "denoised", "psnr"}, {"snr"}),
    "encode": (set(), set()),
    "factors": ({"information"}, {"information"}),
    "interpolate": ({"mean", "draw"}, set()),
    "map": ({"pca"}, {"pca"}),
    "probe": (set(), set()),
    "reconstruct": ({"originals", "mean", "sample", "errors"}, set()),
    "sample": ({"draw", "mean", "nearest"}, set()),
    "score": ({"normal", "others", "histograms", "roc"}, {"histograms", "roc"}),
    "semi_supervised": ({"errors"}, {"errors"}),
    "traverse": ({"mean"}, set()),
    ("denoise", "real images"): ({"clean", "noisy", "denoised", "snr"}, set()),
    ("denoise", "factors"): ({"clean", "noisy", "denoised", "psnr", "ssim"}, set()),
}  # fmt: skip

"""By use, and where a kind has its own by both: those of images, and those of vectors."""
NULL: dict[Any, str] = {
    "denoise": r"sd_0\.noisy\.(snr|psnr)|.*\.ssim",  # there is no noise; images of 8x8 are smaller than the window
    ("denoise", "factors"): r"sd_0\.noisy\.(snr|psnr)",
    ("sample", "binary, told labels"): "latent_log_density",  # p(z|y) is another for each label
    ("sample", "colour, told labels"): "latent_log_density",
    ("sample", "vectors, told labels"): "latent_log_density",
}
"""The numbers that may be null; no other may."""


def outcomes() -> dict[tuple[str, str], str]:
    head, *rows = TABLE.strip("\n").splitlines()
    cells = [(row[:22].strip(), row[22:].split()) for row in rows]
    return {(use, kind): outcome for kind, found in cells for use, outcome in zip(head.split(), found, strict=True)}


@pytest.fixture(scope="module")
def lab_of_kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """A folder with data of every kind, and in it the run of a kind, trained once."""
    folder, rng, dataset = tmp_path_factory.mktemp("kinds"), np.random.default_rng(0), Run.dataset
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        n, y = 300, np.arange(300) % 3
        grey = rng.random((n, 8, 8), np.float32)
        np.save("grey.npy", grey)
        np.save("binary.npy", grey > 0.5)
        np.save("colour.npy", rng.integers(0, 256, (n, 3, 8, 8), np.uint8))
        np.savez("five.npz", x=rng.random((n, 5, 8, 8), np.float32), y=y)
        np.savez("real.npz", x=rng.normal(y[:, None, None], 2, (n, 8, 8)), y=y)
        for i, kind in enumerate(y):
            Path("colour", f"class {kind}").mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(f"colour/class {kind}/{i}.png")
        rows = [
            f"{a},{b},{c},{'red' if one else 'blue'}"
            for (a, b, c), one in zip(rng.normal(5, 3, (n, 3)), y, strict=True)
        ]
        Path("table.csv").write_text("\n".join(["a,b,c,kind", *rows]))
        patch.setattr(
            sys.modules["vae_lab.uses.use"], "load", functools.cache(load)
        )  # of a run once, and not for each use
        patch.setattr(Run, "dataset", lambda run, moved: of_run(run.path))
        of_run = functools.cache(lambda path: dataset(load(path)))
        made: dict[str, Path] = {}

        def make(kind: str) -> Path:
            if kind not in made:
                result = vae_lab.train(vae_lab.compose(*KINDS[kind]))
                made[kind] = folder / "runs" / "solo" / result["signature"]
            return made[kind]

        yield make


def files(run: Path) -> dict[str, bytes]:
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def nulls(told: Any, name: str = "") -> list[str]:
    """The names of the numbers that are null; all others are finite, since JSON knows no other."""
    if isinstance(told, dict):
        return [null for key, value in told.items() for null in nulls(value, f"{name}.{key}" if name else key)]
    assert isinstance(told, (int, float, str)) or told is None
    return [name] if told is None else []


def test_the_table_has_every_use_and_every_kind() -> None:
    assert set(outcomes()) == {(use, kind) for use in places.uses() for kind in KINDS}
    assert set(outcomes().values()) == {"+", *REASONS}
    assert set(OPTIONS) == {use for use in PICTURES if isinstance(use, str)} == set(places.uses())


@pytest.mark.parametrize(("use", "kind"), outcomes())
def test_a_use_works_or_says_why_not(
    use: str, kind: str, lab_of_kinds: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_lab.evaluation.features.STEPS", 20)
    run, outcome = lab_of_kinds(kind), outcomes()[use, kind]
    before = files(run)
    if outcome in REASONS:
        with pytest.raises(RequestError, match=f"^{use}: {REASONS[outcome]}$"):
            uses.use(use, run, OPTIONS[use])
        assert files(run) == before
        return
    _, paths = uses.use(use, run, OPTIONS[use])
    assert paths[0] == run / "uses" / f"{use}.json"
    told = json.loads(paths[0].read_text())
    assert told["files"] == [path.relative_to(run).as_posix() for path in paths[1:]]
    assert set(files(run)) - set(before) == {path.relative_to(run).as_posix() for path in paths}
    pictures = {path.stem.removeprefix(f"{use}_") for path in paths if path.suffix == ".png"}
    assert pictures == PICTURES.get((use, kind), PICTURES[use])[kind not in IMAGES]
    expected = NULL.get((use, kind), NULL.get(use, ""))
    assert [name for name in nulls(told["numbers"]) if not re.fullmatch(expected, name)] == []
    if use == "denoise":  # both are for images in [0, 1]
        assert ("psnr" in told["numbers"]["sd_0.2"]["noisy"]) == (kind in IN_01)
    if use == "score":
        assert ("complexity" in told["numbers"]) == (kind in IN_01)
