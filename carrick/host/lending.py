"""What a lent block needs of the host beside routes and our own tables: a file, and a way through iptables.

A Docker Engine has the FORWARD chain drop what it does not know, so packets from other nodes to its bridge
would end there whatever our tables say. The rule that lets them through is flannel's, narrower: both ends
have to be the network's. It stands in DOCKER-USER where Docker has made that, which is asked before all of
Docker's own, and in FORWARD until then.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..model.errors import Failed
from ..model.networks import IPNetwork

_TIMEOUT_S = 10.0
_CHAINS = ("DOCKER-USER", "FORWARD")


class LendingHost:
    """The effects. `mark` is the comment by which our rules are known."""

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def read(self, path: str) -> str:
        """Return a file's text, "" if it cannot be read."""
        try:
            return Path(path).read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def write(self, path: str, text: str) -> None:
        """Write a file for all to read; whoever reads meanwhile sees the old one or the new one."""
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(text)
                Path(name).chmod(0o644)
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise Failed(
                f"{path} cannot be written: {error.strerror}", remedy="name another with --file"
            ) from error

    def remove(self, path: str) -> None:
        with suppress(OSError):
            Path(path).unlink()

    async def let_through(self, networks: Sequence[IPNetwork]) -> None:
        """Have packets between members of each network forwarded. Cheap where they are already.

        Raises Failed with what iptables says. Without iptables there is nobody to drop them.
        """
        for network in networks:
            program = _program(network)
            if not program:
                continue
            for chain in _CHAINS:
                if await self._run(program, "-C", chain, network) is None:
                    break
                problem = await self._run(program, "-I", chain, network)
                if problem is None:
                    break
            else:
                raise Failed(f"{program} does not let {network} through: {problem}")

    async def stop_letting_through(self, networks: Sequence[IPNetwork]) -> None:
        """Take the rules back, wherever they stand; none is no error."""
        for network in networks:
            for chain in _CHAINS:
                while (program := _program(network)) and (
                    await self._run(program, "-D", chain, network) is None
                ):
                    pass

    async def _run(self, program: str, action: str, chain: str, network: IPNetwork) -> str | None:
        """Return None for success, and otherwise what the program complains about."""
        process = await asyncio.create_subprocess_exec(
            *(program, "-w", "5", action, chain, "-s", str(network), "-d", str(network)),
            *("-m", "comment", "--comment", self._mark, "-j", "ACCEPT"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                _, said = await process.communicate()
        except BaseException as error:
            with suppress(ProcessLookupError):
                process.kill()
            if isinstance(error, TimeoutError):
                return f"it does not answer within {_TIMEOUT_S:g} s"
            raise
        return None if process.returncode == 0 else said.decode(errors="replace").strip()


def _program(network: IPNetwork) -> str:
    return shutil.which("ip6tables" if network.version == 6 else "iptables") or ""
