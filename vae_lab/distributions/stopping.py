"""A distribution with its parameters held fixed, for gradients by its samples alone."""

import functools

from torch.distributions import Distribution, Independent

from vae_lab.distributions.gaussian import Gaussian


@functools.singledispatch
def stopped(q: Distribution) -> Distribution:
    r"""The same distribution with its parameters detached: :math:`\log q(z)` then has a gradient by z, and none by what
    q was made from.

    A family of your own is told to it by `stopped.register`. A class that changes the density of a known family must be
    told too, as the method of its base class would be taken.

    Example:
        >>> import torch
        >>> scale = torch.zeros(3, requires_grad=True)
        >>> stopped(Gaussian(torch.zeros(3), scale)).log_prob(torch.zeros(3)).requires_grad
        False
    """
    family = type(q).__name__
    raise TypeError(f"stopped: how to detach the parameters of {family} is not known; tell it by stopped.register")


@stopped.register
def _(q: Independent) -> Independent:
    return Independent(stopped(q.base_dist), q.reinterpreted_batch_ndims, validate_args=False)


@stopped.register
def _(q: Gaussian) -> Gaussian:
    return Gaussian(q.loc.detach(), q.log_scale.detach())
