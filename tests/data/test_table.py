"""A person's own tables: what is read of each form of file, the change of units, and what each bad one is told."""

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet
from torch.distributions import MultivariateNormal, Normal

from vae_lab.data import DataError
from vae_lab.data.table import Table
from vae_lab.data.table_cautions import far_values
from vae_lab.evaluation.nll import importance_nll
from vae_lab.models import VAE, Batch
from vae_lab.models.decoders import LinearDecoder
from vae_lab.models.encoders import LinearEncoder
from vae_lab.models.likelihoods import GaussianLikelihood
from vae_lab.models.parametrizations import Plain
from vae_lab.models.posteriors import DiagonalPosterior
from vae_lab.models.priors import StandardNormalPrior

SPLITS = ("train", "val", "test")
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal([0, 5, -3], [1, 100, 0.01], (40, 3))
COLUMNS = {"a": NUMBERS[:, 0].tolist(), "b": NUMBERS[:, 1].tolist(), "c": NUMBERS[:, 2].tolist()}
KINDS = [["red", "green", "blue"][i % 3] for i in range(40)]

Write = Callable[..., str]


@pytest.fixture
def csv(tmp_path: Path) -> Write:
    def write(columns: dict[str, Any], name: str = "t.csv", mark: str = ",") -> str:
        lines = [columns.keys(), *zip(*columns.values(), strict=True)]
        (tmp_path / name).write_text("".join(mark.join(map(str, line)) + "\n" for line in lines))
        return str(tmp_path / name)

    return write


@pytest.fixture
def text(tmp_path: Path) -> Write:
    def write(content: str | bytes, name: str = "t.csv") -> str:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return write


@pytest.fixture
def arrow(tmp_path: Path) -> Write:
    def write(columns: dict[str, Any]) -> str:
        parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
        return str(tmp_path / "t.parquet")

    return write


@pytest.fixture
def npy(tmp_path: Path) -> Write:
    def write(x: Any) -> str:
        np.save(tmp_path / "t.npy", x)
        return str(tmp_path / "t.npy")

    return write


def all_x(data: Table) -> torch.Tensor:
    return torch.cat([data.load(split).x for split in SPLITS])


# ---- what is read


def test_the_three_forms_of_one_table_are_the_same_data(csv: Write, arrow: Write, npy: Write) -> None:
    fields = [("a", "f8"), ("b", "f8"), ("c", "f8"), ("kind", "U9")]
    structured = np.array([*zip(*COLUMNS.values(), KINDS, strict=True)], fields)
    whole = {**COLUMNS, "kind": KINDS}
    data = [Table(path, label="kind") for path in (csv(whole), arrow(whole), npy(structured))]
    for other in data[1:]:
        assert other.spec() == data[0].spec()
        assert other.fingerprint() == data[0].fingerprint()
        for split in SPLITS:
            assert torch.equal(other.load(split).x, data[0].load(split).x)
            assert torch.equal(other.load(split).y, data[0].load(split).y)
    assert data[0].spec().labels == 3
    assert data[0].label_names == ["blue", "green", "red"]


def test_columns_of_a_plain_array_are_named_by_number(npy: Write) -> None:
    data = Table(npy(np.c_[NUMBERS, np.arange(40) % 2]), columns=[2, 0], label=3)
    assert data.names == ["2", "0"]
    assert data.label_names == ["0", "1"]
    rows = sorted(map(tuple, data.original(all_x(data).double()).tolist()))
    assert np.array(rows) == pytest.approx(np.array(sorted(map(tuple, NUMBERS[:, [2, 0]].tolist()))), abs=1e-5)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_csv_of_a_spreadsheet(mark: str, text: Write) -> None:
    lines = [mark.join(row) for row in (["x ", '"y"'], ["1e3", " 2"], ["TRUE", "-4"], ["0", '"5"'])]
    path = text("\ufeff" + "\r\n".join([lines[0], "", *lines[1:]]) + "\r\n\r\n")
    data = Table(path, standardize=False, val_fraction=0.34, test_fraction=0.34)
    assert data.names == ["x", "y"]
    assert sorted(all_x(data).tolist()) == [[0, 5], [1, -4], [1000, 2]]


def test_columns_of_parquet_of_every_type_that_is_a_number(arrow: Write) -> None:
    types = [pyarrow.int8(), pyarrow.uint64(), pyarrow.float16(), pyarrow.bool_(), pyarrow.decimal128(21, 2)]
    columns = {str(kind): pyarrow.array([i % 2 for i in range(20)]).cast(kind) for kind in types}
    data = Table(arrow({**columns, "dotted.name": pyarrow.array(range(20))}), standardize=False)
    assert all(len(row.unique()) <= 2 for row in all_x(data))
    assert data.names[-1] == "dotted.name"


