"""A person's own table: rows of numbers from a csv, parquet or npy file, standardised, with nats in the file's own units."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.dataset import SPLITS, DataError, Dataset, Kind, Spec, Split
from vae_lab.data.files import version
from vae_lab.data.splits import drawn, given, repeated, spelled
from vae_lab.data.table_cautions import rounded
from vae_lab.data.table_choice import Choice, Name, one_of, shown
from vae_lab.data.table_columns import decode, encode
from vae_lab.data.table_file import open_table
from vae_lab.data.table_rows import Rows, check_names, numbers, read_rows
from vae_lab.settings import Filled, Fraction, NonNegativeInt


class Table(Dataset):
    r"""Rows of a file, (d,), a column a coordinate, standardised by the mean m and the standard deviation s of the train split.

    .. math:: x'_j = (x_j - m_j) / s_j, \qquad \log p(x) = \log p(x') - \sum_j \log s_j

    The model sees x', and what is reported is the density of x, in the units of the file: the sum is `Spec.log_units`, which
    enters the distortion. So the same table in other units gives the same model, and nats that differ by the change of units
    alone.

    A column in `onehot` is a coordinate for each of its values, 0 or 1 and not standardised, so that it adds nothing to the sum.

    Raises DataError for a file that is missing or damaged, a column that is not there, text, missing values (with the row),
    and a column that is constant, which has no scale.

    Arguments:
        path: a csv (names in the first line; comma, semicolon or tab), parquet or npy file ((n, d), or structured).
        columns: those that x is made of, by name and in this order (by number from 0 in an npy (n, d)); null for every one but
            `label`, `split` and those in `ignore`.
        ignore: columns that are left out where `columns` is null.
        label: the column of the labels, text or whole numbers, or null.
        split: the column that says train, val or test of each row, in any common spelling, or null.
        val_fraction, test_fraction: of the rows, where there is no such column; of train, where it names no such split.
        split_seed: of the random split.
        standardize: to mean 0 and standard deviation 1 on the train split; if false x is as it stands in the file, and binary
            if it is all 0 and 1.
        without: classes, by what stands in `label`, that train and val leave out, and test keeps; the
            standardisation is of the others alone.
        onehot: columns of x that are categories, each value (of the whole file) a coordinate of its own.
    """

    cosmetic = frozenset({"path"})  # where the data lie is no part of a run's identity
    rescaling = "standardise (dataset.standardize=true)"

    def __init__(
        self,
        path: Filled,
        columns: list[Name] | None = None,
        ignore: list[Name] = [],
        label: Name | None = None,
        split: Name | None = None,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.1,
        split_seed: int = 0,
        standardize: bool = True,
        without: Sequence[NonNegativeInt | str] = [],
        onehot: list[Name] = [],
    ) -> None:
        self.path, self.split_seed, self.standardize = Path(path).expanduser(), split_seed, standardize
        self.without = without
        self.choice = Choice.of(columns, ignore, label, split, onehot)
        self.fractions = {"val": val_fraction, "test": test_fraction}

    def spec(self) -> Spec:
        sizes = {split: len(at) for split, at in self._parts.items()}
        log_units = float(self.scaling[1].log().sum())
        return self.trained_on(Spec((len(self.names),), self._kind, sizes, len(self.label_names) or None, log_units))

    def fingerprint(self) -> str:
        return read_rows(self.path, version(self.path), self.choice).fingerprint  # it may have changed since

    def read(self) -> dict[str, Split]:
        x, y = self._served(self._rows.x), self._labels
        return {split: Split(x[at], None if y is None else y[at]) for split, at in self._parts.items()}

    @cached_property
    def repeated(self) -> dict[str, int]:
        return repeated({split: self.load(split) for split in self._parts})

    @property
    def names(self) -> list[str]:
        """Of the coordinates of x."""
        return self._rows.names

    @property
    def label_names(self) -> list[str]:
        """Of the classes, in their order: numbers by size, text by the alphabet."""
        return self._rows.classes

    def class_name(self, label: int) -> str:
        return self.label_names[label]

    @cached_property
    def scaling(self) -> tuple[Tensor, Tensor]:
        """The mean and the standard deviation of each column on the train split, less the classes in `without`, (d,),
        float64; 0 and 1 without `standardize`, and of coordinates that stand for words."""
        rows, y = self._parts["train"], self._labels
        if self.without and y is not None:
            rows = rows[self.trains_on(y[rows], y[rows])]
        train, plain = torch.from_numpy(self._rows.x)[rows], ~torch.from_numpy(self._rows.coded)
        mean, scale = torch.zeros_like(train[0]), torch.ones_like(train[0])
        if self.standardize:
            mean[plain], scale[plain] = self._moments(train[:, plain], np.array(self.names)[plain.numpy()].tolist())
        return mean, scale

    def _moments(self, train: Tensor, names: list[str]) -> tuple[Tensor, Tensor]:
        """Raises DataError for a column that has no scale."""
        constant = [name for name, same in zip(names, (train == train[0]).all(0), strict=True) if same]
        if constant:
            columns = [column.name for column in self._rows.columns]
            ways = self.choice.without(constant, columns) or ["a model needs columns that vary"]
            large = " (as float64, which is exact to 2^53)" if (train[0].abs() > 2**53).any() else ""
            raise DataError(
                f"{self.path}: the train split has one and the same value in all of {shown(constant)}{large}, and so no scale to "
                f"standardise by: {one_of(ways)}"
            )
        if not train.shape[1]:  # nothing but categories
            return train.new_zeros(0), train.new_ones(0)
        unit = torch.ldexp(torch.ones_like(train[0]), torch.frexp(train.abs().max(0).values).exponent)
        part = train / unit  # by a power of 2, which is exact: else a square of 1e-170 is 0
        return part.mean(0) * unit, part.std(0, correction=0) * unit

    def original(self, x: Tensor) -> Tensor:
        """Examples, (..., d), in the units of the file, float64."""
        mean, scale = self.scaling
        return x.double() * scale + mean

    def table(self, x: Tensor) -> list[list[Any]]:
        """Examples, (n, d), as rows of the file: its columns in its units, the titles first. Of `onehot` ones the value whose
        coordinate is the largest, and nothing where two are."""
        columns = decode(self._rows.columns, self.original(x).numpy())
        return [[*columns], *map(list, zip(*columns.values(), strict=True))]

    def examples(self, path: Path) -> Tensor:
        """Rows of another file, (n, d), float32, in its order and as the model sees them: the same columns by their names, in
        the scale of this one's train split. Other columns may be there, and are not looked at.

        Raises DataError as for the file itself.
        """
        table, columns = open_table(path), self._rows.columns
        check_names([column.name for column in columns], table, "the model takes the columns of its training: ")
        plain = [column.name for column in columns if not column.values]
        coded = [column.name for column in columns if column.values]
        content = table.read(plain, coded)
        words = dict(zip(coded, content.words, strict=True))
        x = encode(columns, numbers(content, plain, path), words, content.place, path)
        if self._kind == "binary" and not np.isin(x, (0, 1)).all():
            raise DataError(f"{path} has other numbers than 0 and 1, and the model knows no others")
        return self._served(x).float()

    def cautions(self) -> list[str]:
        """Also of splits that the file calls otherwise, and of columns that are probably not what they seem."""
        names = set(self._rows.splits)
        line = f"column {self.choice.split} has the splits {spelled(names)}"
        return [*super().cautions(), *([line] if names - set(SPLITS) else []), *self._rows.cautions]

    def _ill_sized(self) -> list[str]:
        """First of columns that float32, in which they are served, does not hold as they stand."""
        lost = [] if self.standardize else rounded(self._rows.x, self.names, np.float32)
        line = (
            f"float32, in which x is served, loses what varies in {shown(lost)}: standardise (dataset.standardize=true)"
        )
        return [line] if lost else super()._ill_sized()

    def identifiers(self, path: Path) -> dict[str, list[str]]:
        """Those columns in `ignore` that the file has."""
        table = open_table(path)
        names = [name for name in self.choice.ignore if name in table.names]
        return dict(zip(names, table.read((), names).words, strict=True))

    @cached_property
    def _rows(self) -> Rows:
        return read_rows(self.path, version(self.path), self.choice)

    @cached_property
    def _labels(self) -> Tensor | None:
        return torch.tensor(self._rows.y) if self.label_names else None

    @cached_property
    def _kind(self) -> Kind:
        return "binary" if not self.standardize and np.isin(self._rows.x, (0, 1)).all() else "real"

    def _served(self, x: np.ndarray) -> Tensor:
        """Numbers of a file as the model sees them."""
        if self._kind == "binary":
            return torch.from_numpy(x == 1)
        mean, scale = self.scaling
        return ((torch.from_numpy(x) - mean) / scale).float()

    @cached_property
    def _parts(self) -> dict[str, Tensor]:
        """The rows of each split."""
        rows = self._rows
        if rows.splits:
            where = f"{self.path}: column {self.choice.split}"
            return given(rows.splits, self.fractions, self.split_seed, where)
        return drawn(len(rows.x), self.fractions, self.split_seed, self.path)
