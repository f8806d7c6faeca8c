"""A person's own pictures: how a folder is read, how a picture is brought to a size, and what each bad one is told."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vae_lab.data import DataError, image_files
from vae_lab.data.image_files import read_picture
from vae_lab.data.images import Images
from vae_lab.data.split_folders import layout

SPLITS = ("train", "val", "test")
RNG = np.random.default_rng(0)

Folder = Callable[..., Path]


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with a grey picture of 6x5 at each of the names; what comes in `more` is written as it is."""

    def write(names: list[str], **more: Any) -> Path:
        path = tmp_path / "pictures"
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels(6, 5)).save(path / name)
        path.mkdir(exist_ok=True)
        for name, x in more.items():
            Image.fromarray(x).save(path / f"{name}.png")
        return path

    return write


def numbered(n: int, where: str = "") -> list[str]:
    return [f"{where}{i:02}.png" for i in range(n)]


def stored(data: Images) -> set[bytes]:
    return {x.numpy().tobytes() for split in SPLITS for x in data.load(split).x}


# ---- what is in a folder


def test_grey_pictures_are_their_own_pixels(folder: Folder) -> None:
    path = folder(numbered(20))
    data = Images(str(path))
    assert (data.spec().shape, data.spec().kind, data.spec().labels) == ((1, 6, 5), "unit", None)
    assert data.spec().sizes == {"train": 16, "val": 2, "test": 2}
    assert stored(data) == {np.asarray(Image.open(file)).tobytes() for file in path.iterdir()}
    assert 0.9 < float(next(iter(data.batches("train", 99))).x.max()) <= 1


def test_one_colour_picture_makes_all_of_them_colour(folder: Folder) -> None:
    path = folder(numbered(10), colour=pixels(6, 5, 3))
    assert Images(str(path)).spec().shape == (3, 6, 5)
    assert Images(str(path), channels="grey").spec().shape == (1, 6, 5)
    x = torch.cat([Images(str(path)).load(split).x for split in SPLITS])
    assert sum(bool((one[0] == one[1]).all()) for one in x) == 10


def test_subfolders_are_classes_in_the_order_of_their_names(folder: Folder) -> None:
    path = folder([*numbered(8, "dog/"), *numbered(8, "cat/deeper/"), *numbered(8, "ant/")])
    data = Images(str(path), split_seed=3)
    assert data.label_names == ["ant", "cat", "dog"]
    assert data.spec().labels == 3
    own = {np.asarray(Image.open(file)).tobytes(): file for file in path.rglob("*.png")}
    for split in SPLITS:
        for x, y in zip(data.load(split).x, data.load(split).y, strict=True):
            assert own[x.numpy().tobytes()].relative_to(path).parts[0] == data.label_names[y]
    assert Images(str(path / "dog")).spec().labels is None
    assert Images(str(folder(numbered(9, "only/")).parent / "pictures" / "only")).label_names == []


def test_a_split_of_ones_own(folder: Folder) -> None:
    path = folder(
        [*numbered(10, "train/a/"), *numbered(10, "train/b/"), *numbered(4, "val/a/"), *numbered(3, "test/b/")]
    )
    data = Images(str(path))
    assert data.spec().sizes == {"train": 20, "val": 4, "test": 3}
    assert data.label_names == ["a", "b"]
    assert data.load("val").y.tolist() == [0] * 4
    assert data.load("test").y.tolist() == [1] * 3
    first = np.asarray(Image.open(path / "test" / "b" / "00.png"))
    assert torch.equal(data.load("test").x[0, 0], torch.from_numpy(first.copy()))
    shutil.rmtree(path / "val")
    data = Images(str(path), val_fraction=0.25)
    assert data.spec().sizes == {"train": 15, "val": 5, "test": 3}
    assert Images(str(path), val_fraction=0.25, split_seed=1).spec().sizes == data.spec().sizes
    (path / "train" / "b").rename(path / "train" / "c")
    assert Images(str(path)).label_names == ["a", "b", "c"]


