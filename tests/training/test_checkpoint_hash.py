"""A checkpoint holds the hash of all its bytes: no flipped bit gives other weights."""

import contextlib
import zipfile
from pathlib import Path

import pytest
import torch

from vae_lab.training.checkpoint_io import CheckedCheckpointIO, DamagedCheckpoint, read_checkpoint

CONTENT = {
    "state_dict": {"model.w": torch.arange(30.0).reshape(5, 6), "model.b": torch.ones(3)},
    "vae_lab": {"history": 3},
}


def is_whole(path: Path) -> bool:
    read = read_checkpoint(path)
    same = [torch.equal(read["state_dict"][name], value) for name, value in CONTENT["state_dict"].items()]
    return all(same) and read["vae_lab"] == CONTENT["vae_lab"]


def flips(path: Path, bit: int) -> list[int]:
    """The offsets, of the zip's directory at the end and of some bytes before it, at which a flipped bit is read as
    something that was not written."""
    whole, wrong = path.read_bytes(), []
    start = zipfile.ZipFile(path).start_dir
    for offset in [*range(0, start, 29), *range(start, len(whole))]:
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << bit
        path.write_bytes(damaged)
        with contextlib.suppress(DamagedCheckpoint):
            wrong += [] if is_whole(path) else [offset]
    path.write_bytes(whole)
    return wrong


@pytest.mark.parametrize("bit", [0, 4])  # the one that makes a folder of a record among them
@pytest.mark.parametrize("hashed", [True, False])
def test_no_flipped_bit_gives_other_weights(hashed: bool, bit: int, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    if hashed:
        CheckedCheckpointIO().save_checkpoint(CONTENT, path)
    else:  # as older versions wrote it
        torch.save(CONTENT, path)
    assert is_whole(path)
    assert flips(path, bit) == []


def test_other_tools_read_it_and_a_cut_one_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    CheckedCheckpointIO().save_checkpoint(CONTENT, path)
    assert torch.load(path, weights_only=True)["vae_lab"] == {"history": 3}
    assert zipfile.ZipFile(path).comment.startswith(b"sha256:")
    whole = path.read_bytes()
    cuts = [whole[:-length] for length in range(1, 200)]
    for damaged in (*cuts, whole[:100], b"", whole + b"\0", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(DamagedCheckpoint, match=r"last\.ckpt is damaged: "):
            read_checkpoint(path)