def test_columns_are_chosen_by_name_wherever_they_stand(csv: Write) -> None:
    chosen = Table(csv(COLUMNS), columns=["c", "a"])
    turned = Table(csv({name: COLUMNS[name] for name in ("c", "b", "a")}, "other.csv"), columns=["c", "a"])
    assert torch.equal(chosen.load("train").x, turned.load("train").x)
    assert chosen.fingerprint() == turned.fingerprint()
    assert Table(csv(COLUMNS), ignore=["b"]).names == ["a", "c"]
    assert Table(csv(COLUMNS), columns=["a", "c"]).fingerprint() == Table(csv(COLUMNS), ignore=["b"]).fingerprint()
    assert chosen.fingerprint() != Table(csv(COLUMNS), columns=["a", "c"]).fingerprint()


# ---- categories

PLACES = [["north", "south", "east"][i * i % 7 % 3] for i in range(40)]
CODES = [i % 3 + 8 for i in range(40)]


def mixed(form: str, csv: Write, arrow: Write, npy: Write) -> Table:
    """Columns a, kind, code and b, in each form of file."""
    columns = {"a": COLUMNS["a"], "kind": PLACES, "code": CODES, "b": COLUMNS["b"]}
    types = [("a", "f8"), ("kind", "S9"), ("code", "i4"), ("b", "f8")]
    write = {
        "csv": lambda: csv(columns),
        "parquet": lambda: arrow({**columns, "kind": pyarrow.array(PLACES).dictionary_encode()}),
        "npy": lambda: npy(np.array([*zip(*columns.values(), strict=True)], types)),
    }[form]
    return Table(write(), onehot=["kind", "code"])


@pytest.mark.parametrize("form", ["csv", "parquet", "npy"])
def test_a_column_of_words_is_a_coordinate_for_each(form: str, csv: Write, arrow: Write, npy: Write) -> None:
    """In place of the column, numbers by their size; a row of zeros and one 1 that says its word."""
    data = mixed(form, csv, arrow, npy)
    assert data.names == ["a", "kind=east", "kind=north", "kind=south", "code=8", "code=9", "code=10", "b"]
    assert data.fingerprint() == mixed("csv", csv, arrow, npy).fingerprint()
    x = data.examples(data.path)
    words = [np.array(["east", "north", "south"])[x[:, 1:4].argmax(1)], np.array([8, 9, 10])[x[:, 4:7].argmax(1)]]
    assert (words[0] == PLACES).all()
    assert (words[1] == CODES).all()
    assert torch.equal(x[:, 1:7], (x[:, 1:7] == 1).float())
    assert x[:, 1:4].sum(1).tolist() == x[:, 4:7].sum(1).tolist() == [1] * 40


@pytest.mark.parametrize("form", ["csv", "parquet", "npy"])
def test_categories_lead_back_to_the_columns_of_the_file(form: str, csv: Write, arrow: Write, npy: Write) -> None:
    data = mixed(form, csv, arrow, npy)
    titles, *rows = data.table(data.examples(data.path))
    assert titles == ["a", "kind", "code", "b"]
    assert [row[1:3] for row in rows] == [*map(list, zip(PLACES, map(str, CODES), strict=True))]
    assert np.array([[row[0], row[3]] for row in rows]) == pytest.approx(NUMBERS[:, :2], rel=1e-5, abs=1e-5)
    blurred = data.examples(data.path) + 0.4 * torch.rand(40, 8, generator=torch.Generator().manual_seed(0))
    assert [row[1:3] for row in data.table(blurred)[1:]] == [row[1:3] for row in rows]
    assert data.table(torch.zeros(1, 8))[1][1:3] == ["", ""]


def test_categories_leave_the_units_to_the_numbers(csv: Write, arrow: Write, npy: Write) -> None:
    data, plain = mixed("csv", csv, arrow, npy), Table(csv(COLUMNS, "plain.csv"), columns=["a", "b"])
    assert data.spec().log_units == plain.spec().log_units
    assert torch.equal(data.load("train").x[:, [0, 7]], plain.load("train").x)
    flags = Table(csv({"kind": PLACES, "flag": [0, 1] * 20}, "flags.csv"), onehot=["kind"], standardize=False)
    assert (flags.spec().kind, flags.spec().shape) == ("binary", (4,))


def test_a_category_that_only_test_has_is_a_column_of_zeros_in_train(csv: Write) -> None:
    parts = ["train"] * 30 + ["val"] * 5 + ["test"] * 5
    path = csv({"a": COLUMNS["a"], "kind": ["x", "y"] * 15 + ["x"] * 5 + ["z"] * 5, "part": parts})
    data = Table(path, split="part", onehot=["kind"])
    assert data.load("train").x[:, 3].tolist() == [0] * 30
    assert data.load("test").x[:, 1:].tolist() == [[0, 0, 1]] * 5


