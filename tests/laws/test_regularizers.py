"""The laws of regularizers, and what is known of each."""

import inspect
import itertools
import math

import pytest
import torch
import yaml
from law_options import node_of
from torch import Tensor, nn
from torch.distributions import Independent, MixtureSameFamily, kl_divergence

from vae_lab import compose, options, places
from vae_lab.distributions import Gaussian, diagonal, standard
from vae_lab.errors import RequestError
from vae_lab.models import Terms
from vae_lab.objectives.regularizers import DIP, MMD, MutualPosterior, off_diagonal
from vae_lab.objectives.total_correlation import Factor, TotalCorrelation
from vae_lab.request import request
from vae_lab.targets import CONTEXT, locate
from vae_lab.testing import make
from vae_lab.testing.regularizers import check_regularizer, regularizer_terms
from vae_lab.traits import Traits

B, K = 7, 3
NAMES = [name for name in options.groups()["regularizer"] if name != "none"]
each = pytest.mark.parametrize("name", NAMES)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_terms(batch: int = B, k: int = K, samples: int = 2, seed: int = 0) -> Terms:
    loc, log_scale = numbers(batch, k, seed=seed), 0.4 * numbers(batch, k, seed=seed + 1) - 0.3
    return regularizer_terms(loc, log_scale, numbers(samples, batch, k, seed=seed + 2))


# ---- every option


@each
def test_a_regularizer_keeps_its_laws(name: str) -> None:
    check_regularizer(node_of("regularizer", name)[name])


@pytest.mark.parametrize(
    "option",
    [
        {"mmd": {"kernel": "rbf"}},
        {"mmd": {"alpha": 0.0}},
        {"mmd": {"alpha": 1.0, "scale": 3.0}},
        {"total_correlation": {"estimator": "mws"}},
        {"total_correlation": {"alpha": 0.0, "beta": 1.0}},
        {"dip": {"kind": "ii"}},
        {"mutual_posterior": {"gamma": 0.0}},
    ],
    ids=str,
)
def test_it_keeps_them_at_other_settings(option: dict[str, dict[str, object]]) -> None:
    ((name, settings),) = option.items()
    check_regularizer(node_of("regularizer", name)[name] | settings)


@each
def test_the_yaml_and_the_class_agree(name: str) -> None:
    (file,) = [f for d in places.option_directories() for f in d.glob(f"regularizer/{name}.yaml")]
    content = file.read_text(encoding="utf-8")
    ((key, node),) = yaml.safe_load(content).items()
    target = locate(name, node.pop("_target_"))
    settings = {p.name: p for p in inspect.signature(target).parameters.values() if p.name not in CONTEXT}
    assert key == name
    assert content.startswith("#")
    assert inspect.getdoc(target)
    assert node == {p.name: p.default for p in settings.values()}
    assert all(p.annotation is not p.empty for p in settings.values())


@each
def test_a_collapsed_posterior_gives_a_finite_gradient(name: str) -> None:
    """Where all posteriors are the prior, roots and logs of differences are at their edge."""
    regularizer = make(node_of("regularizer", name)[name], latent_dim=K, examples=100)
    loc, log_scale = torch.zeros(B, K).requires_grad_(), torch.zeros(B, K).requires_grad_()
    value = regularizer(regularizer_terms(loc, log_scale, torch.randn(1, B, K)))
    gradients = torch.autograd.grad(value, (loc, log_scale), allow_unused=True)
    assert value.isfinite()
    assert all(g is None or g.isfinite().all() for g in gradients)


def chosen(*overrides: str) -> list[str]:
    return list(compose(*overrides).regularizer)


def test_one_and_several_and_none_can_be_chosen() -> None:
    assert chosen() == chosen("regularizer=none") == []
    assert chosen("regularizer=mmd") == ["mmd"]
    assert chosen("regularizer=[mmd,dip]") == ["mmd", "dip"]
    assert chosen("mitigation=wae") == ["mmd"]
    assert chosen("mitigation=wae", "regularizer=[mmd,factor]") == ["mmd", "factor"]


# ---- the laws can fail


