"""HEALTHCHECK in `import --change` and `commit --change`."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.host.runtime.healthcheck import parse_healthcheck, render_healthcheck
from carrick.host.runtime.oci import NewImage, apply_changes, parse_image, render_image
from carrick.model.containers import Healthcheck, ImageConfig
from carrick.model.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NONE", Healthcheck(("NONE",))),
        ("none", Healthcheck(("NONE",))),
        ("--interval=1s NONE", Healthcheck(("NONE",))),
        (
            "CMD curl http://a/ || exit 1",
            Healthcheck(("CMD-SHELL", "curl http://a/ || exit 1")),
        ),
        ('CMD ["test", "-e", "/ready"]', Healthcheck(("CMD", "test", "-e", "/ready"))),
        (
            "--interval=1m30s --timeout=500ms --start-period=5s --start-interval=.5s --retries=4   CMD true",
            Healthcheck(("CMD-SHELL", "true"), 90, 0.5, 5, 0.5, 4),
        ),
        ("--interval=0 --retries=0 cmd true", Healthcheck(("CMD-SHELL", "true"))),
    ],
)
def test_parse(text: str, expected: Healthcheck) -> None:
    assert parse_healthcheck(text) == expected
    assert apply_changes(ImageConfig(), (f"healthcheck {text}",)).healthcheck == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "requires at least one argument"),
        ("--interval=1s", "requires at least one argument"),
        ("CMD", "Missing command after HEALTHCHECK CMD"),
        ("CMD []", "Missing command after HEALTHCHECK CMD"),
        ("NONE true", "HEALTHCHECK NONE takes no arguments"),
        ("RUN true", r'Unknown type "RUN" in HEALTHCHECK \(try CMD\)'),
        ("--pause=1s CMD true", "Unknown flag: pause"),
        ("--interval CMD true", "Missing a value on flag: interval"),
        ("--interval=1s --interval=2s CMD true", "Duplicate flag specified: interval"),
        ("--interval=often CMD true", 'invalid duration "often"'),
        ("--interval=-1s CMD true", 'Interval "interval" cannot be less than 1ms'),
        ("--interval=1us CMD true", "cannot be less than 1ms"),
        ("--retries=-1 CMD true", r"--retries cannot be negative \(-1\)"),
        ("--retries=many CMD true", "must be a number"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        parse_healthcheck(text)


_TIMES = st.one_of(st.just(0.0), st.integers(10**6, 10**13).map(lambda number: number / 10**9))
_WORDS = st.lists(st.text(min_size=1), min_size=1).map(lambda words: ("CMD", *words))
_LINES = st.text("abc $&|\n'\"-=", min_size=1).map(str.strip).filter(bool)
_SHELL = _LINES.map(lambda text: ("CMD-SHELL", text))


@given(st.builds(Healthcheck, _WORDS | _SHELL, _TIMES, _TIMES, _TIMES, _TIMES, st.integers(0, 99)))
def test_what_is_written_reads_the_same(check: Healthcheck) -> None:
    assert parse_healthcheck(render_healthcheck(check)) == check


def test_nothing_is_written_of_a_check_that_only_changes_times() -> None:
    assert render_healthcheck(Healthcheck(interval_s=3)) == ""
    assert render_healthcheck(Healthcheck(("NONE",), 3)) == "NONE"


def test_an_image_keeps_it() -> None:
    check = Healthcheck(("CMD", "true"), 1.5, 2, 3, 4, 5)
    blob = render_image(
        NewImage("amd64", "sha256:" + "0" * 64, datetime.now(UTC), config=ImageConfig(healthcheck=check))
    )
    assert parse_image(blob, [0]).config.healthcheck == check