def test_other_rows_with_a_category_that_is_new_cost_one_line(csv: Write) -> None:
    data = Table(csv({"a": COLUMNS["a"], "kind": PLACES}), onehot=["kind"])
    for word, line in [
        ("west", "'west' for kind in line 3, which training has not seen; there were east, north, south"),
        ("", "no value for kind in line 3: fill it in or remove the row"),
    ]:
        path = csv({"kind": ["north", word], "a": [1, 2]}, "new.csv")
        with pytest.raises(DataError) as error:
            data.examples(Path(path))
        assert str(error.value) == f"{path} has {line}"


def test_the_fingerprint_is_of_what_is_used(csv: Write) -> None:
    whole = Table(csv(COLUMNS)).fingerprint()
    for name in COLUMNS:
        changed = {**COLUMNS, name: [COLUMNS[name][0] + 1e-9, *COLUMNS[name][1:]]}
        assert Table(csv(changed)).fingerprint() != whole
    assert Table(csv({**COLUMNS, "kind": KINDS}), label="kind").fingerprint() != whole
    assert Table(csv({**COLUMNS, "kind": KINDS}), ignore=["kind"]).fingerprint() == whole


def test_labels_stay_with_their_rows_and_numbers_are_in_their_order(csv: Write) -> None:
    path = csv({"x": range(40), "z": [*range(1, 41)], "class": [str(float(i % 12 - 1)) for i in range(40)]})
    data = Table(path, label="class", split_seed=5)
    assert data.label_names == [*map(str, range(-1, 11))]
    for split in SPLITS:
        x = data.original(data.load(split).x.double())[:, 0].round()
        assert torch.equal(x.long() % 12, data.load(split).y)


def test_a_split_of_ones_own_is_kept_in_its_order(csv: Write) -> None:
    names = [["train", "test", "val", "train"][i % 4] for i in range(40)]
    data = Table(csv({**COLUMNS, "part": names}), split="part")
    for split in SPLITS:
        rows = [i for i in range(40) if names[i] == split]
        assert data.original(data.load(split).x.double()).numpy() == pytest.approx(NUMBERS[rows], abs=1e-4)
    no_val = [name.replace("val", "train") for name in names]
    data = Table(csv({**COLUMNS, "part": no_val}), split="part", val_fraction=0.2)
    assert data.spec().sizes == {"train": 24, "val": 6, "test": 10}


@pytest.mark.parametrize(
    "spelling", [("Train", "valid", "TEST"), ("training", "dev", "testing"), ("trn", "validation", "tst")]
)
def test_splits_by_any_name_are_those_of_the_plain_one(spelling: tuple[str, ...], csv: Write) -> None:
    parts = [i % 3 for i in range(40)]
    plain = Table(csv({**COLUMNS, "part": [SPLITS[i] for i in parts]}), split="part")
    data = Table(csv({**COLUMNS, "part": [spelling[i] for i in parts]}, "other.csv"), split="part")
    for split in SPLITS:
        assert torch.equal(data.load(split).x, plain.load(split).x)
    pairs = ", ".join(f"{split} ({name})" for split, name in zip(SPLITS, spelling, strict=True))
    assert data.cautions() == [f"column part has the splits {pairs}"]
    assert plain.cautions() == []


# ---- the change of units


def test_the_train_split_has_mean_0_and_standard_deviation_1(csv: Write) -> None:
    x = Table(csv(COLUMNS)).load("train").x
    assert x.mean(0).tolist() == pytest.approx([0] * 3, abs=1e-6)
    assert x.std(0, correction=0).tolist() == pytest.approx([1] * 3, rel=1e-6)


def test_the_way_back_to_the_units_of_the_file(csv: Write) -> None:
    data = Table(csv(COLUMNS))
    rows = sorted(map(tuple, data.original(all_x(data).double()).tolist()))
    assert np.array(rows) == pytest.approx(np.array(sorted(map(tuple, NUMBERS.tolist()))), rel=1e-4, abs=1e-4)
    assert data.original(torch.zeros(2, 5, 3)).shape == (2, 5, 3)


def test_log_units_is_the_log_of_the_volume_of_the_standardised_unit_cube(csv: Write) -> None:
    data = Table(csv(COLUMNS))
    edges = data.original(torch.eye(3, dtype=torch.float64)) - data.original(torch.zeros(1, 3, dtype=torch.float64))
    assert data.spec().log_units == pytest.approx(float(torch.linalg.slogdet(edges).logabsdet))
    assert Table(csv(COLUMNS), standardize=False).spec().log_units == 0


@pytest.fixture
def model() -> Callable[[Table], VAE]:
    """A linear VAE of a table, in float64: of each layer the weights that it was born with."""

    def build(data: Table) -> VAE:
        torch.manual_seed(0)
        shape, posterior = [*data.spec().shape], DiagonalPosterior(2)
        encoder, decoder = LinearEncoder(shape, posterior.outputs), LinearDecoder(2, shape, 1)
        parts = encoder, Plain(), posterior, decoder, GaussianLikelihood(shape, 0.5), StandardNormalPrior(2)
        return VAE(*parts, log_units=data.spec().log_units).double().eval()

    return build


