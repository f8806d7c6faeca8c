"""x of whole numbers, such as tokens and counts: served, encoded and scored as they are stored, in training, in evaluation
and in every use."""

import csv
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import Lab
from torch import Tensor

import vae_lab
from vae_lab.data.dataset import DataError, Dataset, Spec, Split
from vae_lab.data.loader import Batches
from vae_lab.models import Autoencoding
from vae_lab.testing import make

CODE = '''
    import torch
    from torch import Tensor, nn
    from torch.distributions import Categorical, Distribution, Independent

    from vae_lab.data.dataset import Dataset, Spec, Split

    VOCABULARY = 301


    class Sentences(Dataset):
        """Five words each; those of the second class are the rarer ones."""

        def spec(self) -> Spec:
            return Spec((5,), "real", {"train": 60, "val": 20, "test": 20}, labels=2)

        def fingerprint(self) -> str:
            return "generated"

        def read(self) -> dict[str, Split]:
            return {name: self._split(n) for name, n in self.spec().sizes.items()}

        def _split(self, n: int) -> Split:
            y = torch.arange(n) % 2
            x = torch.randint(0, 121, (n, 5), generator=torch.Generator().manual_seed(n)) + 180 * y[:, None]
            x[0, 0] = 289  # 33 as a byte
            return Split(x.to(torch.int16), y)


    class Embedding(nn.Module):
        def __init__(self, shape: list[int], outputs: int) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(VOCABULARY, 4), nn.Linear(4 * shape[0], outputs)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.table(x).flatten(1))  # an embedding takes whole numbers alone, and below VOCABULARY


    class Words(nn.Module):
        arity = VOCABULARY

        def forward(self, raw: Tensor) -> Distribution:
            return Independent(Categorical(logits=raw), 1)
    '''

OPTIONS = {"dataset/sentences": "Sentences", "encoder/embedding": "Embedding", "likelihood/words": "Words"}
REQUEST = [
    "--config-dir=options",
    "dataset=sentences",
    "encoder=embedding",
    "likelihood=words",
    "decoder.hidden=[8]",
    "latent_dim=2",
    "batch_size=20",
    "trainer.max_steps=4",
    "evaluation.nll_samples=2",
    "trainer.enable_progress_bar=false",
]


@pytest.fixture
def sentences(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (in_tmp / "whole_words.py").write_text(textwrap.dedent(CODE))
    for place, name in OPTIONS.items():
        file = in_tmp / "options" / f"{place}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"_target_: whole_words.{name}\n")
    monkeypatch.syspath_prepend(str(in_tmp))
    return in_tmp


@pytest.mark.parametrize("how", ["inference=amortized", "inference=semi_amortized", "corruption=input_dropout"])
def test_they_are_trained_on_and_evaluated(how: str, sentences: Path, lab: Lab) -> None:
    said = lab("train", *REQUEST, how)
    assert (said.code, said.err) == (0, "")
    run = vae_lab.load(said.out.split()[-1], "options")
    x = next(iter(run.dataset().batches("test", 20))).x
    assert x.dtype == torch.int64
    assert int(x.max()) > 255
    assert torch.equal(x, run.dataset().load("test").x.long())
    raw = run.model.encoder(x)
    torch.testing.assert_close(run.model.amortized(x).mean, raw[:, :2], rtol=0, atol=0)
    assert (raw != raw.round()).any(), "nothing would show that q's parameters are not truncated"


USES = (
    "sample", "reconstruct", "traverse", "map", "probe", "interpolate first=0 second=1", "interpolate first=new.npy second=1",
    "score data=new.npy scores=[elbo] by=elbo", "semi_supervised label_counts=[10] updates=5 methods=[supervised,m1]",
)  # fmt: skip


def test_every_use_takes_them_as_they_are(sentences: Path, lab: Lab) -> None:
    run = lab("train", *REQUEST).out.split()[-1]
    new = np.array([[289, 0, 5, 300, 7], [33, 0, 5, 44, 7]])
    np.save("new.npy", new)
    for words in USES:
        name, *options = words.split()
        said = lab(name, run, "--config-dir=options", *options)
        assert (said.code, said.err) == (0, ""), words
    with Path(run, "uses", "score_data.csv").open() as file:
        first, second = (float(row["elbo"]) for row in csv.DictReader(file))
    assert first != second, "289 and 300 were taken for 33 and 44"
    said = lab("denoise", run, "--config-dir=options")
    assert said.code == 2
    assert "no mean" in said.err


class Told(Dataset):
    def spec(self) -> Spec:
        return Spec((3,), "real", {"train": 2, "val": 1, "test": 1})

    def read(self) -> dict[str, Split]:
        x = torch.tensor([[2**40 + 1, 256, -7], [0, 1, 65_537]])
        return {"train": Split(x), "val": Split(x[:1]), "test": Split(x[1:])}


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_a_loader_serves_whole_numbers_of_any_width_as_they_are(dtype: torch.dtype) -> None:
    x = torch.tensor([[300, 2], [256, 32_767]], dtype=dtype)
    for shuffle in (False, True):
        batch = next(iter(Batches(x, batch_size=2, shuffle=shuffle)))
        assert batch.x.dtype == torch.int64
        assert batch.index is not None
        assert torch.equal(batch.x, x.long()[batch.index])


def test_16_bit_grey_levels_are_levels_and_no_bytes() -> None:
    x = torch.tensor([[0, 257, 65_535]], dtype=torch.int32)
    served = next(iter(Batches(x, batch_size=1, levels=65_535))).x
    torch.testing.assert_close(served, torch.tensor([[0.0, 257 / 65_535, 1.0]]))


def test_new_whole_numbers_are_read_as_they_are(tmp_path: Path) -> None:
    for number, x in enumerate(([[2**40 + 1, 256, -7]], [[1.0, 2.0, 300.0]])):
        np.save(tmp_path / f"{number}.npy", np.array(x))
        assert Told().examples(tmp_path / f"{number}.npy").tolist() == [[int(value) for value in x[0]]]
    np.save(tmp_path / "bad.npy", np.array([[1.0, 2.5, 3.0]]))
    with pytest.raises(DataError, match=r"has 2\.5 in row 0 .*: this run's examples are whole numbers"):
        Told().examples(tmp_path / "bad.npy")
    np.save(tmp_path / "wide.npy", np.ones((1, 4), int))
    with pytest.raises(DataError, match=r"this run's examples are \(n, 3\)"):
        Told().examples(tmp_path / "wide.npy")


@pytest.mark.parametrize(
    ("name", "whole"), [("gaussian_noise", False), ("salt_and_pepper", True), ("input_dropout", True)]
)
def test_a_corruption_takes_whole_numbers(name: str, whole: bool) -> None:
    classes = {"gaussian_noise": "GaussianNoise", "salt_and_pepper": "SaltAndPepper", "input_dropout": "InputDropout"}
    x = torch.full((200, 50), 289)
    seen: Tensor = make({"_target_": f"vae_lab.training.corruption.{classes[name]}"})(x)
    assert seen.is_floating_point() != whole
    if whole:
        assert set(seen.unique().tolist()) <= {0, 1, 289}
    else:
        assert abs(float((seen - 289).std()) - 0.3) < 0.01


@pytest.mark.parametrize("x", [torch.tensor([[289, 3]]), torch.tensor([[289.0, 3.0]])])
def test_q_keeps_its_digits_whatever_the_type_of_x(x: Tensor) -> None:
    class Halves(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 2 + 0.25

    model = Autoencoding()
    model.encoder = Halves()
    assert model.raw(x).tolist() == [[144.75, 1.75]]
