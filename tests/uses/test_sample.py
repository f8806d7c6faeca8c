"""New examples: from the model's own distribution, and told from copies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from small_kinds import KINDS, SMALL, Make
from small_runs import Lab, Said
from torch.distributions import Independent, Laplace

import vae_lab
from vae_lab.data.linear_gaussian import LinearGaussian
from vae_lab.data.table import Table
from vae_lab.errors import RequestError
from vae_lab.evaluation.densities import Flow, GaussianMixture, LatentDensity, codes
from vae_lab.evaluation.distances import frechet_distance
from vae_lab.evaluation.generate import Samples, nearest
from vae_lab.evaluation.neighbourhoods import neighbourhoods
from vae_lab.finished import Run
from vae_lab.uses.generation import Sample


@pytest.fixture(autouse=True)
def _short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the classifier and the flow, which are tested by themselves."""
    monkeypatch.setattr("vae_lab.evaluation.features.STEPS", 5)
    monkeypatch.setattr("vae_lab.evaluation.densities.UPDATES", 50)


def told(run: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads((run / "uses" / "sample.json").read_text())["numbers"]
    return numbers


SUITED = {"vectors": "pixels"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_gives_new_examples(kind: str, made: Make, lab: Lab) -> None:
    run, count = made(kind), 400 if kind == "vectors" else 7  # more than there are in any split, and few
    said = lab("sample", run, f"count={count}")
    assert (said.code, said.err) == (0, "")
    numbers = told(run)
    loaded = vae_lab.load(run)
    found, data = loaded.sample(count), loaded.dataset()
    train, test = (next(iter(data.batches(split, 10_000))).x for split in ("train", "test"))
    assert found.draw.shape == (count, *train.shape[1:])
    assert (found.mean is None) == (kind == "autoregressive") == (numbers["mean"] is None)
    tree = cKDTree(train.flatten(1).double().numpy())
    distances, _ = tree.query(found.draw[: len(test)].flatten(1).double().numpy())
    near = numbers["nearest_training_distance"]
    assert (near["samples"], near["samples_least"]) == pytest.approx((distances.mean(), distances.min()), abs=1e-5)
    distances, _ = tree.query(test.flatten(1).double().numpy())
    whole = count >= len(test)
    assert near["test"] == pytest.approx(distances.mean(), abs=1e-5 if whole else 5 * distances.std() / count**0.5)
    assert near["test_least"] >= distances.min() - 1e-5
    names = {Path(line).stem for line in said.out.splitlines() if line.endswith(".png")}
    expected = {"sample_draw", "sample_nearest"} | ({"sample_mean"} if found.mean is not None else set())
    assert names == (expected if train.dim() == 4 else set())
    assert numbers["features"]["name"] == SUITED.get(kind, "edges")
    assert numbers["measured"] == min(count, len(train), len(test))
    assert numbers["density"] == "prior (the model's own)"
    kernel = numbers["draw"].pop("kernel_distance"), numbers["test"].pop("kernel_distance_error")
    assert (kernel == (None, None)) == (kind != "vectors")  # which needs twenty examples
    assert all(
        value is not None for name in ("draw", "test") for key, value in numbers[name].items() if "kernel" not in key
    )


def test_what_is_measured_is_what_the_functions_say(made: Make, lab: Lab) -> None:
    """As many examples of each as the smallest has, all of them here: vectors, on the features x itself."""
    run = made("vectors")
    assert lab("sample", run, "count=50", "features=pixels", "neighbours=3").code == 0
    numbers, loaded = told(run), vae_lab.load(run)
    found, data = loaded.sample(50), loaded.dataset()
    test = next(iter(data.batches("test", 50))).x
    assert found.mean is not None
    reference = Sample(50)._like(data, "train")[:50]
    train = {tuple(row) for row in next(iter(data.batches("train", 200))).x.tolist()}
    assert len({tuple(row) for row in reference.tolist()} & train) == 50
    for name, x in (("draw", found.draw), ("mean", found.mean), ("test", test)):
        near = neighbourhoods(reference, x, 3)
        assert near is not None
        assert {key: numbers[name][key] for key in near._fields} == pytest.approx(near._asdict())
        assert numbers[name]["frechet_distance"] == pytest.approx(frechet_distance(reference, x))


def test_the_best_linear_model_is_near_the_data_and_less_so_without_noise_or_cooled(made: Make, lab: Lab) -> None:
    """x = U (Lambda - s^2)^(1/2) z + s e, of the data's own first eigenvectors, has their covariance but for small ones
    (Tipping and Bishop 1999); what the mean alone or a z that is cooled loses is diversity."""
    run = made("vectors")
    data = vae_lab.load(run).dataset()
    assert isinstance(data, LinearGaussian)
    w = data.weight().float()
    checkpoint = run / "checkpoints" / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    state = content["state_dict"]
    (decoder,) = (k for k, v in state.items() if ".decoder." in f".{k}" and v.dim() == 2)
    (bias,) = (k for k, v in state.items() if ".decoder." in f".{k}" and v.dim() == 1)
    (sigma,) = (k for k in state if k.endswith("log_sigma"))
    state[decoder].zero_()[:, : w.shape[1]] = w[:, :2]
    state[bias].zero_()
    state[sigma].fill_(0.5 * np.log(data.noise))
    torch.save(content, checkpoint)
    found = []
    for words in ([], ["temperature=0.1"]):
        assert lab("sample", run, "count=50", *words).code == 0
        found.append(told(run))
    true, cooled = found
    assert true["draw"]["recall"] > 0.6
    assert true["draw"]["frechet_distance"] < 3 * true["test"]["frechet_distance"]
    assert true["mean"]["frechet_distance"] > 1.5 * true["draw"]["frechet_distance"]
    assert cooled["draw"]["frechet_distance"] > 2 * true["draw"]["frechet_distance"]
    assert cooled["latent_log_density"] == true["latent_log_density"]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_scales_z_and_no_pixel(temperature: float, made: Make) -> None:
    """The very same noise: z is T times what it is at 1, and the spread of x about its mean is the same."""
    loaded = vae_lab.load(made("vectors"))
    plain, changed = loaded.sample(2000), loaded.sample(2000, temperature=temperature)
    assert torch.allclose(changed.z, temperature * plain.z, rtol=1e-5)
    assert changed.mean is not None
    assert plain.mean is not None
    assert torch.allclose(changed.draw - changed.mean, plain.draw - plain.mean, atol=1e-5)


FITTED: dict[str, LatentDensity] = {"gaussian_mixture": GaussianMixture(2), "flow": Flow()}


@pytest.mark.parametrize("name", FITTED)
def test_z_may_be_drawn_from_a_density_fitted_to_the_codes(name: str, made: Make, lab: Lab) -> None:
    """Of an encoder that puts all codes about (7, -7) it finds them, and the prior does not."""
    run = made("grey")
    loaded = vae_lab.load(run)
    location = [p for name, p in loaded.model.encoder.named_parameters() if p.dim() == 1][-1]
    with torch.no_grad():
        location[:2] += torch.tensor([7.0, -7.0])
    batches = loaded.dataset().batches("train", 10)
    z = loaded.sample(500, density=FITTED[name](loaded.model, batches)).z
    centre = codes(loaded.model, batches).mean(0)
    assert (centre - torch.tensor([7.0, -7.0])).abs().max() < 2
    assert (z.mean(0) - centre).abs().max() < 1
    said = lab("sample", run, "count=7", f"density={name}", "components=2")
    assert (said.code, said.err) == (0, "")
    assert told(run)["density"] == f"{name} (post hoc: not part of the model's NLL)"
    assert set(told(run)["latent_log_density"]) == {"prior", name}


def test_a_mixture_of_codes_may_be_cooled(made: Make, lab: Lab) -> None:
    words = ["count=7", "density=gaussian_mixture", "components=2", "temperature=0.5"]
    assert lab("sample", made("vectors"), *words).code == 0


def test_the_log_density_of_codes_is_in_closed_form_for_the_prior(made: Make, lab: Lab) -> None:
    """E log N(z; 0, I) of z ~ N(m, s^2): -k/2 log 2 pi - (m^2 + s^2) / 2 summed, up to the noise of one draw each."""
    run = made("vectors")
    assert lab("sample", run, "count=7").code == 0
    loaded = vae_lab.load(run)
    with torch.no_grad():
        q = loaded.model.encode(next(iter(loaded.dataset().batches("test", 50))).x)
    expected = -np.log(2 * np.pi) - float((q.mean.square() + q.variance).sum(1).mean()) / 2
    spread = float((q.variance**2 / 2 + q.mean.square() * q.variance).sum(1).mean()) ** 0.5
    assert abs(told(run)["latent_log_density"]["prior"] - expected) < 5 * spread / 50**0.5


def test_what_is_declared_is_the_same_again_and_what_is_drawn_is_not(made: Make, lab: Lab) -> None:
    run, found = made("binary"), []
    for seed in (0, 0, 1):
        assert lab("sample", run, "count=30", "features=classifier", f"seed={seed}").code == 0
        found.append(told(run))
    assert found[0] == found[1]
    assert found[0]["features"] == found[2]["features"]
    assert {"name", "dimension", "sha256", "accuracy", "accuracy_error"} == set(found[0]["features"])
    assert found[0]["draw"] != found[2]["draw"]


def test_many_are_decoded_in_parts(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = vae_lab.load(made("grey"))
    whole = loaded.sample(20)
    monkeypatch.setattr("vae_lab.evaluation.generate._DECODED", 7)
    parts = loaded.sample(20)
    assert torch.equal(parts.z, whole.z)
    assert torch.allclose(parts.mean, whole.mean, atol=1e-6)  # type: ignore[arg-type]
    assert parts.draw.shape == whole.draw.shape
    assert not torch.equal(parts.draw[:7], parts.draw[7:14])


def test_samples_of_a_linear_model_have_its_covariance(made: Make) -> None:
    """x = W z + b + sigma e with z and e standard normal: mean b and covariance W W^T + sigma^2 I."""
    loaded = vae_lab.load(made("vectors"))
    n = 40_000
    found = loaded.sample(n)
    with torch.no_grad():
        origin = loaded.model.decode(torch.zeros(1, found.z.shape[1])).mean[0]
        w = loaded.model.decode(torch.eye(found.z.shape[1])).mean - origin
        variance = loaded.model.decode(torch.zeros(1, found.z.shape[1])).variance[0]
    covariance = (w.T @ w + variance.diag()).double().numpy()
    x = found.draw.double().numpy()
    sd = np.sqrt(np.diag(covariance))
    assert np.abs(x.mean(0) - origin.numpy()).max() < 5 * sd.max() / np.sqrt(n)
    spread = np.sqrt((np.outer(sd, sd) ** 2 + covariance**2) / n)  # of an entry of the sample covariance (Isserlis)
    assert (np.abs(np.cov(x.T) - covariance) / spread).max() < 5


def test_the_same_seed_draws_the_same_whatever_was_drawn_before(made: Make) -> None:
    loaded = vae_lab.load(made("binary"))
    first = loaded.sample(5, seed=3)
    torch.rand(7)
    again = loaded.sample(5, seed=3)
    assert torch.equal(first.z, again.z)
    assert torch.equal(first.draw, again.draw)
    assert not torch.equal(first.z, loaded.sample(5, seed=4).z)


def test_copies_lie_at_distance_zero_from_what_they_copy() -> None:
    others = torch.randn(3000, 2, 5, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([0, 17, 1023, 1024, 2999])
    found = nearest(others[rows], others)
    assert torch.equal(found.rows, rows)
    assert found.distances.tolist() == pytest.approx([0] * 5, abs=1e-6)


def test_of_equal_neighbours_the_first_is_named() -> None:
    assert nearest(torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])).rows.tolist() == [0]


WRONG = [
    (["count=-1"], "sample.count: -1 given; must be a whole number, at least 1, at most 100000"),
    (["temperature=0"], "sample.temperature: 0 given; must be a number, above 0, at most 100"),
    (["density=vamp"], "sample.density: 'vamp' given; must be one of prior, gaussian_mixture, flow"),
    (["density=flow", "temperature=0.5"], "sample.temperature: 0.5 given; tempered: NormalizingFlow has no scale that is known; a family is told to it by tempered.register"),
    (["features=swav"], "sample.features: 'swav' given; must be one of auto, edges, pixels, random_conv, classifier, inception"),
    (["features=inception"], "sample.features: inception is for images, and these data are vectors; there is pixels"),
    (["weights=f.pth"], "sample.weights: f.pth given; features=auto reads no file (inception does)"),
    (["features=random_conv"], "sample.features: random_conv is for images, and these data are vectors; there is pixels"),
    (["features=classifier"], "sample.features: classifier needs data with labels, and two or more of them; there are edges, random_conv and pixels"),
    (["density=gaussian_mixture", "components=201"], "sample.density: gaussian_mixture given; 201 components cannot be fitted to 200 examples"),
]  # fmt: skip


def test_mistakes_cost_one_line(made: Make, lab: Lab) -> None:
    run = made("vectors")
    for words, text in WRONG:
        assert lab("sample", run, *words) == Said(2, "", f"vae-lab: {text}\n"), words
    assert lab("sample").err == "vae-lab: sample: which run? vae-lab sample RUN [option=value ...]\n"
    assert lab("sample", run, "count=1000000000").code == 2
    assert not (run / "uses").exists()
    assert lab("sample", "count=3", run).code == 0


def test_a_prior_of_no_scale_that_is_known_goes_with_a_temperature_of_one_alone(
    made: Make, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made("vectors")
    laplace = Independent(Laplace(torch.zeros(2), torch.ones(2)), 1)
    monkeypatch.setattr("vae_lab.models.priors.StandardNormalPrior.forward", lambda self: laplace)
    assert lab("sample", run, "count=3").code == 0
    assert lab("sample", run, "count=3", "temperature=0.5").err == (
        "vae-lab: sample.temperature: 0.5 given; tempered: Laplace has no scale that is known; a family is told to it by "
        "tempered.register\n"
    )


def test_a_run_that_has_diverged_is_refused(made: Make, lab: Lab) -> None:
    run = made("vectors")
    checkpoint = run / "checkpoints" / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    for name, weight in content["state_dict"].items():
        weight.fill_(torch.nan) if ".decoder." in f".{name}" else None
    torch.save(content, checkpoint)
    assert lab("sample", run, "count=3").err == (
        f"vae-lab: sample: {run} draws what is no number: its training has diverged\n"
    )


def test_mistakes_from_python_are_refused(made: Make) -> None:
    loaded = vae_lab.load(made("vectors"))
    with pytest.raises(ValueError, match="0 samples asked for"):
        loaded.sample(0)
    with pytest.raises(ValueError, match=r"a temperature of -1.0 asked for; it is a number above 0"):
        loaded.sample(3, temperature=-1.0)


def test_a_model_that_is_told_labels_draws_of_the_label_that_is_asked_for(lab: Lab, in_tmp: Path) -> None:
    """With the training examples of a label as the judges: the nearest neighbour of most draws has it."""
    words = [
        "dataset=digits",
        "decoder=mlp",
        "labels=given",
        "latent_dim=4",
        "trainer.max_steps=300",
        "evaluation.nll_samples=2",
    ]
    assert lab("train", *words, "evaluation.figures=false").code == 0
    (run,) = Path("runs/solo").iterdir()
    loaded = vae_lab.load(run)
    train = next(iter(loaded.dataset().batches("train", 10_000)))
    assert train.y is not None
    shares = []
    for label in (0, 3, 6):
        mean = loaded.sample(100, y=torch.full((100,), label)).mean
        assert mean is not None
        shares.append(float((train.y[nearest(mean, train.x).rows] == label).float().mean()))
    assert min(shares) > 0.8
    assert lab("sample", run, "count=20").code == 0
    assert lab("sample", run, "count=20", "label=3").code == 0
    wrong = lab("sample", run, "label=11")
    assert wrong.err == "vae-lab: sample.label: 11 given; the labels are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n"
    assert "density: gaussian_mixture given; with labels" in lab("sample", run, "density=gaussian_mixture").err
    assert lab("reconstruct", run).code == 0
    refused = lab("probe", run)
    text = "probe: this run's model is told labels (labels=given), and this use has none to tell it"
    assert (refused.code, refused.err) == (2, f"vae-lab: {text}\n")


@pytest.fixture
def perfect(lab: Lab, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that is told labels and draws examples of the test split, of the labels that are asked for."""
    words = ["dataset=digits", "dataset.binarization=none", "likelihood=gaussian", "labels=given", "decoder=mlp"]
    assert lab("train", *words, *SMALL).code == 0
    (run,) = Path("runs/solo").iterdir()

    def draws(self: Run, count: int, seed: int, temperature: float, density: Any, y: torch.Tensor) -> Samples:
        of = next(iter(self.dataset().batches("test", 10_000)))
        rng = np.random.default_rng(0)
        rows = [rng.choice(np.flatnonzero(np.asarray(of.y) == label)) for label in y.tolist()]
        return Samples(torch.zeros(count, 2), None, of.x[rows])

    monkeypatch.setattr(Run, "sample", draws)
    return run


def test_draws_of_labels_in_order_are_measured_as_a_whole(perfect: Path, lab: Lab) -> None:
    """More draws than there are test examples, and blocks of the kernel distance: neither may be of the first labels."""
    assert lab("sample", perfect, "count=500", "features=pixels").code == 0
    numbers = told(perfect)
    draw, test = numbers["draw"], numbers["test"]
    assert numbers["measured"] == 300
    assert draw["kernel_distance"] == pytest.approx(test["kernel_distance"], abs=5 * test["kernel_distance_error"])
    assert draw["recall"] > 0.9
    assert draw["frechet_distance"] < 2 * test["frechet_distance"]


def test_draws_of_one_label_are_measured_against_that_label(perfect: Path, lab: Lab) -> None:
    assert lab("sample", perfect, "label=3", "features=pixels").code == 0
    numbers = told(perfect)
    test = next(iter(vae_lab.load(perfect).dataset().batches("test", 300)))
    assert numbers["measured"] == int(torch.as_tensor(test.y == 3).sum())
    assert numbers["draw"]["coverage"] > 0.7
    assert numbers["draw"]["frechet_distance"] < 2 * numbers["test"]["frechet_distance"]


def test_classes_that_training_did_without_are_no_part_of_what_test_examples_come_to(lab: Lab, in_tmp: Path) -> None:
    said = lab("train", *KINDS["binary"][0], "dataset.without=[4,7]")
    run = Path(said.out.split()[-1])
    assert lab("sample", run, "count=300").code == 0
    data = vae_lab.load(run).dataset()
    every = next(iter(data.batches("test", 300)))
    assert every.y is not None
    seen = every.x[~torch.isin(every.y, torch.tensor([4, 7]))]
    assert told(run)["measured"] == len(seen)
    train = next(iter(data.batches("train", 10_000))).x
    near = told(run)["nearest_training_distance"]
    assert near["test"] == pytest.approx(float(nearest(seen, train).distances.mean()), abs=1e-6)
    assert lab("probe", run).code == 0
    asked = json.loads((run / "uses" / "probe.json").read_text())["numbers"]
    assert asked["test_examples"] == len(seen)


def test_a_model_that_is_told_none_refuses_a_label(made: Make, lab: Lab) -> None:
    said = lab("sample", made("binary"), "label=3")
    assert (said.code, said.err) == (
        2,
        "vae-lab: sample.label: 3 given; this run's model is told no labels (labels=given is)\n",
    )


def test_a_label_is_named_as_its_class_before_its_number(in_tmp: Path) -> None:
    """Folders 1, 2 and three: the label 1 is the first of them, whose number is 0."""
    rows = [f"{i},{name}" for i, name in enumerate(["1", "2", "three"] * 10)]
    Path("t.csv").write_text("\n".join(["a,kind", *rows]))
    data, y = Table("t.csv", label="kind"), torch.arange(3)
    for label, number in {1: 0, "2": 1, "three": 2, 0: 0}.items():
        assert Sample(label=label)._number(data, y) == number
    with pytest.raises(RequestError, match=r"sample.label: four given; the labels are 1, 2, three$"):
        Sample(label="four")._number(data, y)
