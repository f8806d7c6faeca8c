"""Denoising: what the model makes of x with noise on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import MinLen
from torch import Tensor, nn

from vae_lab.build import build
from vae_lab.data.dataset import Dataset, Spec, SplitName
from vae_lab.distributions import stream_seed
from vae_lab.errors import RequestError, listed, nearest
from vae_lab.evaluation.denoise import (
    denoised,
    mean_squared_error,
    peak_signal_to_noise,
    signal_to_noise,
    structural_similarity,
)
from vae_lab.finished import Run
from vae_lab.options import groups, option_content
from vae_lab.schema import check_arguments
from vae_lab.settings import Count, NonNegative
from vae_lab.targets import locate
from vae_lab.traits import Traits, conflicts, traits_of
from vae_lab.uses.use import Answer

_GROUP, _SHOWN = "corruption", 8
Levels = Annotated[list[NonNegative], MinLen(1)]
Measures = Mapping[str, Callable[[Tensor, Tensor], float | None]]
OF_ALL: Measures = {"mean_squared_error": mean_squared_error, "snr": signal_to_noise}
OF_IMAGES: Measures = {"psnr": peak_signal_to_noise, "ssim": structural_similarity}


@dataclass(frozen=True)
class Denoise:
    """Examples with noise of several levels, and the decoder's mean at the mean of q(z|x~): how far each is from x.

    A model need not be trained to denoise: one that is (a corruption other than none) stands beside one that is not. Of
    images in [0, 1] the PSNR and the SSIM, of everything else the SNR; a picture has a row for each level. A model that is told
    labels has those of the examples.

    Arguments:
        split: of which examples. count: how many, the first ones.
        noise: one of the group `corruption` with one setting. levels: the values of that setting; 0 is x itself.
        seed: of the noise, which is drawn alike at every level.
    """

    split: SplitName = "test"
    count: Count = 500
    noise: str = "gaussian_noise"
    levels: Levels = field(default_factory=lambda: [0.0, 0.1, 0.2, 0.4, 0.8])
    seed: int = 0
    takes_labelled: ClassVar[bool] = True

    def __call__(self, run: Run, dataset: Dataset) -> Answer:
        setting, noises = self._noises(run, dataset.spec())
        x, y, *_ = next(iter(dataset.batches(self.split, self.count)))
        model = run.model.given(y)
        if denoised(run.model.given(None if y is None else y[:1]), x[:1]) is None:
            raise RequestError("denoise: this run's decoder has no mean in closed form, which would be the answer")
        image = {"unit_x", "image"} <= dataset.spec().traits.provides
        measures = {**OF_ALL, **(OF_IMAGES if image else {})}
        numbers: dict[str, Any] = {"examples": len(x)}
        shown: dict[str, list[Tensor]] = {"noisy": [], "denoised": []}
        for level, noise in zip(self.levels, noises, strict=True):
            noisy = self._seen(noise, x)
            for name, one in (("noisy", noisy), ("denoised", denoised(model, noisy))):
                assert one is not None
                told = {key: measure(one, x) for key, measure in measures.items()}
                numbers.setdefault(f"{setting}_{level:g}", {})[name] = told
                shown[name].append(one[:_SHOWN])
        rows = [
            [level, name, *numbers[f"{setting}_{level:g}"][name].values()] for level in self.levels for name in shown
        ]
        titles = [setting, "of", *measures]
        charts = {key: _chart(titles, rows, key) for key in (OF_IMAGES if image else ["snr"])}
        pictures = (
            {"clean": x[:_SHOWN], **{name: torch.cat(ones) for name, ones in shown.items()}} if x.dim() == 4 else {}
        )
        return Answer(
            numbers,
            {name: one.clamp(0, 1) for name, one in pictures.items()},
            columns=min(_SHOWN, len(x)),
            charts={key: chart for key, chart in charts.items() if chart["data"]["values"]},
            tables={"levels": [titles, *rows]},
        )

    def _noises(self, run: Run, spec: Spec) -> tuple[str, list[nn.Module]]:
        """The name of the noise's setting, and a corruption at each level."""
        files = {name: option_content(_GROUP, name, run.named) for name in groups(run.named)[_GROUP]}
        known = {name: sorted(file.keys() - {"_target_"}) for name, file in files.items() if len(file) == 2}
        if self.noise not in known:
            near = nearest(self.noise, known)
            raise RequestError(f"denoise.noise: {self.noise!r} given; must be one of {listed(known)}{near}")
        node, (setting,) = files[self.noise], known[self.noise]
        asked = traits_of(locate(_GROUP, str(node["_target_"])), {}) or Traits()
        if refused := conflicts([(f"denoise.noise={self.noise}", asked), ("the data", spec.traits)]):
            raise RequestError(refused[0])
        for level in self.levels:
            check_arguments(_GROUP, {**node, setting: level})
        return setting, [build({**node, setting: level}) for level in self.levels]

    def _seen(self, noise: nn.Module, x: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(stream_seed(self.seed, "noise"))
            seen: Tensor = noise.train()(x)
        return seen


def _chart(titles: list[str], rows: list[list[Any]], measure: str) -> dict[str, Any]:
    """A measure against the level, before and after."""
    at = titles.index(measure)
    values = [{"level": row[0], "of": row[1], measure: row[at]} for row in rows if row[at] is not None]
    unit = " (dB)" if measure in ("psnr", "snr") else ""
    return {
        "data": {"values": values},
        "mark": {"type": "line", "point": True},
        "width": 360,
        "height": 240,
        "encoding": {
            "x": {"field": "level", "type": "quantitative", "title": titles[0]},
            "y": {"field": measure, "type": "quantitative", "title": f"{measure.upper()}{unit}", "scale": {"zero": False}},
            "color": {"field": "of", "type": "nominal", "title": None},
        },
    }  # fmt: skip
