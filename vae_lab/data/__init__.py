"""Datasets, their splits and binarisation, and loaders that slice batches from tensors in memory."""

from vae_lab.data.dataset import DataError, Dataset, Factors, Spec, Split
from vae_lab.data.loader import Batches

__all__ = ["Batches", "DataError", "Dataset", "Factors", "Spec", "Split"]
