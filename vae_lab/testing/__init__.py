"""The laws of every kind of part, as plain functions that anybody can run on parts of their own.

A law takes an option: the settings of a YAML file (a mapping with `_target_`), a class, or a module that is built
already. It returns nothing, or raises `AssertionError` with the law that broke and by how much. Random checks have a
seed of their own, leave the caller's generator alone, and allow four standard errors.

    >>> check_prior({"_target_": "vae_lab.models.priors.StandardNormalPrior"}, latent_dim=2)
    >>> check_beta({"_target_": "vae_lab.objectives.beta.Linear", "warmup": 10})
"""

from vae_lab.testing.controllers import check_controller
from vae_lab.testing.latents import check_parametrization, check_posterior, check_prior
from vae_lab.testing.likelihoods import check_likelihood
from vae_lab.testing.networks import check_decoder, check_encoder, dependence
from vae_lab.testing.objectives import (
    EVIDENCE,
    check_beta,
    check_bound,
    check_rate,
    conjugate_elbo,
    conjugate_terms,
    rate_terms,
    weights,
)
from vae_lab.testing.regularizers import check_regularizer, regularizer_terms
from vae_lab.testing.tools import SHAPES, TINY, Option, Shape, declared, make

__all__ = [
    "EVIDENCE",
    "SHAPES",
    "TINY",
    "Option",
    "Shape",
    "check_beta",
    "check_bound",
    "check_controller",
    "check_decoder",
    "check_encoder",
    "check_likelihood",
    "check_parametrization",
    "check_posterior",
    "check_prior",
    "check_rate",
    "check_regularizer",
    "conjugate_elbo",
    "conjugate_terms",
    "declared",
    "dependence",
    "make",
    "rate_terms",
    "regularizer_terms",
    "weights",
]