class Wrong(nn.Module):
    traits = Traits(needs=dict.fromkeys(("whole_batch", "pathwise_z", "factorised_posterior", "factorised_prior"), "x"))

    def __init__(self, latent_dim: int) -> None:
        super().__init__()


class OnePairOnly(Wrong):
    def forward(self, terms: Terms) -> Tensor:
        return (terms.z[0, 0] - terms.z[0, 1]).square().sum()


class Cut(Wrong):
    def forward(self, terms: Terms) -> Tensor:
        return terms.z.detach().square().mean()


class Vector(Wrong):
    def forward(self, terms: Terms) -> Tensor:
        return terms.z.square().sum(-1).mean(0)


class Restless(Wrong):
    """It draws in evaluation too."""

    def forward(self, terms: Terms) -> Tensor:
        return (terms.z * torch.randn(terms.z.shape[-1])).square().mean()


class NoOne(Wrong):
    """Undefined for a batch of one."""

    def forward(self, terms: Terms) -> Tensor:
        return (terms.z - terms.z.mean(1, keepdim=True)).square().sum() / (terms.z.shape[1] - 1)


class Modest(nn.Module):
    """Its gradient goes through z, and it does not say so."""

    traits = Traits(needs={"whole_batch": "x"})

    def __init__(self, latent_dim: int) -> None:
        super().__init__()

    def forward(self, terms: Terms) -> Tensor:
        return terms.z.square().mean()


class Leaking(Factor):
    """The discriminator's own loss reaches the model."""

    def cross_entropy(self, z: Tensor) -> Tensor:
        return super().cross_entropy(z) if not self.z.requires_grad else super().cross_entropy(self.z)

    def forward(self, terms: Terms) -> Tensor:
        self.z = terms.z
        return super().forward(terms)


class Counting(Factor):
    """The discriminator's own loss is in the value."""

    def forward(self, terms: Terms) -> Tensor:
        return super().forward(terms) + (self.cross_entropy(terms.z.detach()).detach() if self.learning else 0)


class Flattering(Factor):
    """The discriminator learns from the total correlation, to make it small."""

    def forward(self, terms: Terms) -> Tensor:
        return self.gamma * self.discriminator(terms.z).mean()


