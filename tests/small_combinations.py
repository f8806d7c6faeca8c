"""Compositions over all the groups, and twenty updates of any of them without Lightning around."""

import copy
import random
from itertools import islice
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from vae_lab.evaluation import ElboMeter
from vae_lab.fitting import make_module
from vae_lab.options import groups
from vae_lab.request import Request

DRAWN = (
    "encoder", "decoder", "parametrization", "likelihood", "prior", "bound", "beta", "rate", "regularizer",
    "inference", "corruption", "posterior",
)  # fmt: skip
USUAL = {
    "encoder": "mlp", "decoder": "mlp", "parametrization": "plain", "likelihood": "bernoulli", "prior": "normal",
    "bound": "elbo", "beta": "constant", "rate": "identity", "regularizer": "none", "inference": "amortized",
    "corruption": "none", "posterior": "diagonal",
}  # fmt: skip
KEPT = 0.65  # how often a group keeps its usual option: with free choice everywhere most draws break some rule
GROUPS = {group: groups()[group] for group in DRAWN}
RARE = {
    "trainer.accumulate_grad_batches=2": 0.05, "trainer.gradient_clip_val=1.0": 0.2, "optimizer=adamw": 0.1,
    "scheduler=cosine": 0.1, "trainer=debug": 0.05, "callbacks=early_stopping": 0.05,
}  # fmt: skip
VALIDATED = ["trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=10"]
"""So that early stopping and plateaus can act within 20 updates, as they must."""
SMALL = ["dataset=digits", "latent_dim=4", "batch_size=32", "trainer.max_steps=20", *VALIDATED]
REAL = ["dataset=linear_gaussian", "dataset.train_size=200", "dataset.val_size=50", "dataset.test_size=50"]


def drawn(rng: random.Random) -> list[str]:
    """The words of a random composition, on data of either kind."""
    chosen = {group: USUAL[group] if rng.random() < KEPT else rng.choice(options) for group, options in GROUPS.items()}
    if rng.random() < 0.3:  # several at once, where a group is a list
        chosen["regularizer"] = "[" + ",".join(rng.sample(sorted({*GROUPS["regularizer"]} - {"none"}), 2)) + "]"
    vectors = "diagonal" in (chosen["encoder"], chosen["decoder"])  # of as many coordinates as latents
    if rng.random() < 0.9:  # else the likelihood may not fit the data
        binary = not vectors and chosen["likelihood"] in ("bernoulli", "gaussian")
        chosen["likelihood"] = "gaussian" if vectors and chosen["likelihood"] == "bernoulli" else chosen["likelihood"]
    else:
        binary = rng.random() < 0.5
    words = [f"{group}={option}" for group, option in chosen.items()]
    words += [word for word, chance in RARE.items() if rng.random() < chance]
    if vectors:
        return [*REAL, "latent_dim=5", "batch_size=32", "trainer.max_steps=20", *VALIDATED, *words]
    return [*SMALL, *([] if binary else ["dataset.binarization=none"]), *words]