def exact_posterior(vae: VAE) -> None:
    """Sets the encoder to the best diagonal one: p(z|x) is N(M^-1 W^T (x - b), sigma^2 M^-1), M = W^T W + sigma^2 I."""
    weight, bias, encoder = vae.decoder.net.weight, vae.decoder.net.bias, vae.encoder[1]
    m = weight.T @ weight + 0.25 * torch.eye(2, dtype=torch.float64)
    loc = torch.linalg.solve(m, weight.T)
    encoder.weight.copy_(torch.cat([loc, torch.zeros_like(loc)]))
    encoder.bias.copy_(torch.cat([-loc @ bias, 0.5 * (0.25 / m.diagonal()).log()]))


@torch.no_grad()
def test_the_distortion_is_that_of_the_density_in_the_units_of_the_file(csv: Write, model: Any) -> None:
    data = Table(csv(COLUMNS))
    vae, x = model(data), data.load("test").x.double()
    terms = vae.terms(Batch(x), torch.zeros(1, len(x), 2, dtype=torch.float64))
    mean, scale = data.original(vae.decoder.raw(terms.z[0])[..., 0]), 0.5 * data.scaling[1]
    density = Normal(mean, scale).log_prob(data.original(x)).sum(-1)
    assert terms.distortion[0].tolist() == pytest.approx((-density).tolist(), rel=1e-6)


@torch.no_grad()
def test_the_nll_is_that_of_the_closed_form_in_the_units_of_the_file(csv: Write, model: Any) -> None:
    r"""x = m + s (W z + b + sigma e) is N(m + s b, S (W W^T + sigma^2 I) S)."""
    data = Table(csv(COLUMNS))
    vae, x = model(data), data.load("test").x.double()
    layer, scale = vae.decoder.net, data.scaling[1]
    exact_posterior(vae)
    covariance = layer.weight @ layer.weight.T + 0.25 * torch.eye(3, dtype=torch.float64)
    exact = MultivariateNormal(data.original(layer.bias), scale[:, None] * covariance * scale)
    told = importance_nll(vae, [Batch(x)], samples=40_000)
    assert float(told.effective_sample_size.min()) > 4000
    assert told.nll.tolist() == pytest.approx((-exact.log_prob(data.original(x))).tolist(), abs=0.04)


def test_the_splits_are_drawn_by_their_seed_alone(csv: Write) -> None:
    first, again, other = (Table(csv(COLUMNS), split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.load("val").x, again.load("val").x)
    seen = [{tuple(row) for row in data.original(data.load("val").x).numpy().round(3)} for data in (first, other)]
    assert seen[0] != seen[1]


def test_zeros_and_ones_as_they_stand_are_binary(csv: Write) -> None:
    path = csv({"a": [0, 1] * 20, "b": [1, 0, 1, 1] * 10})
    data = Table(path, standardize=False)
    assert data.spec().kind == "binary"
    assert next(iter(data.batches("train", 8, shuffle=True))).x.unique().tolist() == [0, 1]
    assert Table(path).spec().kind == "real"
    with pytest.raises(DataError, match="has other numbers than 0 and 1, and the model knows no others"):
        data.examples(Path(csv({"a": [0.5], "b": [1]}, "new.csv")))


# ---- other rows, as the model sees them


def test_other_rows_are_in_the_scale_of_the_train_split_and_in_their_order(csv: Write, arrow: Write) -> None:
    data = Table(csv({**COLUMNS, "kind": KINDS}), label="kind")
    new = {name: [1000 * i for i in range(5)] for name in ("c", "further", "a", "b")}
    for path in (csv({**new, "kind": ["?"] * 5}, "new.csv"), arrow(new)):
        x = data.examples(Path(path))
        assert x.dtype == torch.float32
        assert data.original(x.double()).numpy() == pytest.approx(np.arange(5)[:, None] * 1000 * np.ones(3), abs=0.1)
    own = data.examples(data.path)
    rows = {tuple(row) for row in own.tolist()}
    assert rows == {tuple(row) for row in all_x(data).tolist()}
    assert data.original(own.double()).numpy() == pytest.approx(NUMBERS, abs=1e-4)


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"a": [1], "b": [1]}, "the model takes the columns of its training: {} has no column 'c'; it has a, b"),
        (
            {"a": [1], "b": [1], "c": [""]},
            "{} has no value for c in line 2 (of 1 such rows): fill in or remove such rows",
        ),
        ({"a": [1], "b": [1], "c": ["x"]}, "{}: column c is text ('x' in line 2): the model takes numbers"),
        ({"a": [], "b": [], "c": []}, "{} has no rows"),
    ],
)
def test_other_rows_that_do_not_fit_cost_one_clear_line(columns: Any, line: str, csv: Write) -> None:
    data, path = Table(csv(COLUMNS)), csv(columns, "new.csv")
    with pytest.raises(DataError) as error:
        data.examples(Path(path))
    assert str(error.value) == line.format(path)