def test_what_is_no_picture_by_its_name_is_left_out_and_said(folder: Folder) -> None:
    path = folder([*numbered(10), "x.JPG", "y.jpeg", ".hidden.png", ".cache/z.png"])
    assert Images(str(path)).cautions() == []
    assert sum(Images(str(path)).spec().sizes.values()) == 12
    for name in ("notes.txt", "t.gif"):
        (path / name).write_text("")
    assert Images(str(path)).cautions() == ["left out what is neither .png nor .jpg: notes.txt, t.gif"]


def test_pictures_that_are_in_train_too_are_counted_whatever_their_files(folder: Folder) -> None:
    path = folder([*numbered(10, "train/"), *numbered(4, "val/"), *numbered(4, "test/")])
    shutil.copy(path / "train" / "03.png", path / "test" / "00.png")
    Image.open(path / "train" / "04.png").convert("RGB").save(path / "test" / "01.png", compress_level=0)
    assert Images(str(path), channels="grey").repeated == {"val": 0, "test": 2}
    assert Images(str(path)).cautions()[0].startswith("2 of 4 test examples are in train too, to the bit")


def test_the_fingerprint_is_of_names_and_contents(folder: Folder, tmp_path: Path) -> None:
    path = folder([*numbered(5, "a/"), *numbered(5, "b/")])
    first = Images(str(path)).fingerprint()
    shutil.copytree(path, tmp_path / "elsewhere")
    assert Images(str(tmp_path / "elsewhere")).fingerprint() == first
    data = Images(str(path))
    (path / "a" / "00.png").rename(path / "b" / "99.png")
    assert data.fingerprint() != first
    (path / "b" / "99.png").rename(path / "a" / "00.png")
    assert data.fingerprint() == first
    Image.fromarray(pixels(6, 5)).save(path / "a" / "00.png")
    assert data.fingerprint() != first


def test_the_pixels_are_read_once_and_anew_when_a_file_has_changed(folder: Folder, monkeypatch: Any) -> None:
    path, read = folder(numbered(10)), []
    original = image_files.read_picture
    monkeypatch.setattr(image_files, "read_picture", lambda *a: read.append(a) or original(*a))
    Images(str(path)).load("train")
    Images(str(path)).load("test")
    assert len(read) == 10
    before = stored(Images(str(path)))
    Image.fromarray(pixels(6, 5)).save(path / "00.png")
    assert stored(Images(str(path))) != before


# ---- one picture


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    def save(image: Image.Image, name: str = "one.png", **how: Any) -> Path:
        image.save(tmp_path / name, **how)
        return tmp_path / name

    return save


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(32, 32), (20, 50), (100, 7), (300, 200)])
def test_a_picture_of_one_colour_stays_of_it(size: Any, fit: Any, saved: Any) -> None:
    for name in ("one.png", "one.jpg"):
        file = saved(Image.new("RGB", (90, 60), (200, 200, 200)), name)
        x = read_picture(file, size, fit, grey=False)
        assert x.shape == (3, *size)
        assert set(np.unique(x)) == {200}


def test_a_crop_keeps_the_middle_and_its_proportions(saved: Any) -> None:
    wide = np.zeros((40, 120), np.uint8)
    wide[:, 40:80] = 255
    file = saved(Image.fromarray(wide))
    assert set(np.unique(read_picture(file, (40, 40), "crop", grey=True))) == {255}
    assert set(np.unique(read_picture(file, (20, 20), "crop", grey=True)[:, :, 2:-2])) == {255}
    stretched = read_picture(file, (40, 30), "stretch", grey=True)[0]
    assert stretched[:, 12:18].min() == 255
    assert stretched[:, :8].max() == stretched[:, -8:].max() == 0
    tall = saved(Image.fromarray(np.ascontiguousarray(wide.T)))
    assert set(np.unique(read_picture(tall, (40, 40), "crop", grey=True))) == {255}


def test_a_picture_is_made_smaller_by_the_mean_and_not_by_every_nth_pixel(saved: Any) -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = read_picture(saved(Image.fromarray(board)), (8, 8), "stretch", grey=True)
    assert np.abs(small.astype(int) - 127).max() <= 8


