#!/usr/bin/env bash
# hydra-core 1.3.8: range() in a sweep, over floats.
#
# Behaviour: two float ranges which share a point write it differently: 0.3 in the one is 0.30000000000000004 in the
# other, and 0.7 is 0.7000000000000001 in both, which no person would write. Whatever names a job by its overrides (a folder, a
# hash, a table of done points) takes one point of a grid for two, and runs it twice.
#
# Seen on 2026-12-01, Python 3.11, Linux:
#   range(0,1,0.1) x=0.3 x=0.7000000000000001 x=0.8
#   range(0.1,1,0.1) x=0.30000000000000004 x=0.7000000000000001 x=0.8
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'hydra-core==1.3.8' 'omegaconf==2.3.1'
cat > "$folder/look.py" <<'PY'
from hydra.core.override_parser.overrides_parser import OverridesParser

parser = OverridesParser.create()
for text in ("range(0,1,0.1)", "range(0.1,1,0.1)"):
    override = parser.parse_override(f"x={text}")
    points = [f"x={value}" for value in override.sweep_iterator()]
    print(text, *[point for point in points if point.startswith(("x=0.3", "x=0.7", "x=0.8"))])
PY
"$folder/venv/bin/python" "$folder/look.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
range(0,1,0.1) x=0.3 x=0.7000000000000001 x=0.8
range(0.1,1,0.1) x=0.30000000000000004 x=0.7000000000000001 x=0.8
SEEN
echo "as before"