# ---- what is in two splits


def test_rows_that_are_in_train_too_are_counted(csv: Write) -> None:
    names = ["train"] * 20 + ["val"] * 10 + ["test"] * 10
    twice = {
        name: [*column[:20], *column[:3], *column[23:38], column[7], column[7]] for name, column in COLUMNS.items()
    }
    data = Table(csv({**twice, "part": names}), split="part")
    assert data.repeated == {"val": 3, "test": 2}
    (line,) = data.cautions()
    assert line.startswith("3 of 10 val and 2 of 10 test examples are in train too")
    assert Table(csv(COLUMNS)).repeated == {"val": 0, "test": 0}
    assert Table(csv(COLUMNS)).cautions() == []


# ---- what is refused

HEAD = "a,b\n"
GAPS = "fill in or remove such rows, or leave"


@pytest.mark.parametrize(
    ("content", "settings", "line"),
    [
        (HEAD + "1,2\n3,\n,5\n", {}, " has no value for b in line 3 (of 2 such rows): fill in or remove such rows"),
        (HEAD + "1,2\n3,NA\n", {}, f" has no value for b in line 3 (of 1 such rows): {GAPS} it out with 'dataset.ignore=[b]'"),
        (HEAD + "1,1e39\n", {}, f" has 1e+39 for b in line 2, too large for float32 (of 1 such rows): {GAPS} it out with 'dataset.ignore=[b]'"),
        (HEAD + "1,x\n2,y\n", {}, ": column b is text ('x' in line 2): code it by zeros and ones with 'dataset.onehot=[b]', leave it out with 'dataset.ignore=[b]', or make it the label with dataset.label=b"),
        (HEAD + "z,u\n2,y\nx,y\n", {}, ": columns a, b are text ('z' in line 2): code them by zeros and ones with 'dataset.onehot=[a,b]'"),
        (HEAD + "z,1\nx,y\n", {"columns": ["a"]}, ": column a is text ('z' in line 2): code it by zeros and ones with 'dataset.onehot=[a]', or make it the label with dataset.label=a"),
        ("a,b,c\nx,1,2\n", {"columns": ["a", "b"]}, ": column a is text ('x' in line 2): code it by zeros and ones with 'dataset.onehot=[a]', take a out of dataset.columns, or make it the label with dataset.label=a"),
        ("a,b (cm)\n1,x\n", {"ignore": ["a"]}, ": column b (cm) is text ('x' in line 2): code it by zeros and ones with 'dataset.onehot=[\"b (cm)\"]', or make it the label with 'dataset.label=\"b (cm)\"'"),
        ("a,größe,c\n1,x,2\n", {"ignore": ["c"], "label": "c"}, ": column größe is text ('x' in line 2): code it by zeros and ones with 'dataset.onehot=[\"größe\"]', or leave it out with 'dataset.ignore=[c,\"größe\"]'"),
        ("a,b\n1,x\n", {"onehot": ["a", "c"]}, "dataset.onehot: {} has no column 'c'; it has a, b"),
        ("a,b,c\n1,x,2\n", {"onehot": ["b"], "ignore": ["b"]}, "dataset.onehot: {}: b is no column of x; these are a, c"),
        ("a,b\n1,x\n1,\n", {"onehot": ["b"]}, " has no value for b in line 3: fill it in or remove the row"),
        ("a,part\n1,train\n1,Test\n", {"label": "a"}, ": column part is text ('train' in line 2): take it for the splits with dataset.split=part, or code it by zeros and ones with 'dataset.onehot=[part]'"),
        (HEAD + "1,2\n3,4,5\n", {}, ": line 3 has 3 cells, and the first 2"),
        (HEAD, {}, " has no rows"),
        ("", {}, " is empty: the names of the columns belong in its first line"),
        ("1,2\n3,4\n", {}, ": its first line is all numbers, and the names of the columns belong there"),
        ("a,b,a\n1,2,3\n", {}, " has two columns named 'a': columns are chosen by name, so give each its own"),
        (",b\n1,2\n", {}, " has a column without a name (pandas writes its index so): save it with index=False, or name the columns of x in dataset.columns=[...]"),
        (b"a,b\n\xff,2\n", {}, " is no UTF-8 text (byte 0xff): save it as UTF-8"),
        (HEAD + "1,2\n", {"ignore": ["a", "b"]}, " has a, b, and so no column left for x"),
        (HEAD + "1,2\n", {"columns": ["a", "c"]}, "dataset.columns: {} has no column 'c'; it has a, b"),
        ("width,b\n1,2\n", {"label": "widht"}, "dataset.label: {} has no column 'widht' (did you mean 'width'?); it has width, b"),
        (HEAD + "1,2\n", {"columns": ["a", "a"]}, "dataset.columns: 'a' is named twice in what is asked of {}"),
        (HEAD + "1,2\n2,0.5\n", {"label": "b"}, ": column b has 0.5 in line 3: a label is text or a whole number; dataset.label=null does without labels"),
        (HEAD + "1,2\n2,\n", {"label": "b"}, ": column b has no value in line 3: a label is text or a whole number; dataset.label=null does without labels"),
        (HEAD + "1,train\n2,Test\n", {"split": "b"}, ": column b: each split needs an example, and these would have train 1, val 0: give more examples, or other dataset.val_fraction"),
        (HEAD + "1,train\n2,tset\n", {"split": "b"}, ": column b has 'tset': a split is train, val or test (did you mean 'test'?)"),
        (HEAD + "1,dev\n2,test\n", {"split": "b"}, ": column b has no example of train: a split of your own needs one"),
        (HEAD + "1,train\n2,val\n", {"split": "b"}, ": column b: each split needs an example, and these would have train 1, test 0: give more examples, or other dataset.test_fraction"),
        (HEAD + "1,train\n2,test\n", {"split": "b"}, ": column b: each split needs an example, and these would have train 1, val 0: give more examples, or other dataset.val_fraction"),
        (HEAD + "1,2\n2,3\n", {}, ": each split needs an example, and these would have train 2, val 0, test 0: give more examples, or other dataset.val_fraction and dataset.test_fraction"),
        ("a,b\n" + "1,2\n" * 20, {}, ": the train split has one and the same value in all of a, b, and so no scale to standardise by: a model needs columns that vary"),
        ("a,b,c\n" + "1,2,3\n1,2,4\n" * 20, {}, ": the train split has one and the same value in all of a, b, and so no scale to standardise by: leave them out with 'dataset.ignore=[a,b]'"),
        ("a\n" + "1e18\n1000000000000000001\n" * 20, {}, ": the train split has one and the same value in all of a (as float64, which is exact to 2^53), and so no scale to standardise by: a model needs columns that vary"),
    ],
)  # fmt: skip
def test_a_bad_table_costs_one_clear_line(content: Any, settings: Any, line: str, text: Write) -> None:
    path = text(content)
    with pytest.raises(DataError) as error:
        Table(path, **settings).spec()
    assert str(error.value) == (line if "{}" in line else f"{{}}{line}").format(path)


