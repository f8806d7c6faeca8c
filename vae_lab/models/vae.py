"""The flat VAE: an encoder and a posterior give q(z|x), a decoder and a likelihood p(x|z), a prior p(z)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from vae_lab.distributions import per_dimension_kl
from vae_lab.models.labels import Labelled
from vae_lab.models.posteriors import Posterior
from vae_lab.models.terms import Batch, Terms


class Inference(nn.Module):
    """How q(z|x) is obtained: amortised, as the encoder says."""

    refines = False  # whether it changes what the encoder says

    def forward(self, model: "Autoencoding", x: Tensor) -> Distribution:
        return model.amortized(x)


PARTS = ("encoder", "decoder", "prior")


class Autoencoding:
    """What an encoder, a decoder and a prior make together."""

    encoder: Callable[[Tensor], Tensor]
    decoder: Callable[[Tensor, nn.Module], Distribution]
    prior: Callable[[], Distribution]
    parametrization: nn.Module
    posterior: Posterior
    likelihood: nn.Module
    inference: Inference
    log_units: float

    def encode(self, x: Tensor) -> Distribution:
        """q(z|x), batch (B,), event (k,)."""
        return self.inference(self, x)

    def amortized(self, x: Tensor) -> Distribution:
        """q(z|x) as the encoder alone has it."""
        return self.posterior(self.raw(x), self.parametrization)

    def raw(self, x: Tensor) -> Tensor:
        """The raw parameters of q that the encoder gives, (B, outputs), in the precision of x: where networks alone are in a
        lower one (bf16-mixed), q and everything that follows from it are not. x of whole numbers has no precision, and
        q is then in the encoder's, or in float32 where networks alone are in a lower one."""
        raw = self.encoder(x)
        if x.is_floating_point():
            return raw.to(x.dtype)
        return raw.float() if torch.is_autocast_enabled(x.device.type) else raw

    def decode(self, z: Tensor) -> Distribution:
        """p(x|z), batch z.shape[:-1], event `shape`."""
        return self.decoder(z, self.likelihood)

    def draw_prior(self, count: int) -> Tensor:
        """So many draws of z from the prior, (count, k); where each label has its own, there are as many labels."""
        p = self.prior()
        return p.sample() if p.batch_shape else p.sample(torch.Size([count]))

    def noise(self, batch_size: int, samples: int, generator: torch.Generator) -> Tensor:
        """The noise of one step, (K, B, n). It is drawn outside `terms`, which is then a pure function."""
        shape = (samples, batch_size, self.posterior.noise_dim)
        return torch.randn(shape, generator=generator, device=generator.device)

    def terms(self, batch: Batch, noise: Tensor, q: Distribution | None = None) -> Terms:
        """The parts of the ELBO of each example, with one sample of z for each row of `noise`, (K, B, n). A posterior
        that is known already may be given as `q`."""
        q, p = q if q is not None else self.encode(batch.x), self.prior()
        z = self.posterior.reparametrize(q, noise)
        rates = per_dimension_kl(q, p)
        rate = rates.sum(-1) if rates is not None else _rate(q, p, z)
        return Terms(self.log_units - self.decode(z).log_prob(batch.x), rates, rate, z, q, p)


class At(Autoencoding):
    """A model whose parts are told labels, at given labels: the same three parts, told."""

    def __init__(self, model: "VAE", y: Tensor) -> None:
        self.parametrization, self.posterior = model.parametrization, model.posterior
        self.likelihood, self.inference, self.log_units = model.likelihood, model.inference, model.log_units
        for name in PARTS:
            part = getattr(model, name)
            setattr(self, name, part.given(y) if isinstance(part, Labelled) else part)


class VAE(Autoencoding, nn.Module):
    r"""A latent-variable model and its amortised posterior (Kingma and Welling 2014; Rezende et al. 2014).

    Arguments:
        encoder: maps x, (B, *shape), to the raw parameters of q, (B, outputs).
        parametrization: acts on location and log-scale before they become q.
        posterior: maps raw parameters to q(z|x).
        decoder: maps z, (..., k), and the likelihood to p(x|z).
        likelihood: maps the decoder's raw output to p(x|z).
        prior: gives p(z).
        inference: how q(z|x) is obtained from the encoder; it may refine what the encoder says of an example.
        log_units: of the data (`Spec.log_units`): nats that the distortion of x has beside that of x as it is served.

    Attributes:
        labelled: whether a part of the model is told labels (`models.labels`).
    """

    encoder: nn.Module
    decoder: nn.Module
    prior: nn.Module

    def __init__(
        self,
        encoder: nn.Module,
        parametrization: nn.Module,
        posterior: Posterior,
        decoder: nn.Module,
        likelihood: nn.Module,
        prior: nn.Module,
        inference: Inference | None = None,
        log_units: float = 0.0,
    ) -> None:
        super().__init__()
        self.log_units = log_units
        self.inference = inference or Inference()
        self.encoder, self.parametrization, self.posterior = encoder, parametrization, posterior
        self.decoder, self.likelihood, self.prior = decoder, likelihood, prior
        self.labelled = any(isinstance(part, Labelled) for part in (encoder, decoder, prior))

    def given(self, y: Tensor | None) -> Autoencoding:
        """The model at labels y, (B,), or () for all of one; itself where it is told none.

        Errors: `ValueError` where it is told labels and has none.
        """
        if not self.labelled:
            return self
        if y is None:
            raise ValueError("this model is told the label of each example (labels=given): give y")
        return At(self, y)

    def terms(self, batch: Batch, noise: Tensor, q: Distribution | None = None) -> Terms:
        """The same at the batch's own labels."""
        model = self.given(batch.y)
        return super().terms(batch, noise, q) if model is self else model.terms(batch, noise, q)


def _rate(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """KL(q || p), (B,): closed where there is a closed form, else the mean of log q - log p over the samples z."""
    closed = closed_rate(q, p)
    return (q.log_prob(z) - p.log_prob(z)).mean(0) if closed is None else closed


def closed_rate(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q || p), (B,), in closed form; None where torch has none registered."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None
