"""Checkpoints that are whole or not there."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from vae_lab.errors import first_line


class DamagedCheckpoint(Exception):
    """A checkpoint whose bytes are not those that were written."""


class CheckedCheckpointIO(TorchCheckpointIO):
    """Writes beside the old file and renames (Lightning writes to TMPDIR, from where a move may not be atomic); reads
    after checking the checksum of every record (torch itself skips them), plain tensors and dicts only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with open(temporary, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except RuntimeError as error:
            hidden = error.__context__  # torch hides a full disk behind an error of its own
            raise hidden if isinstance(hidden, OSError) else error from None
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU. Errors: `DamagedCheckpoint`."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError) as error:
        raise DamagedCheckpoint(f"{path} is damaged: {error}") from error
    except Exception as error:  # what torch's unpickler raises has no common base
        raise DamagedCheckpoint(f"{path} is no checkpoint of plain tensors and dicts: {first_line(error)}") from error
    raise DamagedCheckpoint(f"{path} is damaged: the checksum of {damaged} does not match")