WRONG = {
    OnePairOnly: "another order",
    Cut: "no gradient reaches q",
    Vector: "shape",
    Restless: "two evaluations differ",
    NoOne: "a batch of 1",
    Modest: "pathwise_z",
    Leaking: "the gradient by q in training",
    Counting: "another order|the value in training",  # it counts a loss of random permutations
    Flattering: "teaches",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_laws_refuse_a_wrong_one(wrong: type[nn.Module]) -> None:
    with pytest.raises(AssertionError, match=WRONG[wrong]):
        check_regularizer(wrong)


# ---- MMD


def test_off_diagonal() -> None:
    matrix = numbers(2, 4, 4)
    expected = [[matrix[b, i, j] for i in range(4) for j in range(4) if i != j] for b in range(2)]
    assert torch.equal(off_diagonal(matrix).flatten(1), torch.tensor(expected, dtype=torch.float64))
    assert off_diagonal(torch.ones(1, 1)).numel() == 0


def rbf_mean(gap: Tensor, variance: Tensor, c: float) -> float:
    """E exp(-|d|^2 / c) for d ~ N(gap, diag variance)."""
    spread = 1 + 2 * variance / c
    return float((spread.rsqrt() * (-gap.square() / (c * spread)).exp()).prod())


@pytest.mark.parametrize(
    ("shift", "scale", "width"), [(0.0, 1.0, 1.0), (0.7, 1.0, 1.0), (0.0, 1.8, 0.6), (1.0, 0.3, 1.5)]
)
def test_the_rbf_estimate_is_unbiased_for_the_closed_form(shift: float, scale: float, width: float) -> None:
    """Between N(m, s^2 I) and N(0, I), of which the first is the null: there the mean is 0."""
    c, one = 2 * K * width**2, torch.ones(K)
    m, v = shift * one, scale**2 * one
    exact = rbf_mean(0 * one, 2 * v, c) + rbf_mean(0 * one, 2 * one, c) - 2 * rbf_mean(m, v + one, c)
    mmd = MMD(kernel="rbf", width=width)
    torch.manual_seed(0)
    z = m + scale * torch.randn(400, 8, K)  # batches of 8, whose biased estimate would be 0.1 too high
    terms = regularizer_terms(torch.zeros(8, K), torch.zeros(8, K), z)
    found = [float(mmd.discrepancy(Terms(*values_of(terms, z[i : i + 4])))) for i in range(0, 400, 4)]
    mean, error = torch.tensor(found).mean().item(), torch.tensor(found).std().item() / 10
    assert error < 0.02
    assert mean == pytest.approx(exact, abs=4 * error)


def values_of(terms: Terms, z: Tensor) -> tuple[object, ...]:
    return terms.distortion, terms.rates, terms.rate, z, terms.posterior, terms.prior


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_the_estimate_is_the_double_loop(kernel: str) -> None:
    terms = some_terms()
    mmd = MMD(kernel=kernel, width=0.8).eval()
    with mmd.draws(terms.z.device):
        p = terms.prior.sample(terms.z.shape[:-1])
    c = 2 * K * 0.8**2

    def similarity(a: Tensor, b: Tensor) -> float:
        square = float((a - b).square().sum())
        return math.exp(-square / c) if kernel == "rbf" else c / (c + square)

    total = 0.0
    for s in range(2):
        for i, j in itertools.product(range(B), range(B)):
            if i != j:
                same = similarity(terms.z[s, i], terms.z[s, j]) + similarity(p[s, i], p[s, j])
                total += same / (B * (B - 1)) / 2
            total -= similarity(terms.z[s, i], p[s, j]) / B**2
    assert float(mmd.discrepancy(terms)) == pytest.approx(total, abs=1e-12)


def test_the_weights_of_infovae_and_of_wae() -> None:
    terms = some_terms()
    gap, rate = MMD().eval().discrepancy(terms), terms.rate.mean()
    assert torch.allclose(MMD(alpha=0.25, scale=11.0).eval()(terms), 10.25 * gap - 0.25 * rate)
    assert torch.allclose(MMD(alpha=1.0, scale=11.0).eval()(terms) + rate, 11.0 * gap)
    assert MMD(alpha=0.0, scale=1.0).eval()(terms) == 0


def test_a_weight_of_the_mmd_below_zero_is_refused() -> None:
    """alpha = 0 and lambda = 0.001, the defaults of another library, would drive q(z) away from the prior."""
    with pytest.raises(ValueError, match=r"scale: 0\.001 given; alpha \+ scale - 1 = -0\.999 .* at least 1$"):
        MMD(alpha=0.0, scale=0.001)


def test_the_mmd_pulls_a_far_posterior_home() -> None:
    loc = torch.full((B, K), 2.0).requires_grad_()
    terms = regularizer_terms(loc, torch.zeros(B, K), torch.randn(1, B, K))
    (gradient,) = torch.autograd.grad(MMD(alpha=0.0)(terms), loc)
    assert (gradient.sum(0) > 0).all()


# ---- total correlation


def split(terms: Terms, n: int, **settings: object) -> tuple[Tensor, Tensor]:
    return TotalCorrelation(n, **settings).aggregate(terms)  # type: ignore[arg-type]


def rows(terms: Terms, index: list[int]) -> Terms:
    """The batch of some of the examples."""
    q = terms.posterior.base_dist  # type: ignore[attr-defined]
    noise = (terms.z - q.loc) / q.scale
    return regularizer_terms(q.loc[index], q.log_scale[index], noise[:, index])


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_mss_is_unbiased_over_all_batches_without_replacement(batch: int) -> None:
    """The mean of its q(z_0) and q(z_0j) over every batch with example 0 in it, against the whole split's."""
    n = 5
    everything = some_terms(batch=n)
    q = everything.posterior.base_dist  # type: ignore[attr-defined]
    pairs = q.log_prob(everything.z[:, 0].unsqueeze(1)).exp()  # (K, n, k)
    batches = [[0, *others] for others in itertools.combinations(range(1, n), batch - 1)]
    found = [split(rows(everything, index), n) for index in batches]
    joint = torch.stack([joint[:, 0].exp() for joint, _ in found]).mean(0)
    single = torch.stack([single[:, 0].exp() for _, single in found]).mean(0)
    if batch > 1:
        assert torch.allclose(joint, pairs.prod(-1).mean(1))
        assert torch.allclose(single, pairs.mean(1))
    else:
        assert torch.allclose(joint, pairs[:, 0].prod(-1) / n)


def test_mss_is_the_mean_of_the_paper_s_estimate_over_orders() -> None:
    """Chen et al. 2018, appendix: 1/N of the own, 1/M of M - 1 others, (N - M) / (N M) of the last; M + 1 in a batch."""
    n, terms = 9, some_terms(batch=4, samples=1)
    density = terms.posterior.log_prob(terms.z.unsqueeze(-2)).exp()[0]
    m = 3
    for own in range(4):
        others = [i for i in range(4) if i != own]
        estimates = [
            density[own, own] / n
            + sum(density[own, i] for i in order[:-1]) / m
            + (n - m) / (n * m) * density[own, order[-1]]
            for order in itertools.permutations(others)
        ]
        assert torch.allclose(split(terms, n)[0][0, own].exp(), torch.stack(estimates).mean())


def test_mws_is_the_sum_over_the_batch_by_n_and_b() -> None:
    terms = some_terms()
    density = terms.posterior.log_prob(terms.z.unsqueeze(-2)).exp()
    assert torch.allclose(split(terms, 50, estimator="mws")[0].exp(), density.sum(-1) / (50 * B))


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_the_parts_add_up_to_the_rate(estimator: str) -> None:
    """I + TC + KL is the sampled rate, whatever q(z) is taken to be."""
    terms = some_terms(samples=4)
    parts = TotalCorrelation(30, estimator=estimator).parts(terms)  # type: ignore[arg-type]
    sampled = (terms.posterior.log_prob(terms.z) - terms.prior.log_prob(terms.z)).mean()
    assert torch.allclose(torch.stack(parts).sum(), sampled)


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_with_all_weights_one_it_is_nothing(estimator: str) -> None:
    assert TotalCorrelation(30, 1.0, 1.0, 1.0, estimator)(some_terms()) == 0  # type: ignore[arg-type]


def test_each_weight_is_of_its_part() -> None:
    terms = some_terms()
    parts = TotalCorrelation(30).parts(terms)
    for i, part in enumerate(parts):
        settings = [1.0, 1.0, 1.0]
        settings[i] = 3.5
        assert torch.allclose(TotalCorrelation(30, *settings)(terms), 2.5 * part)


def test_on_the_whole_split_the_total_correlation_is_that_of_the_mixture() -> None:
    """Two examples in the plane, against quadrature of KL(q(z) || q(z_1) q(z_2))."""
    loc = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    log_scale = torch.tensor([[-0.5, 0.0], [0.0, -0.3]], dtype=torch.float64)
    line = torch.linspace(-8, 8, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    weights = torch.distributions.Categorical(logits=torch.zeros(2, dtype=torch.float64))
    joint = MixtureSameFamily(weights, diagonal(loc, log_scale)).log_prob(grid)
    single = [MixtureSameFamily(weights, Gaussian(loc[:, j], log_scale[:, j])).log_prob(grid[:, j]) for j in (0, 1)]
    exact = float((joint.exp() * (joint - single[0] - single[1])).sum() * 0.04**2)
    terms = regularizer_terms(loc, log_scale, numbers(20_000, 2, 2))
    assert exact > 0.1
    assert float(TotalCorrelation(2).parts(terms)[1]) == pytest.approx(exact, abs=0.01)


def test_a_larger_beta_drives_dependence_out() -> None:
    """Means along a line cost more than the same means shuffled, more so with a larger beta, and following the gradient
    takes their correlation down."""
    generator = torch.Generator().manual_seed(0)
    a = torch.linspace(-2, 2, 40)
    loc = torch.stack([a, 0.8 * a + 0.3 * torch.randn(40, generator=generator)], 1)
    shuffled = torch.stack([loc[:, 0], loc[torch.randperm(40, generator=generator), 1]], 1)
    noise = torch.randn(100, 40, 2, generator=generator)

    def value(loc: Tensor, beta: float) -> Tensor:
        return TotalCorrelation(40, beta=beta)(regularizer_terms(loc, torch.full_like(loc, -1.0), noise))

    assert value(loc, 6.0) > value(shuffled, 6.0) + 1
    assert value(loc, 9.0) > value(loc, 6.0) > 0
    moved = loc.clone().requires_grad_()
    for _ in range(20):
        (gradient,) = torch.autograd.grad(value(moved, 6.0), moved)
        moved = (moved - 0.5 * gradient).detach().requires_grad_()
    assert torch.corrcoef(moved.T)[0, 1] < torch.corrcoef(loc.T)[0, 1] - 0.05


# ---- DIP


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_dip_is_the_double_loop(kind: str) -> None:
    terms = some_terms()
    q = terms.posterior.base_dist  # type: ignore[attr-defined]
    total = 0.0
    for i, j in itertools.product(range(K), range(K)):
        gaps = [(q.loc[b, i] - q.loc[:, i].mean()) * (q.loc[b, j] - q.loc[:, j].mean()) for b in range(B)]
        covariance = float(sum(gaps)) / B
        if i == j and kind == "ii":
            covariance += float(sum(q.scale[b, i] ** 2 for b in range(B))) / B
        total += 0.5 * covariance**2 if i != j else 3.0 * (covariance - 1) ** 2
    found = DIP(kind, off_diagonal=0.5, diagonal=3.0)(terms)  # type: ignore[arg-type]
    assert float(found) == pytest.approx(total)


def test_dip_is_nothing_at_the_identity_and_pulls_towards_it() -> None:
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=2)))
    noise = torch.zeros(1, 4, 2)
    assert DIP("i")(regularizer_terms(corners, corners * 0, noise)) == 0
    shrunk = regularizer_terms(corners * 0.6, 0.5 * math.log(1 - 0.36) + corners * 0, noise)
    assert DIP("ii")(shrunk) == pytest.approx(0.0, abs=1e-10)
    for factor, sign in ((0.5, -1), (1.5, 1)):
        scale = torch.tensor(factor, requires_grad=True)
        (slope,) = torch.autograd.grad(DIP("i")(regularizer_terms(scale * corners, corners * 0, noise)), scale)
        assert slope * sign > 0
    tilt = torch.tensor(0.3, requires_grad=True)
    tilted = corners @ torch.stack([torch.stack([tilt * 0 + 1, tilt]), torch.stack([tilt * 0, tilt * 0 + 1])])
    (slope,) = torch.autograd.grad(DIP("i", diagonal=0.0)(regularizer_terms(tilted, corners * 0, noise)), tilt)
    assert slope > 0


