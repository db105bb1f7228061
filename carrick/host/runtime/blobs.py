"""Files of the image store that appear whole or not at all."""

import secrets
import shutil
from pathlib import Path


def link_or_copy(source: Path, target: Path) -> None:
    """Put a blob at `target`, whole or not at all."""
    if target.exists():
        return
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return
    except OSError:
        unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        shutil.copyfile(source, unfinished)
        unfinished.rename(target)


def write_whole(target: Path, data: bytes) -> None:
    """Write a file at one stroke."""
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    unfinished.write_bytes(data)
    unfinished.rename(target)


def rename_new(source: Path, target: Path) -> None:
    """Rename a directory to a name that is free; FileExistsError if it is not any more."""
    try:
        source.rename(target)
    except OSError as error:
        if target.is_dir():
            raise FileExistsError(target) from error
        raise


def delete(directory: Path) -> None:
    """Delete a directory with all that is in it, if it is there."""
    shutil.rmtree(directory, ignore_errors=True)
