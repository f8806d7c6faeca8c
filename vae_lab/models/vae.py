"""The flat VAE: an encoder and a posterior give q(z|x), a decoder and a likelihood p(x|z), a prior p(z)."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from vae_lab.distributions import per_dimension_kl
from vae_lab.models.decoders import Decoder
from vae_lab.models.posteriors import Posterior
from vae_lab.models.terms import Batch, Terms


class Inference(nn.Module):
    """How q(z|x) is obtained: amortised, as the encoder says."""

    refines = False  # whether it changes what the encoder says

    def forward(self, model: "VAE", x: Tensor) -> Distribution:
        return model.amortized(x)


class VAE(nn.Module):
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
    """

    def __init__(
        self,
        encoder: nn.Module,
        parametrization: nn.Module,
        posterior: Posterior,
        decoder: Decoder,
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

    def encode(self, x: Tensor) -> Distribution:
        """q(z|x), batch (B,), event (k,)."""
        return self.inference(self, x)

    def amortized(self, x: Tensor) -> Distribution:
        """q(z|x) as the encoder alone has it."""
        return self.posterior(self.encoder(x), self.parametrization)

    def decode(self, z: Tensor) -> Distribution:
        """p(x|z), batch z.shape[:-1], event `shape`."""
        return self.decoder(z, self.likelihood)

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


def _rate(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """KL(q || p), (B,): closed where torch has it registered, else the mean of log q - log p over the samples z."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return (q.log_prob(z) - p.log_prob(z)).mean(0)
