"""A distribution drawn from at a temperature."""

import functools
import math

from torch.distributions import Distribution, Independent, MixtureSameFamily, MultivariateNormal

from vae_lab.distributions.gaussian import Gaussian


@functools.singledispatch
def tempered(p: Distribution, temperature: float) -> Distribution:
    r"""The same distribution with the standard deviations of its Gaussians times T > 0.

    .. math:: N(m, S) \to N(m, T^2 S) \propto N(m, S)^{1 / T^2}

    A mixture keeps its weights and means, and each component is changed by itself (which is not a power of its density).
    T = 1 changes nothing; lower ones draw nearer to the means (Kingma and Dhariwal 2018; Vahdat and Kautz 2020).

    A family of your own is told to it by `tempered.register`. Errors: TypeError for one that it does not know, unless T = 1.

    Example:
        >>> import torch
        >>> tempered(Gaussian(torch.zeros(2), torch.zeros(2)), 0.5).scale
        tensor([0.5000, 0.5000])
    """
    if temperature == 1:
        return p
    raise TypeError(
        f"tempered: {type(p).__name__} has no scale that is known; a family is told to it by tempered.register"
    )


@tempered.register
def _(p: Gaussian, temperature: float) -> Gaussian:
    return Gaussian(p.loc, p.log_scale + math.log(temperature))


@tempered.register
def _(p: MultivariateNormal, temperature: float) -> MultivariateNormal:
    return MultivariateNormal(p.loc, scale_tril=temperature * p.scale_tril, validate_args=False)


@tempered.register
def _(p: Independent, temperature: float) -> Independent:
    return Independent(tempered(p.base_dist, temperature), p.reinterpreted_batch_ndims, validate_args=False)


@tempered.register
def _(p: MixtureSameFamily, temperature: float) -> MixtureSameFamily:
    components = tempered(p.component_distribution, temperature)
    return MixtureSameFamily(p.mixture_distribution, components, validate_args=False)
