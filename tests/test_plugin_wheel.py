"""A prior of somebody else's: one class and one YAML in a package of its own, used by name in a fresh environment where
the lab is installed from its wheel."""

import os
import subprocess
import sys
import sysconfig
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PLUGIN = {
    "pyproject.toml": """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"

        [project]
        name = "laplace-prior"
        version = "0.1.0"
        dependencies = ["vae-lab"]

        [project.entry-points."vae_lab.conf"]
        laplace_prior = "laplace_prior.conf"
        """,
    "laplace_prior/__init__.py": '''
        """A Laplace prior for vae_lab."""

        import torch
        from torch import nn
        from torch.distributions import Independent, Laplace

        from vae_lab.settings import Positive


        class LaplacePrior(nn.Module):
            """p(z) = prod_j exp(-|z_j| / b) / (2 b)."""

            def __init__(self, latent_dim: int, scale: Positive = 1.0) -> None:
                super().__init__()
                self.register_buffer("scale", torch.full((latent_dim,), float(scale)))

            def forward(self) -> Independent:
                return Independent(Laplace(torch.zeros_like(self.scale), self.scale), 1)
        ''',
    "laplace_prior/conf/prior/laplace.yaml": """
        # p(z) a product of Laplace densities
        _target_: laplace_prior.LaplacePrior
        scale: 0.7  # b
        """,
}

LAWS = """
    import inspect, pathlib, laplace_prior, vae_lab
    from hydra.core.plugins import Plugins
    from vae_lab import cli, options, places
    from vae_lab.testing import check_prior

    for module in (vae_lab, laplace_prior):
        assert pathlib.Path(module.__file__).is_relative_to({site!r}), module.__file__
    assert places.packaged("conf").is_relative_to({site!r}) and places.packaged("experiments").is_relative_to({site!r})
    launchers = Plugins.instance().class_name_to_class
    for name in ("on_ray.RayLauncher", "on_slurm.SlurmLauncher"):
        file = inspect.getfile(launchers[f"hydra_plugins.vae_lab_launchers.{{name}}"])
        assert pathlib.Path(file).is_relative_to({site!r}), file
    assert "laplace" in options.groups()["prior"]
    node = vae_lab.compose("prior=laplace").prior
    for latent_dim in (1, 2, 5):
        check_prior(dict(node), latent_dim)
    print("the laws hold")
    cli.main(["check", "prior=laplace", "prior.scale=-1"])
    """

SWEEPERS = """
    import pathlib, sys
    from hydra.core.plugins import Plugins
    from hydra.plugins.sweeper import Sweeper

    found = [sweeper for sweeper in Plugins.instance().discover(Sweeper) if "vae_lab" in sweeper.__module__]
    assert sorted(sweeper.__name__ for sweeper in found) == ["GridSweeper", "OptunaSweeper"]
    assert all(pathlib.Path(sys.modules[s.__module__].__file__).is_relative_to({site!r}) for s in found)
    assert not {{"torch", "optuna", "pydantic", "pytorch_lightning"}} & set(sys.modules)
    """

SHORT = "trainer.max_steps=5 latent_dim=2 trainer.enable_progress_bar=false evaluation.nll_samples=2"


class Site:
    """A fresh virtual environment. Wheels go in first; then a .pth file shows it the heavy dependencies, so that pip
    never sees the checkout and the wheel's vae_lab comes first on the path."""

    def __init__(self, folder: Path, wheels: list[Path]) -> None:
        venv.create(folder / "venv", with_pip=False)
        self.bin = folder / "venv" / "bin"
        self.site = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
        run(
            [
                sys.executable,
                "-m",
                "pip",
                "--python",
                self.bin / "python",
                "install",
                "-q",
                "--no-deps",
                "--no-index",
                *wheels,
            ]
        )
        (self.site / "heavy.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.home = folder / "home"
        self.home.mkdir()

    def run(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        return run([self.bin / words[0], *words[1:]], cwd=self.home, code=code)


def run(words: list[str | Path], cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VAE_LAB_TRUST")}
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def build_wheel(source: Path, target: Path) -> Path:
    before = set(target.glob("*.whl"))
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source])
    (wheel,) = set(target.glob("*.whl")) - before
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, dist = tmp_path_factory.mktemp("plugin"), tmp_path_factory.mktemp("dist")
    for name, text in PLUGIN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip())
    return [build_wheel(ROOT, dist), build_wheel(folder, dist)]


@pytest.fixture(scope="module")
def site(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("fresh"), wheels)


def test_the_wheel_ships_options_and_studies_and_nothing_else(wheels: list[Path]) -> None:
    names = zipfile.ZipFile(wheels[0]).namelist()
    for folder in ("conf", "experiments"):
        here = {f"vae_lab/_{folder}/{file.relative_to(ROOT / folder)}" for file in (ROOT / folder).rglob("*.yaml")}
        assert here
        assert here <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"vae_lab", "hydra_plugins"}


def test_the_laws_pass_on_a_prior_of_somebody_else_s_and_its_settings_are_checked(site: Site) -> None:
    done = site.run("python", "-c", textwrap.dedent(LAWS.format(site=str(site.site))), code=2)
    assert done.stdout == "the laws hold\n"
    assert done.stderr.startswith("vae-lab: prior.scale: -1 given;")


def test_any_hydra_application_finds_the_sweepers_and_waits_for_nothing_heavy(site: Site) -> None:
    site.run("python", "-c", textwrap.dedent(SWEEPERS.format(site=str(site.site))))


def test_it_is_used_by_its_name(site: Site) -> None:
    done = site.run("vae-lab", "train", "prior=laplace", "prior.scale=0.5", *SHORT.split())
    run_dir = site.home / done.stdout.splitlines()[-1]
    assert (run_dir / "result.json").is_file()
    assert "laplace_prior.LaplacePrior" in (run_dir / "config.yaml").read_text()
    assert [path.name for path in site.home.iterdir()] == ["runs"]


def test_a_misspelt_name_is_told_the_nearest_one(site: Site) -> None:
    done = site.run("vae-lab", "check", "prior=laplas", code=2)
    assert len(done.stderr.splitlines()) == 1
    assert "laplace" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_study_of_the_wheel_is_found(site: Site) -> None:
    done = site.run("vae-lab", "study", "collapse_digits", "--dry-run")
    assert "vanilla" in done.stdout
    assert "Traceback" not in done.stderr
