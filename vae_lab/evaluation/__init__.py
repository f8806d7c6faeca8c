"""What a trained model is asked: always the plain model, at beta = 1, in nats per example, in eval mode."""

from vae_lab.evaluation.elbo import ElboMeter
from vae_lab.evaluation.evaluate import Evaluation, evaluate

__all__ = ["ElboMeter", "Evaluation", "evaluate"]
