"""The LightningModule around the objective, and the parts of a run that are Lightning's, by name."""
