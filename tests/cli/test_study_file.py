"""A `study.yaml`: what it stands for, and what is wrong with it in one line."""

import json
from pathlib import Path

import pytest
from small_runs import STUDY, Lab, write_study

from vae_lab import study

KEYS = "a study needs the keys arms, over, study"
BROKEN = [
    ("a: [", "while parsing a flow node"),
    ("[1, 2]", f"{KEYS}; it has no arms, over, study"),
    ("", f"{KEYS}; it has no arms, over, study"),
    (STUDY.replace("arms:", "arm:"), f"{KEYS}; it has no arms"),
    (STUDY.replace("name: small", "name: other"), "study.name is 'other', its folder 'small'; they must agree"),
    (STUDY.replace("question:", "qestion:"), "study.qestion: no such key; allowed: budget, controls, name"),
    (STUDY.replace("reference: plain", "reference: plane"), "plane is no arm; arms: annealed, plain (did you mean 'plain'?)"),
    (STUDY.replace("reference:", "select: val/rate\n  reference:"), "study.select: val/rate given, of which neither way is better; allowed: val/distortion, val/elbo, "),
    (STUDY.replace("reference:", "select: val/elob\n  reference:"), "(did you mean 'val/elbo'?)"),
    (STUDY.replace("mitigation: none", "mitigation: nun"), "arms.plain: mitigation=nun: no such option; allowed: aggressive, autoencoder, batchnorm_mean, beta_below_one"),
    (STUDY.replace("plain: {mitigation: none}", "plain: [1]"), "arms.plain: [1] given; must be keys with values"),
    (STUDY.replace("  plain:", "  a/b:"), "arms.a/b: an arm is named by letters, digits, _, - and ."),
    (STUDY.replace("[1.0, 0.5]", "[]"), "arms.annealed: beta.end: an empty list given; it would leave no runs"),
    (STUDY.replace("seed: [0, 1]", "seed: []"), "over: seed: an empty list given; it would leave no runs"),
    (STUDY.replace("over: {seed: [0, 1]}", "over: [1]"), "over: [1] given; must be keys with values"),
    (STUDY.split("arms:")[0] + "arms:\nover: {seed: 1}", "arms: None given; must be keys with values"),
]  # fmt: skip
REFUSED_POINTS = [
    (STUDY.replace("latent_dim", "latent_dims"), "plain: latent_dims: no such key or group; groups: "),
    (STUDY.replace("mitigation: none", "optimizer.lr: -1"), "plain: optimizer.lr: -1 given; must be a number, above 0"),
    (STUDY.replace("mitigation: none", "mitigatoin: none"), "plain: mitigatoin: no such key or group; groups: "),
    (STUDY.replace("beta.end", "beta.ends"), "annealed-1.0: beta.ends (set by arm=annealed-1.0): no such key; beta=linear has delay, end, start, warmup"),
    (STUDY.replace("  - override /encoder: linear", "  - override /encoder: lin"), "plain: encoder=lin: no such option; allowed: "),
    (STUDY.replace("over: {seed", "over: {sed"), "plain: sed: no such key or group; groups: "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_a_broken_file_costs_one_line(text: str, said: str, lab: Lab, in_tmp: Path) -> None:
    write_study(in_tmp, "small", text)
    answer = lab("study", "small", "--dry-run")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("vae-lab: experiments/small/study.yaml: ")
    assert said in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(("text", "said"), REFUSED_POINTS)
def test_a_point_that_makes_no_sense_is_named_and_nothing_starts(text: str, said: str, lab: Lab, in_tmp: Path) -> None:
    write_study(in_tmp, "small", text)
    answer = lab("study", "small")
    assert answer.code == 2
    assert answer.err.startswith(f"vae-lab: {said}")
    assert answer.err.count("\n") == 1
    assert not Path("runs").exists()


def test_the_line_it_stands_for(lab: Lab, small: Path) -> None:
    said = lab("study", "small", "--dry-run")
    assert (said.code, said.err) == (0, "")
    line, *cells, total, power = said.out.splitlines()
    assert line == "vae-lab train -m experiment=small arm=plain,annealed-1.0,annealed-0.5 seed=0,1"
    assert [cell.split()[1:] for cell in cells] == [
        ["new", arm, f"seed={seed}", "39", "parameters"]
        for arm in ("plain", "annealed-1.0", "annealed-0.5")
        for seed in (0, 1)
    ]
    assert total == "6 cells, 0 done"
    assert power == "Power: with fewer than 3 runs of a setting no difference can be shown"
    assert not Path("runs").exists()
    by_hand = lab("check", *line.split()[2:])
    assert [row.split()[0] for row in by_hand.out.splitlines()[:-1]] == [
        f"runs/small/{cell.split()[0]}" for cell in cells
    ]


def test_what_a_person_overrides_replaces_what_is_crossed(lab: Lab, small: Path) -> None:
    said = lab("study", "small", "seed=5", "arm=plain", "latent_dim=2,3", "--dry-run")
    line, *cells, _ = said.out.splitlines()
    assert line == "vae-lab train -m experiment=small seed=5 arm=plain latent_dim=2,3"
    assert [cell.split()[2:-1] for cell in cells] == [
        ["plain", f"latent_dim={n}", "seed=5", size] for n, size in ((2, "39"), (3, "56"))
    ]


def test_a_study_of_ones_own_goes_before_one_that_ships(in_tmp: Path) -> None:
    write_study(in_tmp, "collapse_digits", STUDY.replace("name: small", "name: collapse_digits"))
    assert study.read_study("collapse_digits").points[0].name == "plain"


@pytest.mark.slow
def test_values_that_need_care_on_a_command_line(lab: Lab, in_tmp: Path) -> None:
    arms = "arms:\n  a: {encoder: mlp, encoder.hidden: [[8], [8, 4]], trainer.gradient_clip_val: [null, 0.001]}\n"
    over = "over: {init_from: [null], dataset.rotate: [true, false], optimizer.lr: [0.00001]}\n"
    text = STUDY.split("arms:")[0].replace("reference: plain", "reference: a") + arms + over
    write_study(in_tmp, "small", text)
    said = lab("study", "small", "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[0] == (
        "vae-lab train -m experiment=small arm=a-8-None,a-8-0.001,a-8_4-None,a-8_4-0.001 "
        "init_from=null dataset.rotate=true,false optimizer.lr=1e-05"
    )
    assert said.out.splitlines()[-1] == "8 cells, 0 done"


def test_precedence(lab: Lab, in_tmp: Path) -> None:
    """Command line over arm over experiment over mitigation over the groups' own defaults."""
    head = STUDY.replace("latent_dim: 2", "latent_dim: 2\nbeta: {value: 0.7}\noptimizer: {lr: 0.2}\nseed: 3")
    arms = (
        "arms:\n  a: {mitigation: beta_below_one}\n  b: {mitigation: beta_below_one, optimizer.lr: 0.3, decoder: mlp}\n"
    )
    write_study(
        in_tmp, "small", head.split("arms:")[0].replace("reference: plain", "reference: a") + arms + "over: {}\n"
    )

    def composed(*words: str) -> dict[str, object]:
        said = lab("check", "--cfg", "job", "--resolve", *words)
        import yaml

        return yaml.safe_load(said.out)

    plain, mitigated = composed(), composed("mitigation=beta_below_one")
    a, b = composed("experiment=small", "arm=a"), composed("experiment=small", "arm=b")
    typed = composed("experiment=small", "arm=b", "optimizer.lr=0.4", "decoder=linear", "beta.value=0.9")
    values = [(c["beta"]["value"], c["optimizer"]["lr"], c["seed"]) for c in (plain, mitigated, a, b, typed)]  # type: ignore[index]
    assert values == [(1.0, 0.001, 0), (0.5, 0.001, 0), (0.7, 0.2, 3), (0.7, 0.3, 3), (0.9, 0.4, 3)]
    decoders = [c["decoder"]["_target_"].rpartition(".")[2] for c in (plain, a, b, typed)]  # type: ignore[index]
    assert decoders == ["MLPDecoder", "LinearDecoder", "MLPDecoder", "LinearDecoder"]


@pytest.mark.slow
def test_cells_that_are_the_same_run_share_it(lab: Lab, in_tmp: Path) -> None:
    text = STUDY.replace("  plain:", "  twin: {beta.value: 1}\n  plain:")
    write_study(in_tmp, "small", text)
    said = lab("study", "small", "seed=0", "arm=plain,twin", "hydra/launcher=basic")
    assert said.code == 0
    assert "1 run, 0 done already" in said.out
    plan = json.loads(Path("runs/small/plan.json").read_text())
    assert [cell["arm"] for cell in plan["cells"]] == ["plain", "twin"]
    assert len({cell["signature"] for cell in plan["cells"]}) == 1
    (result,) = Path("runs/small").glob("*/result.json")
    assert json.loads(result.read_text())["timing"]["steps_run"] == 12