def test_a_large_jpeg_is_as_its_pixels_are(saved: Any) -> None:
    smooth = Image.fromarray(pixels(6, 8, 3)).resize((1600, 1200), Image.Resampling.BICUBIC)
    small = read_picture(saved(smooth, "large.jpg", quality=95), (24, 32), "crop", grey=False)
    whole = np.moveaxis(np.asarray(smooth.resize((32, 24), Image.Resampling.BICUBIC)), -1, 0)
    assert np.abs(small.astype(int) - whole).max() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_the_right_way_up(orientation: int, saved: Any) -> None:
    """What a viewer shows (EXIF 2.3, tag 0x0112): where the first row and the first column of the file are."""
    x = pixels(6, 5)
    shown = {
        1: x, 2: x[:, ::-1], 3: x[::-1, ::-1], 4: x[::-1], 5: x.T, 6: np.rot90(x, -1), 7: x[::-1, ::-1].T, 8: np.rot90(x),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = read_picture(saved(Image.fromarray(x), exif=exif), None, "crop", grey=True)
    assert np.array_equal(read[0], shown)


def test_every_mode_of_8_bits_is_read(saved: Any) -> None:
    colour = Image.fromarray(np.kron(pixels(2, 2, 3), np.ones((8, 8, 1), np.uint8)))
    plain = read_picture(saved(colour), None, "crop", grey=False)
    for name, image in [
        ("a.png", colour.quantize(16, dither=Image.Dither.NONE)),
        ("b.jpg", colour.convert("CMYK")),
        ("c.png", colour.convert("RGBA")),
        ("d.jpg", colour),
    ]:
        how = {"quality": 100, "subsampling": 0} if name.endswith("jpg") else {}
        read = read_picture(saved(image, name, **how), None, "crop", grey=False)
        assert np.abs(read.astype(int) - plain).max() <= 4, name
    bits = read_picture(saved(colour.convert("1"), "e.png"), None, "crop", grey=True)
    assert set(np.unique(bits)) <= {0, 255}


DEEP = RNG.integers(0, 65536, (12, 6, 5), np.uint16)


def in_folder(folder: Path, x: Any) -> Images:
    folder.mkdir()
    for i, one in enumerate(x):
        Image.fromarray(one).save(folder / f"{i:02}.png")
    return Images(str(folder), val_fraction=0.25, test_fraction=0.25)


def test_16_bits_are_kept(tmp_path: Path) -> None:
    """65535 is 1, no two levels are one, and files of 8 bits beside them are what they are alone."""
    eight = RNG.integers(0, 256, (3, 6, 5), np.uint8)
    data = in_folder(tmp_path / "mixed", [*DEEP[:9], *eight])
    expected = np.concatenate([DEEP[:9] / 65535, eight / 255])
    assert (data.spec().kind, data.cautions()) == ("unit", [])
    for split in ("train", "val", "test"):
        (batch,) = data.batches(split, 6)
        assert batch.x.dtype == torch.float32
        assert batch.x[:, 0].numpy() == pytest.approx(expected[data._parts[split].numpy()], abs=1e-7)
    assert data.examples(tmp_path / "mixed")[:, 0].numpy() == pytest.approx(expected, abs=1e-7)
    assert len(np.unique(np.rint(data.examples(tmp_path / "mixed")[:9].numpy() * 65535))) == len(np.unique(DEEP[:9]))


def test_16_bits_are_rounded_for_a_model_of_8(tmp_path: Path) -> None:
    eight = RNG.integers(0, 256, (12, 6, 5), np.uint8)
    model, deep = in_folder(tmp_path / "eight", eight), in_folder(tmp_path / "deep", DEEP)
    seen = model.examples(deep.path)[:, 0].numpy()
    assert seen == pytest.approx(np.rint(DEEP / 257) / 255, abs=1e-7)
    in_folder(tmp_path / "same", eight.astype(np.uint16) * 257)
    assert torch.equal(model.examples(tmp_path / "same"), model.examples(model.path))


@pytest.mark.parametrize("how", ["static", "threshold"])
def test_16_bits_are_binarised_by_their_level(how: Any, tmp_path: Path) -> None:
    data = in_folder(tmp_path / "deep", np.repeat(DEEP[:, :1, :1] // 40000 * 65535 // 1, 40, 1).astype(np.uint16))
    data.binarization = how
    x = next(iter(data.batches("train", 6))).x
    assert torch.equal(
        x[:, 0].bool(), torch.from_numpy(DEEP[data._parts["train"].numpy(), :1, :1] >= 40000).expand(-1, 40, 1)
    )


def test_16_bits_are_resized_within_their_range(tmp_path: Path) -> None:
    in_folder(tmp_path / "deep", (np.indices((12, 64, 64)).sum(0) // 8 % 2 * 65535).astype(np.uint16))
    data = Images(str(tmp_path / "deep"), size=24)
    x = data.load("train").x
    assert x.shape[1:] == (1, 24, 24)
    assert (float(x.min()), float(x.max())) == (0, 1)
    assert float(x.mean()) == pytest.approx(0.5, abs=0.02)


def test_8_of_16_bits_in_colour_are_told(tmp_path: Path) -> None:
    data = in_folder(tmp_path / "mixed", [*DEEP[:3], *(pixels(6, 5, 3) for _ in range(6))])
    assert data.cautions() == ["of the 16 bits of 3 pictures 8 are read: all must be grey for more"]
    seen = data.examples(tmp_path / "mixed")
    assert seen[0].numpy() == pytest.approx(np.repeat(np.rint(DEEP[:1] / 257) / 255, 3, 0), abs=1e-7)


def test_a_mask_of_0_and_1_is_said_to_be_dark(tmp_path: Path) -> None:
    (line,) = in_folder(tmp_path / "masks", RNG.integers(0, 2, (12, 6, 5), np.uint8)).cautions()
    assert line.endswith("bring the levels to the whole of 0 to 255, or of 0 to 65535 of 16 bits (a mask to 0 and 255)")


def test_what_is_transparent_is_on_white(saved: Any) -> None:
    x = np.dstack([pixels(4, 4, 3), np.full((4, 4), 255, np.uint8)])
    x[:2, :, 3] = 0
    read = read_picture(saved(Image.fromarray(x)), None, "crop", grey=False)
    assert (read[:, :2] == 255).all()
    assert np.array_equal(read[:, 2:], np.moveaxis(x[2:, :, :3], -1, 0))


# ---- others, as the model sees them


@pytest.mark.parametrize("binarization", ["none", "static", "dynamic", "threshold"])
def test_other_pictures_are_seen_as_the_own_ones_are(binarization: Any, folder: Folder, tmp_path: Path) -> None:
    path = folder([*numbered(10, "a/"), *numbered(10, "b/")])
    data = Images(str(path), size=[4, 3], binarization=binarization)
    x = data.examples(path)
    assert x.shape == (20, 1, 4, 3)
    assert x.dtype == torch.float32
    assert torch.equal(x, data.examples(path))
    names = sorted(path.rglob("*.png"))
    for row in (0, 7, 19):
        pixel = read_picture(names[row], (4, 3), "crop", grey=True)
        if binarization == "none":
            assert x[row].numpy() == pytest.approx(pixel / 255)
        elif binarization == "threshold":
            assert np.array_equal(x[row].numpy(), pixel > 127)
    assert (set(x.unique().tolist()) <= {0, 1}) == (binarization != "none")
    alone = data.examples(names[7])
    assert alone.shape == (1, 1, 4, 3)
    assert binarization in ("dynamic", "static") or torch.equal(alone[0], x[7])


def test_other_pictures_that_do_not_fit(folder: Folder, saved: Any) -> None:
    data = Images(str(folder(numbered(10))))
    with pytest.raises(
        DataError,
        match=r"one.png is 7x5 pixels \(height x width\), not 6x5: the model takes this size alone; bring it to that, or",
    ):
        data.examples(saved(Image.fromarray(pixels(7, 5))))
    with pytest.raises(DataError, match="no is missing"):
        data.examples(Path("no"))


# ---- what is refused


def test_a_bad_folder_costs_one_clear_line(folder: Folder, tmp_path: Path) -> None:
    path = folder(numbered(9))
    for line, spoil in [
        (r"pictures/bad.png is no picture, whatever its name: repair or remove it", lambda f: f.write_bytes(b"nonsense")),
        (r"pictures/bad.png is no picture, whatever", lambda f: f.write_bytes(b"")),
        (r"pictures/bad.png is no whole picture \(.+\): repair or remove it", lambda f: f.write_bytes((path / "00.png").read_bytes()[:50])),
        (r"pictures/bad.png is 6x4 pixels \(height x width\), not 6x5: 00.png is; set dataset.size= to bring all of them to one", Image.fromarray(pixels(6, 4)).save),
    ]:  # fmt: skip
        spoil(path / "bad.png")
        with pytest.raises(DataError, match=line) as error:
            Images(str(path)).load("train")
        assert "\n" not in str(error.value)


def test_a_folder_that_is_not_sorted_or_not_there(folder: Folder) -> None:
    path = folder(numbered(9))
    for wrong, line in [
        (path / "no", "no is missing: set dataset.path= to a folder of pictures"),
        (path / "00.png", "00.png is a file: set dataset.path= to a folder of pictures"),
        (
            folder([f"a/{name}" for name in numbered(3)]),
            r"a/00.png has a class, by its folder, and 00.png has none: sort all",
        ),
    ]:
        with pytest.raises(DataError, match=line):
            Images(str(wrong)).spec()
    shutil.rmtree(path)
    (path / "empty").mkdir(parents=True)
    with pytest.raises(DataError, match=r"pictures has no .png, .jpg or .jpeg in it: set dataset.path="):
        Images(str(path)).spec()


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["train/a.png", "test/a.png"], r"pictures \(in splits\): each split needs an example, and these would have train 1, val 0: give more examples, or other dataset.val_fraction"),
        (["train/a.png", "test/a.png", "b.png"], r"pictures has test, train, called as splits are, and beside that b.png: move it away .*dataset.splits=false"),
        (["Train/a.png", "holdout/a.png"], r"pictures has Train, called as splits are, and beside that holdout: move it away or call it .*dataset.splits=false"),
        (["Valid/a.png", "Test/a.png"], r"pictures has the folders Test, Valid, splits by their names, and none for train: dataset.splits=false"),
    ],
)  # fmt: skip
def test_splits_that_are_none(names: list[str], line: str, folder: Folder) -> None:
    with pytest.raises(DataError, match=line):
        Images(str(folder(names))).spec()
    assert layout(names, False, "here").splits == []


SPELLED = [
    ("{split}/{kind}/", {"train": "Train", "val": "Val", "test": "Test"}),
    ("{split}/{kind}/", {"train": "training_set", "val": "valid", "test": "testing"}),
    ("{split}/{kind}/", {"train": "TRAIN", "val": "dev", "test": "TEST"}),
    ("{split}/{kind}/", {"train": "train2017", "val": "validation", "test": "test2017"}),
    ("{kind}/{split}/", {"train": "train", "val": "val", "test": "test"}),
    ("images/{split}/{kind}/", {"train": "train", "val": "val", "test": "test"}),
]


@pytest.mark.parametrize(("form", "spelling"), SPELLED)
def test_splits_by_any_name_are_those_of_the_plain_one(
    form: str, spelling: dict[str, str], folder: Folder, tmp_path: Path
) -> None:
    """The same pictures with the same labels in each split, whatever the folders are called and wherever they lie."""
    places = [(split, kind, i) for split in SPLITS for kind in ("cat", "dog") for i in range(3)]
    path = folder([f"{split}/{kind}/{i}.png" for split, kind, i in places])
    other = tmp_path / "other"
    for split, kind, i in places:
        to = other / form.format(split=spelling[split], kind=kind) / f"{i}.png"
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path / split / kind / f"{i}.png", to)
    plain, data = Images(str(path)), Images(str(other))
    assert data.label_names == ["cat", "dog"]
    for split in SPLITS:
        assert torch.equal(data.load(split).x, plain.load(split).x)
        assert torch.equal(data.load(split).y, plain.load(split).y)
    (line,) = data.cautions()
    assert all(f"{split} ({name})" in line for split, name in spelling.items())
    assert "\n" not in line


def test_what_was_taken_for_classes_and_is_in_splits_has_another_fingerprint(folder: Folder) -> None:
    """A run of before had test pictures in train. Folders that are read as before keep their runs."""
    path = folder([*numbered(4, "train/"), *numbered(4, "val/"), *numbered(4, "test/")])
    plain = Images(str(path)).fingerprint()
    assert (
        plain
        == Images(str(path), splits=False).fingerprint()
        == image_files.folder_hash(path, Images(str(path))._found)
    )
    for split in SPLITS:
        (path / split).rename(path / split.title())
    data, classes = Images(str(path)), Images(str(path), splits=False)
    assert data.fingerprint() != classes.fingerprint()
    assert classes.fingerprint() == image_files.folder_hash(path, data._found)
    assert (classes.label_names, classes.spec().sizes) == (["Test", "Train", "Val"], {"train": 10, "val": 1, "test": 1})
    assert classes.cautions() == []


def test_a_split_that_no_folder_is_of_is_drawn_from_train(folder: Folder) -> None:
    path = folder([*numbered(20, "train/"), *numbered(5, "valid/")])
    data = Images(str(path), test_fraction=0.2)
    assert data.spec().sizes == {"train": 16, "val": 5, "test": 4}
    own = {np.asarray(Image.open(file)).tobytes() for file in (path / "train").iterdir()}
    parts = {split: {x.numpy().tobytes() for x in data.load(split).x} for split in SPLITS}
    assert parts["train"] | parts["test"] == own
    assert not parts["train"] & parts["test"]
    assert "train (train), val (valid), test (drawn from train)" in data.cautions()[0]
    shutil.rmtree(path / "valid")
    assert Images(str(path)).spec().sizes == {"train": 16, "val": 2, "test": 2}


def test_a_class_that_is_called_train(folder: Folder) -> None:
    path = folder([*numbered(8, "bus/"), *numbered(8, "car/"), *numbered(8, "train/")])
    data = Images(str(path))
    assert data.label_names == ["bus", "car", "train"]
    assert sum(data.spec().sizes.values()) == 24
    assert data.cautions() == ["the folder train is taken for a class, since bus, car beside it are no splits"]
    assert Images(str(path), splits=False).cautions() == []
    assert Images(str(path), splits=False).label_names == data.label_names


@pytest.mark.parametrize(
    "names",
    [
        ("cars_train", "cars_test"),
        ("images_train", "images_val"),
        ("trainA", "trainB", "testA", "testB"),
        ("train-1", "train-2", "test"),
        ("a/b/train/cat", "a/b/test/cat"),
    ],
)
def test_folders_called_after_splits_are_no_classes(names: tuple[str, ...], folder: Folder) -> None:
    """Their test pictures would be in train."""
    path = folder([file for name in names for file in numbered(8, f"{name}/")])
    with pytest.raises(DataError, match="called after splits: put the pictures into train, val and test there"):
        Images(str(path)).spec()
    assert sum(Images(str(path), splits=False).spec().sizes.values()) == 8 * len(names)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("cat", "dog", "test"), "the folder test is taken for a class, since cat, dog beside it are no splits"),
        (("cat/train", "cat/test", "dog/x"), "the folders test, train are not read as splits, since x beside them are no splits"),
        (("trainer", "boots"), None),
    ],
)  # fmt: skip
def test_what_may_be_a_split_and_is_not_taken_for_one_is_said(
    names: tuple[str, ...], line: str | None, folder: Folder
) -> None:
    path = folder([file for name in names for file in numbered(8, f"{name}/")])
    assert Images(str(path)).cautions() == ([line] if line else [])


def test_photographs_are_not_taken_at_their_full_size_unasked(folder: Folder) -> None:
    path = folder([], **{f"p{i}": pixels(300, 200) for i in range(9)})
    with pytest.raises(
        DataError, match=r"p0.png is 300x200 pixels, much for a model: set dataset.size= to what it is to see"
    ):
        Images(str(path)).spec()
    assert Images(str(path), size=300, channels="colour").spec().shape == (3, 300, 300)


def test_a_long_folder_says_how_far_it_is(folder: Folder, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr(image_files, "_SAID_EVERY", 0.0)
    with caplog.at_level(logging.WARNING):
        Images(str(folder(numbered(10)))).load("train")
    assert "of 10 pictures read" in caplog.text


def test_links_to_folders_are_followed(folder: Folder, tmp_path: Path) -> None:
    path = folder([*numbered(5, "a/"), *numbered(5, "b/")])
    (tmp_path / "linked").mkdir()
    for name in ("a", "b"):
        os.symlink(path / name, tmp_path / "linked" / name)
    assert Images(str(tmp_path / "linked")).fingerprint() == Images(str(path)).fingerprint()
