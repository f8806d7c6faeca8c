"""What is measured: bounds on log p(x), active units, information, and the closed forms of the linear model.

Pure functions, and update / compute pairs where a figure spans a dataset, so that it is right across batches.
"""

from vae_lab.estimators.bounds import LogMeanExp, importance_bound
from vae_lab.estimators.information import log_aggregate, pairwise_log_prob
from vae_lab.estimators.moments import Moments, active_units
from vae_lab.metrics import ACTIVE_THRESHOLD

__all__ = [
    "ACTIVE_THRESHOLD",
    "LogMeanExp",
    "Moments",
    "active_units",
    "importance_bound",
    "log_aggregate",
    "pairwise_log_prob",
]
