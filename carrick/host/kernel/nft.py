"""nftables transactions through libnftables, in this process (about 0.1 ms each, no fork).

Text in nft's own language goes in, so that what `--dry-run` prints is what is applied. Every call is one
transaction: the kernel takes all of it or nothing.
"""

import ctypes
import json
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from ...model.errors import KernelRefused, Unsupported

_OUTPUT_JSON = 1 << 4
_NETFILTER = "12"


class Nft:
    """A libnftables context, bound to the namespace of the thread that makes it."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL("libnftables.so.1")
        except OSError as error:
            raise Unsupported(
                "libnftables.so.1 is not installed",
                remedy="install nftables (Debian: apt-get install nftables)",
            ) from error
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        self._library = library
        library.nft_ctx_free.argtypes = [ctypes.c_void_p]
        self._context: ctypes.c_void_p | None = ctypes.c_void_p(library.nft_ctx_new(0))
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)
        # A context holds one parser state and one pair of buffers.
        self._lock = Lock()

    def close(self) -> None:
        with self._lock:
            if self._context is not None:
                self._library.nft_ctx_free(self._context)
            self._context = None

    def port_ids(self) -> set[int]:
        """Return the port ids of this process's nftables sockets.

        libnftables hides its socket and now and then opens another, so they are looked up: sockets of
        ours, by inode, among the namespace's netlink sockets. The process id that a change's notification
        carries would not do: it is that of a thread, as the first pid namespace counts.
        """
        own = set()
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                own.add(str(entry.readlink()))
        found = set()
        for line in Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]:
            words = line.split()
            if words[1] == _NETFILTER and f"socket:[{words[-1]}]" in own:
                found.add(int(words[2]))
        return found

    def run(self, *commands: str) -> str:
        """Apply `commands` as one transaction; return what nft printed."""
        text = "\n".join(commands) + "\n"
        with self._lock:
            code = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
            if code != 0:
                said = self._library.nft_ctx_get_error_buffer(self._context).decode().strip()
                raise KernelRefused(f"nft refused: {said}", subject=text[:200])
            output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
            return output.decode()

    def run_json(self, command: str) -> list[dict[str, Any]]:
        """Run one list command and return nft's JSON objects."""
        with self._lock:
            self._library.nft_ctx_output_set_flags(self._context, _OUTPUT_JSON)
            try:
                code = self._library.nft_run_cmd_from_buffer(self._context, command.encode())
                said = self._library.nft_ctx_get_error_buffer(self._context).decode().strip()
                output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
            finally:
                self._library.nft_ctx_output_set_flags(self._context, 0)
        if code != 0:
            raise KernelRefused(f"nft refused: {said}", subject=command)
        objects: list[dict[str, Any]] = json.loads(output)["nftables"]
        return objects
