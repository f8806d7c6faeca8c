"""What is trained: loss = a_D(t) D + a_R(t) sum_g T_g(R_g) + regularizers, or minus a bound on log-weights."""

from vae_lab.objectives.objective import Objective

__all__ = ["Objective"]
