"""Hydra's side of `hydra/sweeper=optuna`. It must lie here: Hydra takes a sweeper from this namespace only."""
