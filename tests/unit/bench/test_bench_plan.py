"""Options, the order of rounds, the stops of a filling, and going on after a failure."""

import pytest

from bench.errors import BenchError
from bench.measures.filling import Stop, plan_stops
from bench.metrics import all_metrics
from bench.options import MEASURES, Options, parse_options
from bench.recorder import Recorder, interleaved


def test_defaults_are_the_full_run() -> None:
    options = parse_options([])
    assert options.measures == MEASURES
    assert (options.repetitions, options.fill, options.growth) == (20, 100, (0, 100, 250))


def test_quick_is_smaller_in_everything_and_can_be_overridden() -> None:
    quick, full = parse_options(["--quick"]), Options()
    assert quick.repetitions < full.repetitions
    assert quick.fill < full.fill
    assert parse_options(["--quick", "--rounds", "4"]).rounds == 4


def test_lists_keep_the_order_of_the_program() -> None:
    options = parse_options(
        ["--systems", "docker,carrick", "--only", "names, control", "--growth", "50,0,50"]
    )
    assert options.systems == ("carrick", "docker")
    assert options.measures == ("control", "names")
    assert options.growth == (0, 50)


@pytest.mark.parametrize(
    "arguments", [["--systems", "lxc"], ["--only", "everything"], ["--growth", "a"], ["--growth", "-1"]]
)
def test_unknown_names_end_the_program(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_keys_are_unique() -> None:
    keys = [metric.key for metric in all_metrics(Options())]
    assert len(keys) == len(set(keys))


def test_only_what_is_measured_has_rows() -> None:
    options = parse_options(["--only", "recovery"])
    assert [metric.key for metric in all_metrics(options)] == ["recovery.ready"]


def test_every_system_leads_and_trails_equally_often() -> None:
    systems = ("a", "b", "c")
    orders = [tuple(interleaved(systems, number)) for number in range(6)]
    assert all(sorted(order) == list(systems) for order in orders)
    assert sorted(order[0] for order in orders) == ["a", "a", "b", "b", "c", "c"]
    assert sorted(order[-1] for order in orders) == ["a", "a", "b", "b", "c", "c"]
    assert list(interleaved([], 3)) == []


def test_stops_are_merged_where_two_measures_want_the_same_number() -> None:
    assert plan_stops(MEASURES, 100, (0, 100, 250)) == (
        Stop(0, growth=True),
        Stop(100, memory=True, client=True, recovery=True, growth=True),
        Stop(250, growth=True),
    )
    assert plan_stops(("memory",), 100, (0, 250)) == (Stop(100, memory=True),)
    assert plan_stops(("names",), 100, (0, 250)) == ()


def test_a_failure_is_kept_once_and_the_run_goes_on() -> None:
    said: list[str] = []
    recorder = Recorder(said.append)
    for _ in range(3):
        with recorder.attempt("docker", "traffic"):
            raise BenchError("no route")
    assert [(failure.system, failure.what, failure.problem) for failure in recorder.failures] == [
        ("docker", "traffic", "no route")
    ]
    assert recorder.has_failed("docker", "traffic")
    assert not recorder.has_failed("carrick", "traffic")
    assert len(said) == 1


def test_only_what_succeeded_and_did_not_warm_up_is_timed() -> None:
    recorder = Recorder(lambda text: None)
    with recorder.timed("k", "carrick", keep=False):
        pass
    with recorder.attempt("carrick", "k"), recorder.timed("k", "carrick"):
        raise BenchError("no")
    with recorder.timed("k", "carrick"):
        pass
    assert len(recorder.samples["k"]["carrick"]) == 1
    assert recorder.figures()["k"]["carrick"].count == 1
