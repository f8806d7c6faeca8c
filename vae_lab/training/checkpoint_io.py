"""Checkpoints that are whole or not there."""

import hashlib
import os
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from vae_lab.errors import first_line


class DamagedCheckpoint(Exception):
    """A checkpoint whose bytes are not those that were written."""


class CheckedCheckpointIO(TorchCheckpointIO):
    """Writes beside the old file and renames (Lightning writes to TMPDIR, from where a move may not be atomic); reads
    after checking the hash of the file and the checksum of every record (torch itself skips both), plain tensors and dicts
    only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with open(temporary, "w+b") as file:
                torch.save(checkpoint, file)
                _sign(file)
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


_SAYS, _DIGITS = b"sha256:", 64
"""A checkpoint is a zip, which may end in a comment: it ends in the hash of all bytes before that comment. So one file holds
both, and what reads a zip reads it as before."""


def _sign(file: BinaryIO) -> None:
    """Ends a zip with a comment that holds its hash."""
    file.seek(-2, os.SEEK_END)  # the length of its comment, of which torch writes none
    file.write(struct.pack("<H", len(_SAYS) + _DIGITS))
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.write(_SAYS + digest.encode())


def _check_hash(path: Path) -> None:
    """Refuses bytes that are not those that were written, and a file that is cut within its end. A file of before there were
    hashes has none, and `_check_records` alone."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        signed, plain = (size - length - _END.size for length in (len(_SAYS) + _DIGITS, 0))
        if _has_end(file, plain, 0):
            return
        if not _has_end(file, signed, len(_SAYS) + _DIGITS):
            raise ValueError("it is cut short, or its end is not that of a checkpoint")
        whole = signed + _END.size
        file.seek(whole)
        says, digits = (comment := file.read())[: len(_SAYS)], comment[len(_SAYS) :]
        file.seek(0)
        if says != _SAYS or _hash_of(file, whole) != digits:
            raise ValueError("its hash is not that of what was written")


_END = struct.Struct("<4s16xH")
"""The record that ends a zip: its mark, what is in the file, the length of the comment behind it."""


def _has_end(file: BinaryIO, place: int, comment: int) -> bool:
    """Whether the record that ends a zip is at that place, and says that so long a comment follows."""
    if place < 0:
        return False
    file.seek(place)
    return _END.unpack(file.read(_END.size)) == (b"PK\x05\x06", comment)


def _hash_of(file: BinaryIO, size: int) -> bytes:
    digest = hashlib.sha256()
    while size > 0 and (block := file.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest().encode()


def _check_records(path: Path) -> str | None:
    """Returns the first record whose checksum does not match. Errors: `ValueError` for a record that is a folder, which torch
    takes for one whose content is whatever lies in memory."""
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.is_dir() or record.external_attr & _IS_FOLDER:
                raise ValueError(f"{record.filename} in it is a folder")
        return archive.testzip()


_IS_FOLDER = 0x10  # MS-DOS's attribute, by which torch's reader knows one


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU. Errors: `DamagedCheckpoint`."""
    try:
        _check_hash(path)
        damaged = _check_records(path)
        if damaged is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError) as error:
        raise DamagedCheckpoint(f"{path} is damaged: {error}") from error
    except Exception as error:  # what torch's unpickler raises has no common base
        raise DamagedCheckpoint(f"{path} is no checkpoint of plain tensors and dicts: {first_line(error)}") from error
    raise DamagedCheckpoint(f"{path} is damaged: the checksum of {damaged} does not match")
