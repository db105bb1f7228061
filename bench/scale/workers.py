"""The coordinator's hold on its worker processes."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]
_ANSWER_BYTES = 1 << 26


class WorkerFailed(Exception):
    """A worker ended, or could not do what it was told."""


class WorkerHandle:
    """One process. Commands are done one after another."""

    def __init__(self, process: asyncio.subprocess.Process, number: int) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.number = number

    @classmethod
    async def start(cls, number: int, settings: Mapping[str, Any], module: str = "worker") -> "WorkerHandle":
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", sys.executable, "-m", f"bench.scale.{module}"),
            json.dumps(settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_REPOSITORY,
            limit=_ANSWER_BYTES,
        )
        return cls(process, number)

    async def do(self, what: str, **more: Any) -> dict[str, Any]:
        """Send a command and return its answer. Raises WorkerFailed."""
        async with self._turn:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(json.dumps({"do": what, **more}).encode() + b"\n")
            await self._process.stdin.drain()
            line = await self._process.stdout.readline()
        if not line:
            raise WorkerFailed(f"worker {self.number} ended while it was to {what}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"worker {self.number}, {what}: {answer['error']}")
        return answer

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


async def all_do(workers: Sequence[WorkerHandle], what: str, **more: Any) -> list[dict[str, Any]]:
    """Give all the same command at the same time."""
    return list(await asyncio.gather(*(worker.do(what, **more) for worker in workers)))
