"""Fetch a root file system's archive from a URL, for `import`."""

import asyncio
from pathlib import Path

from ...model.errors import Failed, NotFound
from .image_store import Progress, ProgressCallback
from .registry import RegistryProblem, download, status_text

_CHUNK = 1 << 18
_STEP = 1 << 19
_MAX_SIZE = 64 * 1024**3
"""More than any root file system: whoever sends this much does not mean to stop."""
_MAX_WORDS = 1024


async def fetch_archive(
    url: str, target: Path, report: ProgressCallback, *, max_size: int = _MAX_SIZE
) -> str:
    """Write what a URL gives to a file; return the URL with its scheme, http if it had none.

    Raises InvalidRequest, NotFound or Failed in Docker's words. A server that says nothing for a
    minute is given up.
    """
    full = url if "://" in url else f"http://{url}"
    async with download(full) as response:
        if response.status >= 400:
            words = f"failed to GET {full} with status {status_text(response.status)}"
            body = (await response.content.read(_MAX_WORDS)).decode(errors="replace").strip()
            message = f"{words}: {body}" if body else words
            raise NotFound(message) if response.status == 404 else RegistryProblem(message)
        report(Progress(f"Downloading from {full}"))
        total = response.content_length or 0
        if total > max_size:
            raise Failed(f"cannot import {full}: {total} bytes are more than the limit of {max_size}")
        size, told = 0, -_STEP
        with open(target, "wb") as file:
            async for chunk in response.content.iter_chunked(_CHUNK):
                await asyncio.to_thread(file.write, chunk)
                size += len(chunk)
                if size > max_size:
                    raise Failed(f"cannot import {full}: it is longer than the limit of {max_size} bytes")
                if size - told >= _STEP or size == total:
                    told = size
                    report(Progress("Importing", current=size, total=total))
    return full