class _Optimizer:
    """What Lightning puts around an optimiser, as far as a step asks for it."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.step = optimizer.step


class Steps:
    """The training steps of a request, by its own module."""

    def __init__(self, asked: Request) -> None:
        torch.manual_seed(asked.settings["seed"])
        self.module, self.asked = make_module(asked), asked
        self.frozen: list[nn.Parameter] = []
        self.batches = asked.dataset.batches("train", asked.settings["batch_size"], seed=0, shuffle=True)
        validation = asked.dataset.batches("val", 256)
        module: Any = self.module
        module._trainer = SimpleNamespace(
            is_last_batch=False, num_training_batches=10**6, loggers=[], log_every_n_steps=10**6, train_dataloader=self.batches,
            val_dataloaders=validation, precision_plugin=None, current_epoch=0,
        )  # fmt: skip
        optimizers, schedulers = module.configure_optimizers()
        module.optimizers = lambda: [_Optimizer(optimizer) for optimizer in optimizers]
        module.lr_schedulers = lambda: next(iter(schedulers), None)
        module.manual_backward = Tensor.backward
        module.on_train_start()

    def take(self, updates: int) -> None:
        """Trains; asserts that losses are finite, that every parameter moves, and that the ELBO that is reported is
        the plain one, by the meter that no remedy reaches."""
        module = self.module.train()
        before = copy.deepcopy(module.state_dict())
        stream = self._endless()
        for number, batch in enumerate(islice(stream, updates)):
            for parameter in self.frozen:
                parameter.requires_grad_(False)
            module.training_step(batch, number)
        losses = module._window.means()[:, 0]
        assert losses.isfinite().all(), f"a loss was not finite: {losses}"
        still = [name for name, p in module.named_parameters() if torch.equal(p, before[name])]
        assert set(still) <= self._may_rest(), f"never moved: {sorted(set(still) - self._may_rest())}"
        self._check_elbo()

    def _endless(self) -> Any:
        while True:
            yield from self.batches

    def _may_rest(self) -> set[str]:
        """Parameters that have no gradient for a reason: the prior's where the rate is below a floor, so that nothing
        is asked of it."""
        floored = self.asked.settings["rate"]["_target_"].endswith("FreeBits")
        names = {name for name, _ in self.module.named_parameters()}
        return {name for name in names if floored and name.startswith("model.prior")}

    def _check_elbo(self) -> None:
        """What is reported is E_q[log p(x|z) + log p(z) - log q(z|x)] in eval mode: here by plain Monte Carlo from the three
        distributions, within six of its standard errors."""
        model, draws = self.module.model.eval(), 64
        meter, batch = ElboMeter(samples=draws), next(iter(self.asked.dataset.batches("val", 32)))
        meter.update(model, batch, 0)
        q = model.encode(batch.x)
        with torch.no_grad():
            z = q.sample((draws,))
            log_w = model.decode(z).log_prob(batch.x) + model.prior().log_prob(z) - q.log_prob(z)
            means = log_w.double().mean(1)
        error = float(means.std()) * (2 / draws) ** 0.5
        assert abs(meter.compute()["elbo"] - float(means.mean())) < 6 * error + 1e-3


ALWAYS = [
    [*SMALL, *words.split()]
    for words in (
        "decoder=pixelcnn",
        "decoder=conv encoder=conv",
        "prior=mixture",
        "prior=mixture bound=iwae",
        "prior=mixture rate=free_bits rate.granularity=total",
        "bound=iwae decoder=pixelcnn",
        "bound=dreg",
        "bound=stl prior=mixture",
        "bound=miwae inference=aggressive",
        "bound=piwae decoder=pixelcnn",
        "bound=ciwae corruption=gaussian_noise",
        "bound=renyi",
        "bound=iwae parametrization=delta",
        "bound=dreg parametrization=batchnorm_mean",
        "rate=free_bits beta=cyclical",
        "rate=free_bits rate.reduction=example beta=linear decoder=pixelcnn",
        "rate=capacity",
        "rate=capacity regularizer=dip",
        "rate=hinge beta=sigmoid",
        "beta=geco",
        "beta=geco decoder=pixelcnn",
        "beta=pi prior=mixture",
        "beta=target_rate regularizer=mutual_posterior",
        "beta=soft_free_bits corruption=salt_and_pepper",
        "beta=cosine inference=aggressive",
        "inference=aggressive rate=free_bits",
        "inference=semi_amortized",
        "inference=semi_amortized decoder=pixelcnn decoder.channels=4",
        "inference=semi_amortized bound=iwae",
        "inference=two_stage beta=linear rate=free_bits",
        "inference=two_stage parametrization=batchnorm_mean",
        "regularizer=mmd",
        "regularizer=mmd prior=mixture",
        "regularizer=total_correlation decoder=pixelcnn",
        "regularizer=factor beta=linear",
        "regularizer=[mmd,dip]",
        "parametrization=du beta=linear",
        "decoder=mlp decoder.skip=true corruption=input_dropout",
        "decoder=pixelcnn decoder.skip=true parametrization=delta rate=free_bits",
        "dataset.binarization=none likelihood=gaussian_shared beta=geco",
    )
]
