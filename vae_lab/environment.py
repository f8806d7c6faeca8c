"""What a run's numbers may depend on besides its settings."""

import contextlib
import functools
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any


@functools.cache
def code_version() -> dict[str, str | None]:
    """The version of this code and, in a checkout, its commit (with a + if files differ from it)."""
    root = Path(__file__).parent.parent
    commit = None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if (root / ".git").exists():
            git = ["git", "-C", str(root)]
            commit = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True, timeout=10).strip()
            dirty = subprocess.check_output([*git, "status", "--porcelain", "-uno"], text=True, timeout=10).strip()
            commit += "+" if dirty else ""
    return {"vae_lab": version("vae-lab"), "commit": commit}


def _device_name(accelerator: Any) -> str:
    import torch

    from vae_lab.training.trainer import device_of

    device = device_of(accelerator)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def environment(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The record that goes into `result.json`."""
    import torch  # not with this file: `vae-lab ls` asks for the version alone

    return {
        **code_version(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pytorch_lightning": version("pytorch-lightning"),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "threads": settings["threads"],
        "compile": settings["compile"],
        "device": _device_name(settings["trainer"]["accelerator"]),
        "precision": settings["trainer"]["precision"],
    }
