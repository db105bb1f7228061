"""The node's WireGuard: its key pair, its device, and `wireguard-go` where the kernel has no module.

The private key is made once, in a file that only root reads, and never in arguments, logs or records; the
public one is published in the node's record. What peers the device has is planned elsewhere
(`drivers/transports/wireguard.py`), and carried out by the kernel's part.

`wireguard-go` gets a TUN device that outlives it, so that addresses and routes stay when it dies: until it
is back, and has its peers again, packets go nowhere, least of all in the clear. It is started so that it
belongs to nobody, and survives this process.
"""

import asyncio
import base64
import fcntl
import logging
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ..model.errors import NotFound, Unavailable, Unsupported
from ..model.observed import WireguardDevice
from ..model.steps import CreateWireguard, DeleteLink, SetLink
from .kernel import Kernel
from .processes import is_listening

PORT = 51820
_SOCKETS = Path("/var/run/wireguard")
"""Fixed in wireguard-go and in wg; the device's name keeps two daemons apart."""
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MTU = 1420
_CHECK_S = 1.0
_START_S = 10.0
_LONGEST_PAUSE_S = 30.0
_log = logging.getLogger(__name__)


class Wireguard:
    """One device. `directory` is the daemon's own; `name` and `alias` are the device's."""

    def __init__(
        self,
        *,
        name: str,
        alias: str,
        directory: Path,
        log: Path,
        kernel: Kernel,
        port: int = PORT,
        keepalive_s: int = 0,
    ) -> None:
        self.name = name
        self._alias = alias
        self._directory = directory
        self._log_file = log
        self._kernel = kernel
        self._port = port
        self._keepalive_s = keepalive_s
        self._in_kernel: bool | None = None
        self._socket = _SOCKETS / f"{name}.sock"

    # The key ---------------------------------------------------------------------------------

    @property
    def key_file(self) -> Path:
        return self._directory / "wireguard.key"

    @property
    def _old_key_file(self) -> Path:
        return self.key_file.with_suffix(".old")

    def public_key(self) -> str:
        """Return the public key in base 64, making the pair if there is none."""
        try:
            text = self.key_file.read_text()
        except FileNotFoundError:
            text = self._write_key()
        private = X25519PrivateKey.from_private_bytes(base64.b64decode(text))
        return base64.b64encode(private.public_key().public_bytes_raw()).decode()

    def key_age_s(self) -> float:
        """Return for how long there has been this key, by this machine's clock; 0 without one."""
        try:
            return max(0.0, time.time() - self.key_file.stat().st_mtime)
        except FileNotFoundError:
            return 0.0

    def rotate(self) -> str:
        """Make a new key pair, put it in the old one's place, and return the public key.

        To lose nothing, in this order: rotate; apply the device's plan; publish the key. The device goes on
        reading what peers send in their old sessions, and keeps what it has to send itself (128 packets a
        peer) until they know the new key, shake hands, and fetch it. What cannot be published is to be taken
        back: `restore`; what was is the only one there is: `settle`.
        """
        self.public_key()
        self._old_key_file.unlink(missing_ok=True)
        self._old_key_file.hardlink_to(self.key_file)
        self._write_key()
        return self.public_key()

    def restore(self) -> None:
        """Put the key back that there was before `rotate`, if it is still there."""
        with suppress(FileNotFoundError):
            self._old_key_file.replace(self.key_file)

    def settle(self) -> None:
        """Forget the key that there was before `rotate`."""
        self._old_key_file.unlink(missing_ok=True)

    def _write_key(self) -> str:
        text = base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()).decode()
        self._directory.mkdir(parents=True, exist_ok=True)
        fresh = self.key_file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        # Nobody else can read it at any moment; whole or not at all.
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.key_file)
        return text

    # The device ------------------------------------------------------------------------------

    async def is_possible(self) -> bool:
        """Tell whether this machine can have the device: `wg`, and the module or `wireguard-go`."""
        if shutil.which("wg") is None:
            return False
        return shutil.which("wireguard-go") is not None or await self._has_module()

    async def ensure(self) -> None:
        """Have the device stand, without touching one that does.

        Raises Unsupported naming the packages, or Unavailable if `wireguard-go` does not start.
        """
        if not await self.is_possible():
            raise Unsupported(
                "this kernel has no wireguard links, and wireguard-go is not installed",
                remedy="apt-get install --no-install-recommends wireguard-go wireguard-tools",
            )
        if await self._has_module():
            await self._kernel.apply([CreateWireguard(self.name, self._alias, _MTU)])
            return
        await self._ensure_process()

    async def _has_module(self) -> bool:
        # Asked once: a kernel that has it is asked by making a device.
        if self._in_kernel is None:
            self._in_kernel = await self._kernel.supports("wireguard")
        return self._in_kernel

    async def view(self) -> WireguardDevice | None:
        """Return the device as drivers plan with it, None where there cannot be one."""
        if not await self.is_possible():
            return None
        try:
            state = await self._kernel.read_wireguard(self.name)
        except NotFound:
            state = None
        return WireguardDevice(
            self.name, str(self.key_file), self.public_key(), self._port, self._keepalive_s, state
        )

    async def keep(self, on_restart: Callable[[], Awaitable[object]]) -> None:
        """See that `wireguard-go` runs, for ever; `on_restart` gives a new one its key and peers.

        Where the kernel has the module there is nothing to see to.
        """
        if await self._has_module():
            return
        pause_s = _CHECK_S
        while True:
            await asyncio.sleep(pause_s)
            if await is_listening(self._socket):
                pause_s = _CHECK_S
                continue
            _log.warning("wireguard-go for %s is gone; starting it", self.name)
            try:
                await self._ensure_process()
            except Unavailable as error:
                _log.error("%s", error)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            else:
                pause_s = _CHECK_S
                await on_restart()

    async def remove(self) -> list[Exception]:
        """Remove the device; `wireguard-go` ends with it. The key stays."""
        errors = await self._kernel.remove([DeleteLink(self.name)])
        self._socket.unlink(missing_ok=True)
        return errors

    async def _ensure_process(self) -> None:
        if await is_listening(self._socket):
            return
        _make_tun(self.name)
        self._spawn()
        loop = asyncio.get_running_loop()
        end = loop.time() + _START_S
        while not await is_listening(self._socket):
            if loop.time() > end:
                raise Unavailable(
                    f"wireguard-go for {self.name} did not start within {_START_S:.0f} s",
                    remedy=f"see {self._log_file}",
                )
            await asyncio.sleep(0.01)
        await self._kernel.apply([SetLink(self.name, alias=self._alias, up=True)])

    def _spawn(self) -> None:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            subprocess.run(
                [*("/bin/sh", "-c", '"$@" </dev/null &', "sh"), "wireguard-go", "-f", self.name],
                stdout=log,
                stderr=log,
                env={**os.environ, "LOG_LEVEL": "error"},
                start_new_session=True,
                check=True,
            )


def _make_tun(name: str) -> None:
    """Make a TUN device that stays without a program; one that is there and is of this kind is as good."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    except OSError as error:
        raise Unavailable(
            f"the TUN device {name} cannot be made: {error.strerror}",
            remedy=f"look who has a link of that name: ip -d link show {name}",
        ) from error
    finally:
        os.close(descriptor)