CELLS = [
    (["1_00"], "has marks between digits ('1_00' in {}): write 100"),
    (["1 234,5"], "has marks between digits ('1 234,5' in {}): write 1234.5"),
    (["1,234.5", "1,234,567.8"], "has marks between digits ('1,234.5' in {}): write 1234.5"),
    (["1'234'567"], "has marks between digits (\"1'234'567\" in {}): write 1234567"),
    (["3,5", "-0,25"], "has decimal commas ('3,5' in {}): write 3.5"),
    (["1.234,5", "3,5"], "has decimal commas ('1.234,5' in {}): write 1234.5"),
    (["0,942", "1,234"], "has decimal commas ('0,942' in {}): write 0.942"),
    (["1,234"], "has decimal commas ('1,234' in {}): write 1.234 (or 1234, if the comma parts thousands)"),
    (["45%", "5 kg"], "has a sign or a unit beside the number ('45%' in {}): write the number alone"),
    (["2024-01-05", "2024-02-01 10:00:00"], "has dates ('2024-01-05' in {}): write each as a number, as of days since the first, code it by zeros and ones with 'dataset.onehot=[b]'"),
    (["-"], "has text among numbers ('-' in {}, of 1 such cells): if it marks a missing value, fill in or remove such rows"),
    (["-", "n.d."], "has text among numbers ('-' in {}, of 2 such cells, also 'n.d.'): if it marks a missing value"),
    (["inf"], "inf for b in {}, no finite number (of 1 such rows): fill in or remove such rows, or leave it out"),
    (["nan"], "no value for b in {} (of 1 such rows): fill in or remove such rows, or leave it out"),
]  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "parquet", "npy"])
@pytest.mark.parametrize(("cells", "line"), CELLS)
def test_cells_that_are_no_numbers_say_where_and_what_they_are_to_be(
    cells: list[str], line: str, form: str, csv: Write, arrow: Write, npy: Write
) -> None:
    columns = {"a": ["1"] * 8, "b": ["2", "3", *cells, *["4"] * 5][:8]}
    quoted = {name: [f'"{cell}"' for cell in column] for name, column in columns.items()}
    structured = np.array([*zip(*columns.values(), strict=True)], [("a", "U20"), ("b", "U20")])
    path = {"csv": lambda: csv(quoted), "parquet": lambda: arrow(columns), "npy": lambda: npy(structured)}[form]()
    with pytest.raises(DataError) as error:
        Table(path).spec()
    assert line.format({"csv": "line 4"}.get(form, "row 2")) in str(error.value)


