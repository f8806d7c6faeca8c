#!/usr/bin/env bash
# Pillow 11.3.0 and a colour PNG of 16 bits a channel.
#
# Behaviour: such a file opens without a word as mode RGB, 8 bits a channel: of each value the high byte is kept. A grey PNG of
# 16 bits opens as I;16 and keeps all of them. A data set of 16-bit colour pictures so loses half of its bits,
# and nothing but the arguments of the decoder (image.tile) shows that the file had more.
# The file is written here by hand, byte by byte as the PNG specification has it, and is valid.
#
# Seen on 2026-12-01, Python 3.11, Linux:
#   colour RGB [(1, 128, 255)] RGB;16B
#   grey I;16 [258]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'pillow==11.3.0'
cat > "$folder/look.py" <<'PY'
import struct
import sys
import zlib

from PIL import Image


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def write(path, colour, values):
    """A PNG of one pixel, 16 bits a channel; colour type 0 is grey, 2 is RGB."""
    header = struct.pack(">IIBBBBB", 1, 1, 16, colour, 0, 0, 0)
    row = b"\0" + struct.pack(f">{len(values)}H", *values)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + parts)


folder = sys.argv[1]
write(f"{folder}/colour.png", 2, [258, 32768, 65535])
write(f"{folder}/grey.png", 0, [258])
for name in ("colour", "grey"):
    image = Image.open(f"{folder}/{name}.png")
    arguments = image.tile[0].args
    print(name, image.mode, list(image.getdata()), arguments if name == "colour" else "", flush=True)
PY
"$folder/venv/bin/python" "$folder/look.py" "$folder" | sed 's/ *$//' | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
colour RGB [(1, 128, 255)] RGB;16B
grey I;16 [258]
SEEN
echo "as before"
