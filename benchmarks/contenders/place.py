"""Where the contenders run: on the GPU where there is one, or as BENCH_DEVICE says."""

import os

import torch

DEVICE = torch.device(os.environ.get("BENCH_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))
TRAINER = "gpu" if DEVICE.type == "cuda" else "cpu"
"""The lab's option, and Lightning's accelerator."""
