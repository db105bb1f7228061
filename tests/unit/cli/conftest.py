"""Fixtures for the command line's tests: a daemon that is not one, and a way to run commands."""

import io
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_daemon import FakeDaemon

from carrick.doors.cli.main import run


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "d.sock")
    yield fake
    fake.close()


@dataclass
class Result:
    code: int
    out: str
    err: str
    raw: bytes


class Runner:
    """Runs command lines against the fake daemon."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon

    def __call__(
        self,
        *words: str,
        stdin: bytes = b"",
        environ: Mapping[str, str] | None = None,
        stdin_fd: int | None = None,
    ) -> Result:
        out, err = io.BytesIO(), io.BytesIO()
        raw_in = io.BytesIO(stdin) if stdin_fd is None else os.fdopen(stdin_fd, "rb", closefd=False)
        source = io.TextIOWrapper(raw_in)
        streams = [io.TextIOWrapper(raw, encoding="utf-8", newline="") for raw in (out, err)]
        code = run(
            words,
            stdin=source,
            out=streams[0],
            err=streams[1],
            environ={"CARRICK_HOST": self.daemon.address, "TZ": "UTC", **(environ or {})},
        )
        for stream in streams:
            stream.flush()
        source.close()
        return Result(code, out.getvalue().decode(), err.getvalue().decode(), out.getvalue())


@pytest.fixture
def cli(daemon: FakeDaemon) -> Runner:
    return Runner(daemon)
