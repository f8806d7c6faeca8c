"""On a GPU, in one command of less than ten minutes: does all of it work there, is it right, and how fast is it?

`python -m benchmarks.gpu [--rounds 7]` needs what `make setup` installs, with a CUDA build of torch. It first checks, on
the device, that a step finds what it finds on the CPU (in float64), that the compiled step, which is a CUDA graph there,
finds what the plain one finds, that bf16-mixed keeps the sums of the likelihood and the KL in float32, and that whole
runs, plain and compiled, end at the same figures. Then it times the lab, the lab compiled and plain Lightning beside the bare
loop, in turn, on a small and on a convolutional model, and NLL with 1,000 samples. Writes `benchmarks/results/gpu.json`. Without a GPU it
does the same on the CPU and says so, which tests the script and nothing else.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.against import Row, command
from benchmarks.contenders.lab import words_of
from benchmarks.contenders.place import DEVICE, TRAINER
from benchmarks.loops import parts
from benchmarks.records import keep, ratio, show, spread
from benchmarks.turns import Contender, in_turn
from vae_lab import compose
from vae_lab.config import resolve
from vae_lab.distributions import stream
from vae_lab.models import VAE
from vae_lab.objectives import Objective
from vae_lab.run import train
from vae_lab.training.checkpoint_io import read_checkpoint
from vae_lab.training.step import CompiledStep, Step, StepInputs, loss_of

CASES = (
    ("vae", ()),
    ("iwae", ()),
    ("conv", ()),
    ("pixelcnn", ()),
    ("vae", ("prior=mixture", "beta=linear")),
    ("vae", ("parametrization=batchnorm_mean", "rate=free_bits")),
)
ROWS = (Row("vae", 20, 300), Row("vae", 128, 300), Row("conv", 128, 200), Row("iwae", 20, 200), Row("nll", 10, 50))
WANTED = ("floor", "bare", "lab", "compiled", "plain_lightning")


def made(
    model: str, more: tuple[str, ...], device: torch.device, dtype: torch.dtype
) -> tuple[VAE, Objective, StepInputs]:
    """A model, its objective and one step's input, the same on every device."""
    settings = resolve(compose(*words_of(model, "16"), "trainer.max_steps=100", *more))
    vae, objective, loader = parts(settings, (1, 8, 8) if model == "pixelcnn" else (1, 28, 28))
    batch = next(iter(loader))
    noise = vae.noise(len(batch.x), objective.samples, stream(0, "gpu")).to(device, dtype)
    x = batch.x.to(device, dtype)
    inputs = StepInputs(x, None, x, noise, objective.coefficients(3))
    return vae.to(device, dtype).train(), objective.to(device, dtype), inputs


def found(step: Step, inputs: StepInputs) -> list[torch.Tensor]:
    """The loss and every gradient, on the CPU, in float64."""
    parameters = [*step.model.parameters(), *step.objective.parameters()]
    for parameter in parameters:
        parameter.grad = None
    loss = step.differentiate(inputs).loss
    return [one.detach().double().cpu() for one in (loss, *(p.grad for p in parameters if p.grad is not None))]


def furthest(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    """The largest difference, relative to the size of what differs."""
    return max(float((x - y).norm() / x.norm().clamp(min=1e-30)) for x, y in zip(a, b, strict=True))


def checks() -> list[dict[str, Any]]:
    rows = []
    for model, more in CASES:
        for what, step, dtype, least in (
            ("as on the CPU", Step, torch.float64, 1e-9),
            ("compiled", CompiledStep, torch.float64, 1e-9),
            ("compiled", CompiledStep, torch.float32, 1e-3),
        ):
            if step is CompiledStep and dtype == torch.float32 and more:
                continue  # a minute of compiling each
            vae, objective, inputs = made(model, more, torch.device("cpu"), dtype)
            truth = found(Step(vae, objective), inputs)
            vae, objective, inputs = made(model, more, DEVICE, dtype)
            one = step(vae, objective)
            for _ in range(2 if step is CompiledStep else 0):  # the second is compared with the plain step
                found(one, inputs)
            vae, objective, inputs = made(model, more, DEVICE, dtype)
            distance = furthest(truth, found(step(vae, objective), inputs))
            rows.append({"case": " ".join([model, *more]), "what": what, "dtype": str(dtype), "off_by": distance})
            assert distance < least, rows[-1]
    rows.append({"case": "vae", "what": "bf16-mixed", "off_by": half()})
    return rows


def half() -> float:
    """How far the ELBO under bf16-mixed is from float32's, relatively; its parts must be float32."""
    vae, objective, inputs = made("vae", (), DEVICE, torch.float32)
    full = loss_of(vae, objective, inputs)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        mixed = loss_of(vae, objective, inputs)
    assert mixed.rate.dtype == mixed.distortion.dtype == torch.float32
    off = float(((mixed.loss - full.loss) / full.loss).abs())
    assert off < 0.01, off
    return off


def whole_runs() -> None:
    """A run of the command line's own, plain and compiled, evaluated: the same figures within 5 %, which sixty updates
    make of rounding."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["trainer.max_steps=60", "evaluation.nll_samples=50", "evaluation.figures=false", f"runs_dir={folder}"]
        plain, compiled = (
            train(compose(*words, f"trainer={TRAINER}", f"compile={word}"), progress=False)
            for word in ("false", "true")
        )
        for name in ("test/elbo", "test/nll"):
            a, b = plain["metrics"][name], compiled["metrics"][name]
            assert abs(a - b) < 0.05 * abs(a), (name, a, b)
        assert all(read_checkpoint(path) for path in Path(folder).glob("solo/*/checkpoints/last.ckpt"))


def timed(rounds: int, checked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for row in ROWS:
        names = [name for name in WANTED if row.model != "nll" or name in ("floor", "bare", "lab")]
        threads = os.cpu_count() or 1
        contenders = [Contender(name, command(name, row.model, str(row.batch_size)), threads) for name in names]
        with tempfile.TemporaryDirectory() as folder:
            rates, _ = in_turn(contenders, rounds, row.steps, Path(folder))
        lines = [(name, spread(rates[name]), f"{ratio(rates[name], rates['bare']):.2f}") for name in rates]
        show(f"{row.name} on {DEVICE}", ("", "steps a second", "of bare"), lines)
        rows.append({"row": row.name, "rates": rates})
        keep("gpu", device=str(DEVICE), checks=checked, rows=rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    if DEVICE.type != "cuda":
        print("no GPU here: what follows is of the CPU, and tests this script alone", file=sys.stderr)
    checked = checks()
    for row in checked:
        print(f"{row['case']:50} {row['what']:15} {row.get('dtype', ''):15} off by {row['off_by']:.1e}", flush=True)
    whole_runs()
    rows = timed(rounds)
    small = rows[0]["rates"]
    print(
        f"compiled / plain Lightning at batch 20: {ratio(small['compiled'], small['plain_lightning']):.2f}, wanted 5 on a GPU"
    )
    keep("gpu", device=str(DEVICE), rounds=rounds, checks=checked, rows=rows)


if __name__ == "__main__":
    main()
