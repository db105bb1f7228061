"""An etcd of our own: one member, mutual TLS of the cluster's authority, a process that outlives the daemon.

All its files are in one directory, which is also its working directory: so the directory may be renamed
while it runs, and by that directory the process is found again. Members of the cluster are let in by their
certificates. Its peers' side is a Unix socket in there: nobody else can speak to it.
"""

import asyncio
import errno
import logging
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..model.errors import CarrickError, Conflict, Unavailable, Unsupported
from .pki import Identity
from .store.etcd import open_etcd
from .store.etcd_config import DEFAULT_PORT, Endpoint, EtcdConfig

_log = logging.getLogger(__name__)
PROGRAM = "etcd"
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_FORK_S = 3.0
_CHECK_S = 2.0
_POLL_S = 0.05
_LONGEST_PAUSE_S = 30.0
_PROBE_TIMEOUT_S = 3.0
_LARGEST_LOG = 10 * 1024 * 1024
_QUOTA_BYTES = 4 * 1024**3
_HISTORY = "1h"
"""How long etcd keeps old revisions, for watches that come back."""

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class EtcdServer:
    """An etcd in `directory`, which holds `ca.pem`, `node.pem`, `node.key` and `revoked.pem`.

    The latter are certificates that it lets in no more; it looks at the files for each connection. It listens
    on `address` and on 127.0.0.1, and its certificate must be good for both. `client` is who we are to it.
    """

    directory: Path
    address: str
    client: Identity
    port: int = DEFAULT_PORT
    program: str = PROGRAM

    @property
    def endpoint(self) -> str:
        """Return what other nodes connect to."""
        return str(Endpoint(self.address, self.port, tls=True))

    @property
    def revoked(self) -> Path:
        return self.directory / "revoked.pem"

    @property
    def log(self) -> Path:
        return self.directory / "etcd.log"

    def find_program(self) -> str:
        """Return the path of etcd. Unsupported, with the remedy, if it is not installed."""
        if (path := shutil.which(self.program)) is None:
            raise Unsupported(
                "there is no etcd on this host, which the cluster's records are to be kept in",
                remedy="apt-get install etcd-server, or name one that is there with --etcd https://HOST:2379",
            )
        return path

    async def start(self, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Start it unless it runs, and return when it serves. May be repeated.

        Raises Unsupported, Conflict if its port is taken, Unavailable with what its log says.
        """
        program = self.find_program()
        if not self.pids():
            self._check_ports()
            self._spawn(program)
        loop = asyncio.get_running_loop()
        began = loop.time()
        seen, problem = False, ""
        while loop.time() < began + timeout_s:
            try:
                await self._probe()
            except (CarrickError, TimeoutError) as error:
                problem = str(error)
            else:
                return
            # Between the shell's fork and etcd's name on it, it is not seen.
            if self.pids():
                seen = True
            elif seen or loop.time() > began + _FORK_S:
                break
            await asyncio.sleep(_POLL_S)
        raise Unavailable(
            f"etcd did not start in {self.directory}: {self._last_words() or problem or 'it ended at once'}",
            remedy=f"see {self.log}",
        )

    async def keep(self) -> None:
        """See that it runs, until cancelled; one that keeps dying is started ever less often."""
        pause = _CHECK_S
        while True:
            if self.pids():
                pause = _CHECK_S
            else:
                _log.info("etcd in %s does not run; starting it", self.directory)
                try:
                    await self.start()
                    pause = _CHECK_S
                except CarrickError as error:
                    _log.error("%s", error)
                    pause = min(pause * 2, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        """End it, and return when it has ended. May be repeated."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._signal(number):
                return
            loop = asyncio.get_running_loop()
            end = loop.time() + _STOP_TIMEOUT_S
            while self.pids() and loop.time() < end:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
        if pids := self.pids():
            raise Unavailable(f"etcd (process {pids[0]}) in {self.directory} does not end")

    def pids(self) -> list[int]:
        """Return the processes that are this etcd: those of its name that live in its directory."""
        try:
            home = self.directory.stat()
        except FileNotFoundError:
            return []
        found = []
        for path in Path("/proc").iterdir():
            if not path.name.isdigit():
                continue
            try:
                if (path / "comm").read_text().strip() != Path(self.program).name:
                    continue
                there = (path / "cwd").stat()
                if "\nState:\tZ" in (path / "status").read_text():
                    continue
            except OSError:
                continue
            if (there.st_dev, there.st_ino) == (home.st_dev, home.st_ino):
                found.append(int(path.name))
        return found

    # --------------------------------------------------------------------------------------------

    def _spawn(self, program: str) -> None:
        """Start it so that it belongs to nobody: a shell starts it in the background and ends."""
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        own = str(Endpoint(LOOPBACK, self.port, tls=True))
        listening = ",".join(dict.fromkeys((self.endpoint, own)))
        peer = "unix://peer:0"
        arguments = [
            *("--name", "carrick", "--data-dir", "data"),
            *("--listen-client-urls", listening, "--advertise-client-urls", self.endpoint),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"carrick={peer}"),
            *("--cert-file", "node.pem", "--key-file", "node.key"),
            *("--trusted-ca-file", "ca.pem", "--client-cert-auth", "--client-crl-file", "revoked.pem"),
            *("--auto-compaction-mode", "periodic", "--auto-compaction-retention", _HISTORY),
            *("--quota-backend-bytes", str(_QUOTA_BYTES)),
            *("--enable-grpc-gateway=false", "--enable-pprof=false"),
            *("--logger", "zap", "--log-level", "warn"),
        ]
        # Its settings would come from the environment, too.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ETCD_")}
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            subprocess.run(
                ["/bin/sh", "-c", 'umask 077; "$@" </dev/null &', "sh", program, *arguments],
                cwd=self.directory,
                env=environment,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                check=True,
            )
        finally:
            os.close(descriptor)

    def _check_ports(self) -> None:
        """Refuse a port that somebody has before etcd does so in its log; a race is left to its log."""
        for address in (self.address, LOOPBACK):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((address, self.port))
                except OSError as error:
                    place = Endpoint(address, self.port, tls=True).authority
                    if error.errno == errno.EADDRINUSE:
                        raise Conflict(
                            f"cannot start etcd: somebody listens on {place} already",
                            remedy="if that is an etcd to be used, name it with --etcd; else stop it",
                        ) from error
                    raise Unavailable(f"cannot start etcd on {place}: {error.strerror}") from error

    async def _probe(self) -> None:
        """Return once it serves us. Raises CarrickError or TimeoutError."""
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self.port)
            writer.close()
        except OSError as error:
            raise Unavailable(f"nobody listens yet: {error.strerror}") from error
        endpoint = Endpoint(LOOPBACK, self.port, tls=True)
        config = EtcdConfig(
            (endpoint,),
            cacert=self.client.ca,
            cert=self.client.certificate,
            key=self.client.key,
            request_timeout_s=_PROBE_TIMEOUT_S,
        )
        async with asyncio.timeout(_PROBE_TIMEOUT_S), open_etcd(config) as store:
            await store.check()

    def _signal(self, number: signal.Signals) -> bool:
        """Send a signal; tell whether there was anybody to get it."""
        found = False
        for pid in self.pids():
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                # Asked again now that the number cannot become somebody else's.
                if pid in self.pids():
                    signal.pidfd_send_signal(descriptor, number)
                    found = True
            except ProcessLookupError:
                pass
            finally:
                os.close(descriptor)
        return found

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:500] if lines else ""
