"""The losses of training between two logs."""

import torch
from torch import Tensor

PATIENCE = 50
"""So many batches in a row with a loss that is not finite end a run (looked at when something is logged)."""


class Diverged(RuntimeError):
    """The loss stayed NaN or infinite.

    Attributes:
        advice: what to do about it, where nothing else is known.
    """

    def __init__(self, text: str, advice: str = "Try a smaller optimizer.lr or trainer.gradient_clip_val=1") -> None:
        super().__init__(f"{text}. {advice}")
        self.text = text


class Window:
    """Loss, rate and distortion of each batch since the last log. They stay on the device until then: a look at one would
    make the host wait."""

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []
        self._bad = 0  # batches in a row, over all windows

    def __len__(self) -> int:
        return len(self._batches)

    def note(self, loss: Tensor, rate: Tensor, distortion: Tensor) -> None:
        """Adds a batch: its loss, (), and the rate and the distortion of its examples, detached."""
        self._batches.append((loss, rate, distortion))

    def means(self) -> Tensor:
        """The mean loss, rate and distortion of each batch, (n, 3): what a checkpoint keeps."""
        rows = [torch.stack((loss, rate.mean(), distortion.mean())) for loss, rate, distortion in self._batches]
        return torch.stack(rows) if rows else torch.zeros(0, 3)

    def restore(self, means: Tensor) -> None:
        """Takes the window of a checkpoint for its own."""
        self._batches = [(loss, rate, distortion) for loss, rate, distortion in means]

    def close(self, updates: int) -> dict[str, float]:
        """The figures of the window, which begins anew: means over the batches whose loss was finite, and how many were
        not. Errors: `Diverged`."""
        means = self.means().double().cpu()
        self._batches.clear()
        finite = means.isfinite().all(1)
        self._bad = 0 if finite.any() else self._bad + len(means)
        if self._bad >= PATIENCE:
            raise Diverged(
                f"the loss was NaN or infinite for {self._bad} batches in a row (until update {updates}), and each "
                "of those updates was skipped"
            )
        figures = {"skipped_updates": float((~finite).sum())}
        if finite.any():
            loss, rate, distortion = means[finite].mean(0).tolist()
            figures |= {"loss": loss, "elbo": -(rate + distortion), "rate": rate, "distortion": distortion}
        return figures
