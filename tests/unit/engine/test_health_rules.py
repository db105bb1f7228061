"""What a health check runs, what its results mean, and what is kept of its output."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.health import (
    Check,
    LimitedOutput,
    begin,
    close,
    judge,
    pause_before_next,
    plan_check,
    timeout_text,
)
from carrick.model.containers import ContainerConfig, Health, Healthcheck, HealthResult, HealthStatus

NOW = datetime(2024, 5, 1, tzinfo=UTC)
CHECK = Check(("true",), retries=3, start_period_s=10, start_interval_s=1, interval_s=20)


def result(code: int, output: str = "") -> HealthResult:
    return HealthResult(NOW, NOW + timedelta(seconds=1), code, output)


def after(health: Health, *codes: int, running_s: float = 100) -> Health:
    for code in codes:
        health = judge(health, result(code), CHECK, running_s)
    return health


class TestPlan:
    @pytest.mark.parametrize("test", [(), ("NONE",), ("CMD",), ("MAGIC", "true"), ("NONE", "true")])
    def test_no_check(self, test: tuple[str, ...]) -> None:
        assert plan_check(ContainerConfig(healthcheck=Healthcheck(test))) is None

    def test_none_asked(self) -> None:
        assert plan_check(ContainerConfig()) is None

    def test_dockers_defaults(self) -> None:
        check = plan_check(ContainerConfig(healthcheck=Healthcheck(("CMD", "a", "b"))))
        assert check == Check(("a", "b"), 30, 30, 0, 5, 3)

    def test_what_is_given_stands(self) -> None:
        asked = Healthcheck(("CMD", "a"), 1, 2, 3, 4, 5)
        check = plan_check(ContainerConfig(healthcheck=asked))
        assert check == Check(
            ("a",), interval_s=1, timeout_s=2, start_period_s=3, start_interval_s=4, retries=5
        )

    @pytest.mark.parametrize(
        ("shell", "words"), [((), ("/bin/sh", "-c")), (("/bin/bash", "-ec"), ("/bin/bash", "-ec"))]
    )
    def test_the_shell_form(self, shell: tuple[str, ...], words: tuple[str, ...]) -> None:
        asked = Healthcheck(("CMD-SHELL", "a && b"))
        check = plan_check(ContainerConfig(healthcheck=asked, shell=shell))
        assert check is not None
        assert check.args == (*words, "a && b")


class TestVerdict:
    def test_the_first_success_is_enough(self) -> None:
        assert after(begin(None), 1, 1, 0).status is HealthStatus.HEALTHY

    def test_as_many_failures_as_retries(self) -> None:
        health = after(begin(None), 0, 1, 2)
        assert (health.status, health.failing_streak) == (HealthStatus.HEALTHY, 2)
        health = after(health, -1)
        assert (health.status, health.failing_streak) == (HealthStatus.UNHEALTHY, 3)
        assert after(health, 1).failing_streak == 4

    def test_one_that_starts_and_fails_stays_starting_until_the_retries_are_used_up(self) -> None:
        assert after(begin(None), 1, 1).status is HealthStatus.STARTING
        assert after(begin(None), 1, 1, 1).status is HealthStatus.UNHEALTHY

    def test_a_success_ends_a_row_of_failures(self) -> None:
        health = after(begin(None), 1, 1, 0, 1, 1)
        assert (health.status, health.failing_streak) == (HealthStatus.HEALTHY, 2)

    def test_failures_do_not_count_in_the_start_period(self) -> None:
        health = after(begin(None), 1, 1, 1, 1, running_s=9.9)
        assert (health.status, health.failing_streak, len(health.log)) == (HealthStatus.STARTING, 0, 4)
        assert after(health, 1, running_s=10).failing_streak == 1

    def test_a_success_ends_the_start_period(self) -> None:
        assert after(begin(None), 0, 1, running_s=1).failing_streak == 1

    def test_the_pause_is_shorter_in_the_start_period_until_the_first_success(self) -> None:
        assert pause_before_next(begin(None), CHECK, 5) == 1
        assert pause_before_next(begin(None), CHECK, 10) == 20
        assert pause_before_next(after(begin(None), 0), CHECK, 5) == 20

    def test_the_next_run_of_the_container_begins_anew_and_keeps_the_log(self) -> None:
        ended = close(after(begin(None), 0, 0, 1))
        assert ended is not None
        assert ended.status is HealthStatus.UNHEALTHY
        again = begin(ended)
        assert (again.status, again.failing_streak, len(again.log)) == (HealthStatus.STARTING, 0, 3)

    def test_what_has_no_health_has_none_at_the_end(self) -> None:
        assert close(None) is None

    @given(st.lists(st.sampled_from([-1, 0, 1, 2, 137])))
    def test_the_log_holds_the_last_five(self, codes: list[int]) -> None:
        health = after(begin(None), *codes)
        assert [item.exit_code for item in health.log] == codes[-5:]
        assert (health.failing_streak == 0) == (not codes or codes[-1] == 0)


class TestOutput:
    @given(st.lists(st.binary(max_size=3000), max_size=5))
    def test_the_first_4096_bytes_are_kept(self, pieces: list[bytes]) -> None:
        output = LimitedOutput()
        for piece in pieces:
            output.add(piece)
        everything = b"".join(pieces)
        expected = everything[:4096].decode(errors="replace") + ("..." if len(everything) > 4096 else "")
        assert output.text() == expected

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (1, "1s"),
            (30, "30s"),
            (60, "1m0s"),
            (90.5, "1m30.5s"),
            (3600, "1h0m0s"),
            (7384.25, "2h3m4.25s"),
            (0.5, "500ms"),
            (0.0015, "1.5ms"),
            (0.001, "1ms"),
        ],
    )
    def test_a_timeout_is_told_in_dockers_words(self, seconds: float, text: str) -> None:
        assert timeout_text(seconds, "") == f"Health check exceeded timeout ({text})"
        assert timeout_text(seconds, "so far") == f"Health check exceeded timeout ({text}): so far"