def test_a_line_of_units_and_decimal_commas_without_quotes(text: Write) -> None:
    for content, line in [
        ("a,b\ncm,kg\n1,2\n3,4\n", "line 2 has text above numbers ('cm' for a, 'kg' for b): units, or a missing value: remove that line"),
        ("a,b\n1,5,2,5\n", "line 2 has 4 cells, and the first 2: decimal commas? write 3.5 for 3,5, or part the cells by ;"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=re.escape(line)):
            Table(text(content)).spec()


@pytest.mark.parametrize("cell", ["", "x", "-", "3,5", "1_0", "2024-01-05", "cm", "inf", "5"])
def test_no_advice_drops_every_column(cell: str, csv: Write) -> None:
    """Whatever stands in all of the columns, in all rows or in one; of all advice together."""
    words = ["red", "green"] * 10
    for cells in ([f'"{cell}"'] * 20, ["1"] * 10 + [f'"{cell}"'] * 10, [f'"{cell}"'] + ["1"] * 19):
        for ignore in ([], ["c"]):
            with pytest.raises(DataError) as error:
                data = Table(csv({"a": cells, "b": cells if ignore else words, "c": [*range(20)]}), ignore=ignore)
                data.load("train")
                raise DataError("no refusal")  # as of 1 and 5
            advice = re.findall(r"dataset.ignore=\[(.*?)\]", str(error.value))
            assert {*",".join(advice).split(",")} < {"a", "b", "c"} | {""}
            assert not {*"abc"} <= {*",".join([*advice, *ignore]).split(",")}


def test_labels_are_the_words_that_stand_there(csv: Write) -> None:
    """Long identifiers that one float64 stands for are two classes; 1 and 1.0 are one, 1_0 is none of them."""
    long = ["9007199254740992", "9007199254740993"]
    data = Table(csv({"x": range(40), "y": [*long, "1", "1.0", "1_0"] * 8}), label="y")
    assert data.label_names == ["1", *long, "1_0"]


# ---- what is probably not meant


def cautions(csv: Write, **columns: Any) -> list[str]:
    return Table(csv({**COLUMNS, **columns})).cautions()


def test_a_column_that_numbers_the_rows_is_named(csv: Write) -> None:
    orders = [range(40), range(1, 41), [*reversed(range(7, 47))], RNG.permutation(40).tolist()]
    for numbers in orders:
        (line,) = cautions(csv, id=numbers)
        assert line == "column id numbers the rows, and says nothing of them: leave it out with 'dataset.ignore=[id]'"
    (line,) = cautions(csv, **{"Unnamed: 0": [2 * i for i in range(40)]})
    assert "column Unnamed: 0 numbers the rows" in line
    assert "'dataset.ignore=[\"Unnamed: 0\"]'" in line
    assert cautions(csv, n=[i % 39 for i in range(40)], half=[i / 2 for i in range(40)]) == []


@pytest.mark.parametrize(("value", "count"), [(1e30, 1), (-999, 1), (-999, 4), (99.9, 2), (5000, 1)])
def test_a_value_far_from_all_others_is_named_by_row_and_column(value: float, count: int, csv: Write) -> None:
    ordinary = [round(20 + NUMBERS[i, 0], 3) for i in range(40)]
    (line,) = cautions(csv, d=[*ordinary[:30], *[value] * count, *ordinary[30 + count :]])
    assert line.startswith(
        f"column d has {value:g} in line 32 ({count} such row{'s' * (count > 1)}), far from its other"
    )
    x = Table(csv({"d": [*ordinary[:30], *[value] * count, *ordinary[30 + count :]]})).load("train").x
    assert len(x) == 32


@pytest.mark.parametrize(
    ("marks", "lines"),
    [
        ((999, -999), {"999", "-999"}),
        ((1e30, -1e30), {"1e+30", "-1e+30"}),
        ((-9998, -9999), {"-9998", "-9999"}),
        ((-99, -98, -97), {"-99", "-98", "-97"}),
    ],
)
def test_marks_do_not_hide_each_other(marks: tuple[float, ...], lines: set[str], csv: Write) -> None:
    said = cautions(csv, d=[*COLUMNS["a"][: -len(marks)], *marks])
    assert {line.split(" has ")[1].split(" in ")[0] for line in said if line.startswith("column d has ")} == lines


def test_a_mark_in_a_constant_column_is_named_and_a_rare_one_is_not(csv: Write) -> None:
    n = len(COLUMNS["a"])
    said = cautions(csv, d=[5.0] * (n - 2) + [-999, -999], e=[0.0] * (n - 2) + [1.0, 1.0])
    assert [line.split(" (")[0] for line in said] == [f"column d has -999 in line {n}"]


def test_several_marks_of_missing_values_are_each_named(csv: Write) -> None:
    column = [*COLUMNS["a"][:-3], -999, -9999, 1e30]
    lines = cautions(csv, d=column)
    assert [line.split(" (")[0] for line in lines] == [
        f"column d has {value} in line {line}" for value, line in [("1e+30", 41), ("-9999", 40), ("-999", 39)]
    ]


@pytest.mark.parametrize("law", ["normal", "lognormal", "standard_cauchy", "exponential"])
def test_ordinary_laws_are_rarely_taken_for_marks(law: str) -> None:
    """Even of a Cauchy law, whose largest value is often far from the rest, at most one column in ten."""
    x = getattr(np.random.default_rng(1), law)(size=(300, 100))
    named = len([*far_values(x, [*map(str, range(100))], str)])
    assert named <= (10 if law == "standard_cauchy" else 0)
    flags = (x > 1.5).astype(float)
    assert [*far_values(flags, [*map(str, range(100))], str)] == []


@pytest.mark.parametrize("unit", [1.0, 1e-170, 1e-300, 2.0**-900])
def test_the_unit_of_a_column_may_be_as_small_as_a_float(unit: float, csv: Write) -> None:
    """x' is the same, and the nats differ by the unit: log s of a column of standard deviation 1e-170 is no -inf."""
    whole = Table(csv({"a": COLUMNS["a"], "b": COLUMNS["b"]}))
    data = Table(csv({"a": [repr(value * unit) for value in COLUMNS["a"]], "b": COLUMNS["b"]}, "small.csv"))
    assert data.load("train").x.numpy() == pytest.approx(whole.load("train").x.numpy(), abs=1e-6)
    assert data.spec().log_units == pytest.approx(whole.spec().log_units + math.log(unit))
    assert data.original(data.load("val").x)[:, 0].numpy() == pytest.approx(
        unit * whole.original(whole.load("val").x)[:, 0].numpy(), rel=1e-5, abs=0
    )


def test_a_column_of_rounding_is_named(csv: Write) -> None:
    (line,) = cautions(csv, d=[1e6 + (i % 7) * 1.5e-10 for i in range(40)])
    assert line.startswith("column d varies by little more than the rounding of a float64")
    path = csv({"d": [1e6 + 1e-3 * i * i for i in range(40)], "e": range(0, 80, 2)})
    assert Table(path).cautions() == []
    (line,) = Table(path, standardize=False).cautions()
    assert line.startswith("float32, in which x is served, loses what varies in d")


def test_missing_values_and_text_of_parquet_and_arrays(arrow: Write, npy: Write) -> None:
    when = pyarrow.array([0] * 9).cast(pyarrow.timestamp("s"))
    for columns, line in [
        ({"a": [1, 2, None]}, "no value for a in row 2 "),
        ({"a": [1.0], "b": [None]}, "no value for b in row 0 "),
        ({"a": [1.0], "b": [[1.0, 2.0]]}, "column b is text .'.1.0, 2.0.' in row 0."),
        ({"a": [1.0] * 9, "b": when}, "column b has dates .'1970-01-01 00:00:00' in row 0"),
        ({"a": [1.0] * 3, "__index_level_0__": [1, 2, 3]}, "has a column without a name"),
    ]:
        with pytest.raises(DataError, match=line):
            Table(arrow(columns)).spec()
    for array, line in [
        (np.array([[1.0, 2], [3, np.nan]]), "no value for 1 in row 1 "),
        (np.array([["a", "b"]]), "columns 0, 1 are text .'a' in row 0."),
        (np.zeros((2, 3, 4)), r"has shape .2, 3, 4.: a table is .n, d., or .n,. of a structured dtype"),
        (np.zeros(3), "has shape .3,.: a table is"),
        (np.array([[print]]), "pickled objects"),
        (np.zeros((0, 2)), "has no rows"),
    ]:
        with pytest.raises(DataError, match=line):
            Table(npy(array)).spec()


@pytest.mark.parametrize("file", ["t.npy", "t.parquet", "t.csv"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02" * 50, b"\x93NUMPY\x01\x00"])
def test_what_is_no_table_costs_one_line(file: str, content: bytes, text: Write) -> None:
    path = text(content, file)
    with pytest.raises(DataError) as error:
        Table(path).spec()
    assert str(error.value).startswith(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_of_another_kind(text: Write) -> None:
    with pytest.raises(DataError, match=r"no.csv is missing: set dataset.path= to a .csv, .parquet or .npy file"):
        Table("no.csv").spec()
    with pytest.raises(DataError, match=r"t.xlsx: a table is a .csv, .tsv, .parquet or .npy file"):
        Table(text("a", "t.xlsx")).spec()


def test_parquet_without_its_package(arrow: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = arrow(COLUMNS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"Parquet needs one more package: pip install 'vae-lab\[parquet\]'"):
        Table(path).spec()
