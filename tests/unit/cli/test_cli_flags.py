"""Flags: pflag's grammar, Docker's words for what is wrong."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.cli.flags import (
    BOOL,
    BYTES,
    DECIMAL,
    DURATION,
    FILTER,
    INT,
    LIST,
    MAP,
    STRING,
    STRINGS,
    Flag,
    FlagError,
    parse_flags,
    split_csv,
)

FLAGS = (
    Flag("all", "", short="a"),
    Flag("tty", "", short="t"),
    Flag("interactive", "", short="i"),
    Flag("sig-proxy", "", kind=BOOL, default=True),
    Flag("publish", "", kind=LIST, short="p"),
    Flag("name", "", kind=STRING),
    Flag("network", "", kind=LIST, aliases=("net",)),
    Flag("last", "", kind=INT, short="n", default=-1),
    Flag("memory", "", kind=BYTES, short="m"),
    Flag("cpus", "", kind=DECIMAL),
    Flag("interval", "", kind=DURATION),
    Flag("opt", "", kind=MAP, short="o"),
    Flag("subnet", "", kind=STRINGS),
    Flag("filter", "", kind=FILTER, short="f"),
)


def parse(*words: str, interspersed: bool = True):
    return parse_flags(FLAGS, words, interspersed=interspersed)


def test_every_form_of_a_flag() -> None:
    values, rest = parse(
        *("-it", "-p80:80", "-p=81:81", "-p", "82:82", "--publish", "83:83", "--publish=84:84"),
        *("--sig-proxy=false", "--name=x=y", "img", "-a", "--net", "front", "--", "-z"),
    )
    assert values.on("interactive") and values.on("tty") and values.on("all")
    assert values.texts("publish") == ("80:80", "81:81", "82:82", "83:83", "84:84")
    assert not values.on("sig-proxy")
    assert values.text("name") == "x=y"
    assert values.texts("network") == ("front",)
    assert rest == ["img", "-z"]


def test_defaults_and_given() -> None:
    values, _ = parse()
    assert values.on("sig-proxy") and values.number("last") == -1
    assert not values.given("last") and values.texts("publish") == ()
    values, _ = parse("-n", "3")
    assert values.given("last") and values.number("last") == 3


def test_the_containers_command_is_left_alone() -> None:
    _, rest = parse("-i", "img", "ls", "-la", "--", "--name", interspersed=False)
    assert rest == ["img", "ls", "-la", "--", "--name"]


def test_kinds() -> None:
    values, _ = parse(
        *("-m", "64m", "--cpus", "1.5", "--interval", "1m30s", "-o", "a=b=c", "-o", "d"),
        *("--subnet", "10.0.0.0/8,fd00::/8", "--subnet", "10.1.0.0/16", "-f", "Name=x", "-f"),
        *("name=y", "-n", "0x10"),
    )
    assert values.number("memory") == 64 << 20
    assert values.number("cpus") == 1_500_000_000
    assert values.number("interval") == 90 * 10**9
    assert values.pairs("opt") == {"a": "b=c", "d": ""}
    assert values.texts("subnet") == ("10.0.0.0/8", "fd00::/8", "10.1.0.0/16")
    assert values.filters() == {"name": ["x", "y"]}
    assert values.number("last") == 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--foo=1"], "unknown flag: --foo"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["-iz"], "unknown shorthand flag: 'z' in -z"),
        (["-zi"], "unknown shorthand flag: 'z' in -zi"),
        (["--name"], "flag needs an argument: --name"),
        (["-n"], "flag needs an argument: 'n' in -n"),
        (["---x"], "bad flag syntax: ---x"),
        (
            ["-n", "x"],
            'invalid argument "x" for "-n, --last" flag: strconv.ParseInt: parsing "x": invalid syntax',
        ),
        (
            ["--all=maybe"],
            'invalid argument "maybe" for "-a, --all" flag:'
            ' strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (["-m", "x"], 'invalid argument "x" for "-m, --memory" flag: invalid size: \'x\''),
        (
            ["--cpus", "x"],
            'invalid argument "x" for "--cpus" flag: failed to parse x as a rational number',
        ),
        (
            ["--interval", "x"],
            'invalid argument "x" for "--interval" flag: time: invalid duration "x"',
        ),
        (
            ["-f", "x"],
            'invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)',
        ),
    ],
)
def test_errors_are_in_dockers_words(words: list[str], message: str) -> None:
    with pytest.raises(FlagError) as caught:
        parse(*words)
    assert str(caught.value) == message


@given(st.lists(st.text(max_size=12) | st.sampled_from(["-p", "--name", "-it", "--", "-m", "--cpus"])))
def test_garbage_is_parsed_or_refused(words: list[str]) -> None:
    try:
        values, rest = parse(*words)
    except FlagError:
        return
    assert len(rest) <= len(words)
    for flag in FLAGS:
        values.value(flag.name)


@given(st.text(max_size=20))
def test_csv_splits_or_refuses(text: str) -> None:
    with suppress(ValueError):
        assert all(isinstance(part, str) for part in split_csv(text))


def test_csv_quoting() -> None:
    assert split_csv('a,"b,c",d') == ["a", "b,c", "d"]
