"""Splits and classes of pictures, by the folders that they lie in."""

from collections.abc import Sequence
from typing import NamedTuple

from vae_lab.data.dataset import SPLITS, DataError
from vae_lab.data.splits import hinted, spelled, split_of

Folders = Sequence[tuple[str, ...]]
AS_CLASSES = "dataset.splits=false takes every folder for a class"


class Layout(NamedTuple):
    """What folders say of each picture.

    Attributes:
        splits: the folder that is its split, in its spelling; empty where no folders are splits.
        classes: its class, (name,), or () where it lies in no folder of a class.
        line: how the folders are read, where that is a choice; else empty.
        plain: splits are called train, val and test and hold the classes, if there are any: the first form that was read.
    """

    splits: list[str]
    classes: list[tuple[str, ...]]
    line: str = ""
    plain: bool = True


def layout(names: Sequence[str], splits: bool, where: object) -> Layout:
    """Reads the folders of pictures: splits may hold the classes (train/cat) or lie in them (cat/train).

    Arguments:
        names: of the pictures, below the folder `where`. splits: false takes every folder for a class.

    Raises DataError for folders that may be either.
    """
    folders = [tuple(name.split("/")[:-1]) for name in names]
    first = sorted({name.split("/")[0] for name in names})
    if splits and _are_splits(first, where):
        return _layout(folders, 0)
    second = {one[1] if len(one) > 1 else "" for one in folders}
    if splits and len(second) > 1 and {"train"} < {split_of(name) for name in second} <= {*SPLITS}:
        return _layout(folders, 1)
    return Layout([], [one[:1] for one in folders], _taken_for_classes(folders, where) if splits else "")


def _taken_for_classes(folders: Folders, where: object) -> str:
    """Names in a line the folders that may be splits and are not taken for any; empty where there are none. Raises DataError
    where all folders of a level are called after splits, train among them: no class is."""
    for level in range(max(map(len, folders), default=0)):
        names = sorted({one[level] for one in folders if len(one) > level})
        of = {name: split for name in names if (split := split_of(name) or hinted(name))}
        told = ", ".join(list(of)[:6]) + (", ..." if len(of) > 6 else "")
        if len(of) == len(names) and len({*of.values()}) > 1 and "train" in of.values():
            raise DataError(
                f"{where} has the folders {told}, called after splits: put the pictures into train, val and test there, with "
                f"their classes in them; {AS_CLASSES}"
            )
        if of:
            one = "the folder {} is" if len(of) == 1 else "the folders {} are"
            how = f"taken for a class{'es' * (len(of) > 1)}" if level == 0 else "not read as splits"
            others = ", ".join(name for name in names if name not in of)
            them = "it" if len(of) == 1 else "them"
            why = f", since {others} beside {them} are no splits" if others else ""
            return f"{one.format(told)} {how}{why}"
    return ""


def _are_splits(first: Sequence[str], where: object) -> bool:
    """Folders are splits if all of them are called so; one train among other names is a class."""
    of = {name: split_of(name) for name in first}
    others = [name for name, split in of.items() if split is None]
    mine, kinds = ", ".join(name for name in first if of[name]), {*of.values()} - {None}
    if not others and len(first) > 1 and "train" not in kinds:
        raise DataError(f"{where} has the folders {mine}, splits by their names, and none for train: {AS_CLASSES}")
    if others and "train" in kinds and (len(kinds) > 1 or len(others) == 1):
        more = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise DataError(
            f"{where} has {mine}, called as splits are, and beside that {more}: move it away or call it train, val or "
            f"test; {AS_CLASSES}"
        )
    return not others and "train" in kinds


def _layout(folders: Folders, level: int) -> Layout:
    own = [one[level] for one in folders]
    inside = [one[:level] + one[level + 1 :] for one in folders]
    if level and len({one[0] for one in inside}) == 1:  # one folder around all splits, as images/train
        inside = [one[1:] for one in inside]
    line = f"folders are splits: {spelled(own)}; {AS_CLASSES}"
    return Layout(own, [one[:1] for one in inside], line, level == 0 and {*own} <= {*SPLITS})
