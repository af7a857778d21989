"""Slimming to a budget: what it may cost, what other widths cost, where is cut, and that it is met."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import samlet
from samlet.cli import main
from samlet.evaluation.costs import count_encoder_macs, count_parameters
from samlet.models import Sam
from samlet.runs.folder import RunFolder
from samlet.slimming import sizing
from samlet.slimming.allocation import LEVELS, Unreachable, cheapest, even
from samlet.slimming.budget import Budget, parse_budget
from samlet.slimming.config import SlimConfig
from samlet.slimming.latencies import LatencyModel, LatencyTable, Timed, designs, measure_table, read_table
from samlet.slimming.pipeline import run_slimming
from samlet.slimming.probing import Curve, Probe
from samlet.slimming.surgery import cut_encoder, with_encoder
from samlet.slimming.widths import WidthCost
from tests.conftest import make_hiera, make_repvit, make_tiny, make_vit
from tests.slimming.test_slim import same_weights

MAKERS = {"vit": make_vit, "tiny_vit": make_tiny, "repvit": make_repvit, "hiera": make_hiera}
QUICK = {"steps": 2, "image_size": 64, "scoring_images": 1, "recovery_images": 0, "batch_size": 2, "micro_batch": 2}


@pytest.mark.parametrize(
    ("quantity", "value", "expected"),
    [
        ("macs", 0.3, Budget("macs", 0.3, shared=True)),
        ("macs", "0.3", Budget("macs", 0.3, shared=True)),
        ("macs", "11.5G", Budget("macs", 11.5e9, shared=False)),
        ("macs", "1.1e10", Budget("macs", 1.1e10, shared=False)),
        ("parameters", " 3 m ", Budget("parameters", 3e6, shared=False)),
        ("latency", "200ms", Budget("latency", 0.2, shared=False)),
        ("latency", "0.2s", Budget("latency", 0.2, shared=False)),
        ("latency", 0.2, Budget("latency", 0.2, shared=True)),
    ],
)
def test_a_budget_is_a_share_or_an_amount(quantity, value, expected):
    found = parse_budget(quantity, value)
    assert found.quantity == expected.quantity
    assert found.shared == expected.shared
    assert found.amount == pytest.approx(expected.amount)
    assert found.of(50.0) == pytest.approx(expected.amount * (50 if expected.shared else 1))


@pytest.mark.parametrize("value", ["0", "1", "-0.3", "nan", "inf", "G", "", "3 apples", "1.2.3", "0G"])
@pytest.mark.parametrize("quantity", ["macs", "latency", "parameters"])
def test_what_is_no_budget_is_refused(quantity, value):
    if (quantity, value) in {("macs", "1"), ("parameters", "1")}:
        assert parse_budget(quantity, value).amount == 1
        return
    with pytest.raises(samlet.InputError, match=f"{quantity} is {value}; expected a share .* or an amount"):
        parse_budget(quantity, value)


@pytest.mark.parametrize("name", MAKERS)
def test_widths_cost_what_the_cut_encoder_costs(name):
    sam = MAKERS[name]()
    encoder = sam.image_encoder
    cost = WidthCost(encoder, sam.image_size)
    generator = torch.Generator().manual_seed(3)
    for whole_heads in (False, True):
        kept = {}
        for group in encoder.channel_groups():
            if group.kind != "head" or whole_heads:
                count = max(1, int(group.size * (0.3 + 0.6 * float(torch.rand(1, generator=generator)))))
                kept[group.name] = torch.randperm(group.size, generator=generator)[:count].sort().values
        cut = with_encoder(sam, cut_encoder(encoder, kept))
        widths = {group: len(channels) for group, channels in kept.items()}
        assert cost.macs(widths) == count_encoder_macs(cut).macs_modules
        assert cost.parameters(widths) == count_parameters(cut.image_encoder)
    assert cost.macs({}) == count_encoder_macs(sam).macs_modules


def test_curves_meet_their_points_and_are_steepest_at_the_end():
    curve = Curve([(0.75, 0.08), (0.5, 0.02)])
    assert curve(1.0) == 0
    assert curve(0.5) == pytest.approx(0.02)
    assert curve(0.25) == pytest.approx(0.08)
    assert 0 < curve(0.9) < curve(0.6) < 0.02 < curve(0.4) < 0.08 < curve(0.1)
    noisy = Curve([(0.5, 0.02), (0.75, 0.01)])  # a larger cut never counts as the better one
    assert noisy(0.25) >= noisy(0.5) == pytest.approx(0.02)


def test_the_cheap_part_is_cut_first_and_the_target_met():
    curves = {"dear": Curve([(0.5, 0.2), (0.75, 0.5)]), "cheap": Curve([(0.5, 0.01), (0.75, 0.03)])}

    def price(shares):
        return 60 * shares["dear"] + 40 * shares["cheap"]

    found = cheapest(price, curves, 70)
    assert found["cheap"] < 0.5 < 0.8 < found["dear"]
    assert 0.98 * 70 <= price(found) <= 70
    alike = even(price, list(curves), 70)
    assert alike["dear"] == alike["cheap"] == pytest.approx(0.7, abs=1e-3)
    assert sum(curves[name](share) for name, share in found.items()) < sum(curves[n](s) for n, s in alike.items())
    with pytest.raises(Unreachable) as refused:
        cheapest(price, curves, 5)
    assert refused.value.least == pytest.approx(100 * 4 / LEVELS)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("quantity", "share"), [("macs", 0.4), ("parameters", 0.6)])
def test_a_budget_is_met(name, quantity, share, photo_folder):
    teacher = MAKERS[name]()
    made = run_slimming(teacher, photo_folder, SlimConfig(**QUICK, procedure="one-step", **{quantity: share}))
    if quantity == "macs":
        found = count_encoder_macs(made.sam).macs_modules / count_encoder_macs(teacher).macs_modules
    else:
        found = count_parameters(made.sam.image_encoder) / count_parameters(teacher.image_encoder)
    assert 0.85 * share <= found <= share  # widths of these are multiples of 8 out of a few dozen
    allocation = made.allocation
    assert allocation.cost / allocation.whole == pytest.approx(found)
    assert allocation.joint[allocation.chosen] == min(allocation.joint.values())
    assert {name: len(kept) for name, kept in made.kept.items()} == allocation.widths


def test_the_alternate_procedure_ends_at_the_same_widths_and_twice_the_same(photo_folder):
    teacher = make_vit()
    config = SlimConfig(**QUICK, macs=0.4)
    first, second = (run_slimming(teacher, photo_folder, config) for _ in range(2))
    assert same_weights(first.sam, second.sam)
    assert {name: len(kept) for name, kept in first.kept.items()} == first.allocation.widths
    assert count_encoder_macs(first.sam).macs_modules <= 0.4 * count_encoder_macs(teacher).macs_modules
    even_cut = run_slimming(teacher, photo_folder, SlimConfig(**QUICK, macs=0.4, widths="even"))
    assert set(even_cut.allocation.joint) == {"even"}
    assert even_cut.allocation.joint["even"] == pytest.approx(first.allocation.joint["even"])


def test_what_was_searched_is_kept_for_a_run_that_continues(photo_folder, tmp_path, monkeypatch):
    teacher, config = make_vit(), SlimConfig(**QUICK, macs=0.4)
    probe, measured, most = Probe.__call__, [], math.inf

    def counting(self, kept):
        if len(measured) == most:
            raise KeyboardInterrupt
        measured.append(kept)
        return probe(self, kept)

    monkeypatch.setattr(Probe, "__call__", counting)
    expected = run_slimming(teacher, photo_folder, config)
    needed, most = len(measured), 6
    measured.clear()
    with pytest.raises(KeyboardInterrupt):
        run_slimming(teacher, photo_folder, config, workspace=RunFolder(tmp_path / "run"))
    most = math.inf
    continued = run_slimming(teacher, photo_folder, config, workspace=RunFolder(tmp_path / "run"))
    assert len(measured) == needed > 12
    assert same_weights(continued.sam, expected.sam)
    assert continued.allocation == expected.allocation


def test_a_share_of_time_does_not_see_how_busy_the_machine_is(monkeypatch):
    """A clock on a machine that is slower with every turn, and stopped once."""
    turns, now = 0, 0.0

    def pass_of(seconds):
        def run():
            nonlocal turns, now
            now += seconds * 1.5**turns + (9 if turns == 3 and seconds == 1 else 0)
            turns += seconds == 2

        return run

    monkeypatch.setattr(sizing, "time", SimpleNamespace(perf_counter=lambda: now))
    assert sizing._share_of_time(pass_of(1), pass_of(2)) == pytest.approx(0.5)
    assert turns == 1 + sizing._TURNS


@pytest.mark.parametrize(("latency", "slower"), [(0.5, 1), ("9s", 3)])
def test_a_share_of_latency_is_of_the_teacher_as_it_is_now(latency, slower, monkeypatch):
    """The machine got three times as slow since the teacher was timed; only an amount of seconds minds."""
    teacher, now, speed = make_tiny(), 0.0, 1.0

    def pass_of(encoder, size):
        def run():
            nonlocal now
            now += speed * WidthCost(encoder, size).macs({})

        return run

    def timed(run, _):
        before = now
        run()
        return now - before

    monkeypatch.setattr(sizing, "this_machine", lambda *_: None)
    monkeypatch.setattr(sizing, "LatencyModel", lambda *_: None)
    monkeypatch.setattr(sizing, "_pass", pass_of)
    monkeypatch.setattr(sizing, "latency", timed)
    monkeypatch.setattr(sizing, "time", SimpleNamespace(perf_counter=lambda: now))
    config = SlimConfig(latency=latency)
    encoder = teacher.image_encoder
    _, whole, measured = sizing._prices(teacher, encoder, SimpleNamespace(config=config), config.budget)
    speed = 3.0
    widths = {group.name: 8 for group in encoder.channel_groups() if group.family == "mlp"}
    share = WidthCost(encoder, teacher.image_size).macs(widths) / count_encoder_macs(teacher).macs_modules
    assert share < 0.95
    assert measured(widths) / whole == pytest.approx(slower * share)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"macs": 0.3, "ratio": 0.5}, r"ratio 0.5 and macs 0.3 were given together; give one of them"),
        ({"macs": 0.3, "latency": 0.5}, r"macs 0.3 and latency 0.5 were given together"),
        ({"macs": 2}, None),
        ({"latency": 2}, r"latency is 2; expected a share of the teacher's encoder between 0 and 1"),
        ({"latency_table": "t.json", "macs": 0.3}, r"latency table t.json was given without latency"),
        ({"latency_table": Path("t.json"), "latency": 0.3}, r"latency table t.json is no file; expected what"),
        ({"stage": "align", "macs": 0.3}, r"stage 'align' cuts nothing and macs 0.3 was given"),
        ({"widths": "odd", "macs": 0.3}, r"widths 'odd' is unknown; expected one of searched, even"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(settings, message):
    if message is None:
        assert SlimConfig(**settings).budget.amount == 2
        return
    with pytest.raises(samlet.InputError, match=message):
        SlimConfig(**settings)


def test_targets_that_cannot_be_met_are_refused_with_what_can(photo_folder):
    teacher = make_tiny()
    with pytest.raises(
        samlet.InputError, match=r"smallest widths cost .* M; expected at least that, which is 0\.\d+ of"
    ):
        run_slimming(teacher, photo_folder, SlimConfig(**QUICK, macs=0.001))
    with pytest.raises(samlet.InputError, match=r"5 G.*the encoder costs .* as it is; ask for less"):
        run_slimming(teacher, photo_folder, SlimConfig(**QUICK, macs="5G"))


def test_the_command_takes_one_size(tmp_path, photo_folder, capsys):
    samlet.save(make_vit(), tmp_path / "model")
    words = [
        "slim",
        "--teacher",
        str(tmp_path / "model"),
        "--images",
        str(photo_folder),
        "--out",
        str(tmp_path / "out"),
    ]
    with pytest.raises(SystemExit) as refused:
        main([*words, "--macs", "0.3", "--ratio", "0.5"])
    assert refused.value.code == 2
    assert "not allowed with" in capsys.readouterr().err
    assert main([*words, "--macs", "3"]) == 2
    assert "smallest widths" in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "the folder is free for another budget"
    assert main([*words, "--latency", "0"]) == 2
    assert "latency is 0; expected a share" in capsys.readouterr().err


def table_by_macs(sam: Sam, seconds_per_mac: float = 1e-9) -> LatencyTable:
    """The table of a machine whose time is multiply-accumulates and nothing else."""
    encoder = sam.image_encoder
    cost = WidthCost(encoder, sam.image_size)
    table = measure_table(encoder, sam.image_size)
    timed = []
    for widths in designs(encoder):
        layers = cost.layers(widths)
        seconds = [
            seconds_per_mac * sum(macs for name, macs in layers.items() if name.startswith(segment.modules))
            for segment in encoder.segments()
        ]
        timed.append(Timed(widths, seconds))
    return LatencyTable(table.encoder, table.image_size, 1, "reckoned", timed)


@pytest.mark.parametrize("name", MAKERS)
def test_a_latency_table_is_met(name, tmp_path, photo_folder):
    teacher = MAKERS[name]()
    path = tmp_path / "table.json"
    table_by_macs(teacher).write(path)
    model = LatencyModel(read_table(path, teacher.image_encoder), teacher.image_encoder)
    assert model({}) == pytest.approx(1e-9 * count_encoder_macs(teacher).macs_modules, rel=0.02)
    made = run_slimming(
        teacher, photo_folder, SlimConfig(**QUICK, procedure="one-step", latency=0.5, latency_table=path)
    )
    share = count_encoder_macs(made.sam).macs_modules / count_encoder_macs(teacher).macs_modules
    assert 0.4 <= share <= 0.52


def test_tables_that_are_none_are_refused(tmp_path):
    encoder, path = make_tiny().image_encoder, tmp_path / "table.json"
    table_by_macs(make_tiny()).write(path)
    good = json.loads(path.read_text())
    with pytest.raises(samlet.InputError, match="latency table of another encoder"):
        read_table(path, cut_encoder(encoder, {"embedding.0": torch.arange(8)}))
    broken = [
        {**good, "format": "other"},
        {**good, "timed": []},
        {**good, "timed": [{"widths": {}, "seconds": [1.0]}]},
        {**good, "timed": [{"widths": {}, "seconds": [math.nan] * len(good["timed"][0]["seconds"])}]},
        {},
        [],
        "text",
    ]
    for content in broken:
        path.write_text(json.dumps(content))
        with pytest.raises(samlet.InputError, match=r"is no latency table \(.*\); make one with"):
            read_table(path, encoder)
    with pytest.raises(samlet.InputError, match="is no latency table"):
        read_table(tmp_path / "missing.json", encoder)


def test_this_machine_is_timed_and_written_down(tmp_path, capsys):
    folder = tmp_path / "model"
    samlet.save(make_tiny(), folder)
    path = tmp_path / "table.json"
    assert main(["cost", str(folder), "--table", str(path)]) == 0
    assert f"latency table {path}" in capsys.readouterr().out
    table = read_table(path, make_tiny().image_encoder)
    assert [row.widths for row in table.timed] == designs(make_tiny().image_encoder)
    assert all(seconds > 0 for row in table.timed for seconds in row.seconds)
    assert main(["cost", str(folder), "--table", str(path)]) == 2
    assert "exists already; expected a new file" in capsys.readouterr().err
    assert main(["cost", str(folder), "--table", str(path), "--no-measure"]) == 2


def test_the_widths_of_another_model_are_taken(photo_folder, tmp_path):
    teacher = make_vit()
    first = run_slimming(teacher, photo_folder, SlimConfig(**QUICK, macs=0.4))
    samlet.save(first.sam, tmp_path / "first")
    again = run_slimming(teacher, photo_folder, SlimConfig(**QUICK, like=first.sam.config.encoder))
    assert same_weights(again.sam, first.sam)
    samlet.save(teacher, tmp_path / "teacher")
    words = ["--images", str(photo_folder), "--steps", "2", "--image-size", "64", "--scoring-images", "1"]
    command = ["slim", "--teacher", str(tmp_path / "teacher"), *words, "--recovery-images", "0", "--batch-size", "2"]
    like = ["--micro-batch", "2", "--like", str(tmp_path / "first"), "--out", str(tmp_path / "second")]
    assert main([*command, *like]) == 0
    assert same_weights(samlet.load(tmp_path / "second"), first.sam)
    with pytest.raises(samlet.InputError, match="another shape of encoder"):
        run_slimming(make_tiny(), photo_folder, SlimConfig(**QUICK, like=first.sam.config.encoder))
    with pytest.raises(samlet.InputError, match="another shape of encoder"):
        run_slimming(first.sam, photo_folder, SlimConfig(**QUICK, like=teacher.config.encoder))
    with pytest.raises(samlet.InputError, match=r"macs 0.4 and like, .*, were given together"):
        SlimConfig(macs=0.4, like=teacher.config.encoder)