# ---- the discriminator


class Quadratic(nn.Module):
    """A logit with the features of a log ratio of two Gaussians in the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 1)

    def forward(self, z: Tensor) -> Tensor:
        a, b = z.unbind(-1)
        return self.linear(torch.stack([a, b, a * a, b * b, a * b], -1))


def test_the_best_discriminator_gives_the_exact_total_correlation() -> None:
    """-1/2 log(1 - r^2) for two standard normals with correlation r."""
    r, factor = 0.8, Factor(2, gamma=1.0)
    factor.discriminator = Quadratic()
    optimizer = torch.optim.Adam(factor.parameters(), lr=0.03)
    root = torch.tensor([[1.0, 0.0], [r, math.sqrt(1 - r**2)]])
    torch.manual_seed(0)

    def terms(batch: int) -> Terms:
        z = torch.randn(1, batch, 2) @ root.T
        return Terms(z[..., 0], None, z[0, :, 0], z, standard(z[0]), standard(z[0, 0]))

    for step in range(500):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / 500)
        optimizer.zero_grad()
        factor(terms(2000)).backward()
        optimizer.step()
    with torch.no_grad():
        found = float(factor.eval()(terms(200_000)))
    assert found == pytest.approx(-0.5 * math.log(1 - r**2), rel=0.05)


def test_the_discriminator_learns_from_cross_entropy_alone() -> None:
    """Its gradient is that of its own loss, whatever gamma is."""
    z = torch.randn(2, B, K)
    terms = Terms(z[..., 0], None, z[0, :, 0], z.requires_grad_(), standard(z[0]), standard(z[0, 0]))
    gradients = []
    for gamma in (0.0, 50.0):
        torch.manual_seed(0)
        factor = Factor(K, gamma=gamma, hidden=[8])
        torch.manual_seed(1)
        gradients.append(torch.autograd.grad(factor(terms), list(factor.parameters())))
        torch.manual_seed(1)
        own = torch.autograd.grad(factor.cross_entropy(z.detach()), list(factor.parameters()))
        assert all(torch.equal(a, b) for a, b in zip(gradients[-1], own, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_the_permutation_keeps_every_latent_s_own_values() -> None:
    """And makes an independent q(z) of a dependent one."""
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            seen.append(z)
            return z.sum(-1, keepdim=True)

    factor, line = Factor(2), torch.arange(500.0)
    factor.discriminator = Spy()
    z = torch.stack([line, line], -1).expand(3, 500, 2)
    factor.cross_entropy(z)
    assert torch.equal(seen[1].sort(1).values, z)
    assert all(torch.corrcoef(part.T)[0, 1].abs() < 0.2 for part in seen[1])


# ---- mutual posterior divergence


def test_the_mutual_posterior_divergence_is_the_double_loop() -> None:
    terms = some_terms()
    q = terms.posterior.base_dist  # type: ignore[attr-defined]
    each_one = [Gaussian(q.loc[i], q.log_scale[i]) for i in range(B)]
    pairs = [kl_divergence(each_one[i], each_one[j]) for i in range(B) for j in range(B) if i != j]
    means = [sum(float(pair[d]) for pair in pairs) / len(pairs) for d in range(K)]
    totals = torch.stack([pair.sum() for pair in pairs])
    spread = math.sqrt(float((totals - totals.mean()).square().sum()) / (len(pairs) - 1))
    expected = -1.7 * sum(math.log(1 / (1 + math.exp(-m))) for m in means) + 0.3 * spread
    assert float(MutualPosterior(eta=1.7, gamma=0.3)(terms)) == pytest.approx(expected)


def test_diversity_pays_by_eta_above_one() -> None:
    """Near collapse, at variance 1, spreading the means by s costs s^2/2 of rate a latent and gains eta s^2/2."""
    loc = numbers(200, K)
    loc = (loc - loc.mean(0)) / loc.std(0)

    def loss(eta: float, s: float) -> Tensor:
        terms = regularizer_terms(s * loc, 0 * loc, 0 * loc.unsqueeze(0))
        return terms.rate.mean() + MutualPosterior(eta, gamma=0.0)(terms)

    for eta in (0.5, 2.0):
        gain = float(loss(eta, 0.0) - loss(eta, 0.05)) / (0.5 * K * 0.05**2)
        assert gain == pytest.approx(eta - 1, abs=0.02)


def test_posteriors_of_another_family_are_refused_by_name() -> None:
    terms = some_terms()
    laplace = Independent(torch.distributions.Laplace(terms.z[0], torch.ones(B, K)), 1)
    other = Terms(terms.distortion, None, terms.rate, terms.z, laplace, terms.prior)
    with pytest.raises(AssertionError, match="diagonal Gaussians"):
        MutualPosterior()(other)


def test_a_combination_without_a_meaning_is_refused() -> None:
    with pytest.raises(RequestError, match="bound on importance weights"):
        request(compose("bound=iwae", "mitigation=wae"))
    with pytest.raises(RequestError, match="accumulation"):
        request(compose("regularizer=factor", "trainer.accumulate_grad_batches=2"))
