"""A file imports lower floors only, or its own folder: the plan of the house, read from the imports."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vae_lab"

FLOORS = {
    "settings": 0, "annotations": 0, "subnormals": 0, "amounts": 0, "traits": 0, "errors": 0, "metrics": 0, "yaml_text": 0, "shapes": 0, "records": 0, "csv_text": 0, "links": 0, "distributions": 0, "estimators": 0,
    "models": 1,
    "objectives": 2, "data": 2,
    "training": 3, "evaluation": 3,
    "store": 4, "claim": 4, "grid": 4, "options": 4, "places": 4, "choices": 4, "arguments": 4, "config": 4, "composition": 4, "catalog": 4, "plan": 4, "launching": 4, "build": 4, "capacity": 4, "check": 4, "combinations": 4, "identity": 4,
    "uses": 4, "run": 4, "request": 4, "fitting": 4, "ranks": 4, "other_rank": 4, "scoring": 4, "environment": 4, "joblog": 4, "timing": 4, "finished": 4, "study": 4, "progress": 4, "listing": 4, "index": 4, "tracking": 4, "search": 4,
    "selection": 4, "export": 4, "schema": 4, "forms": 4, "targets": 4, "points": 4, "use_options": 4, "lookup": 4, "quoting": 4, "trial": 4, "testing": 4, "extension": 4, "validations": 4, "stages": 4, "stranger": 4,
    "report": 5, "cli": 5, "__main__": 5, "__init__": 5,
}  # fmt: skip

LIGHTNING_FROM, HYDRA_FROM = 3, 4


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(file: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_file_imports_lower_floors_only(file: Path) -> None:
    room = room_of(file)
    for name in imports(file):
        top, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if top == "vae_lab" and other and other != room and other in FLOORS:
            lower = FLOORS[other] < FLOORS[room]
            lab_itself = FLOORS[other] == FLOORS[room] == 4  # the lab's own files are one room
            basic = FLOORS[other] == FLOORS[room] == 0
            assert lower or lab_itself or basic or FLOORS[room] == 5, f"{file} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_heavy_imports_stay_on_their_floor(file: Path) -> None:
    floor = FLOORS[room_of(file)]
    tops = {name.partition(".")[0] for name in imports(file)}
    assert floor >= LIGHTNING_FROM or "pytorch_lightning" not in tops
    assert floor >= HYDRA_FROM or not tops & {"hydra", "omegaconf"}
    assert file.name in ("wandb_run.py", "mlflow_run.py") or not tops & {"wandb", "mlflow"}
