"""Who a container's process is: `--user` and `--group-add` looked up in the container's own files.

Pure: the texts of the container's /etc/passwd and /etc/group are given in. The rules and messages
are Docker's (moby/sys/user, GetExecUser): a name or a number, on either side of a colon.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...model.errors import InvalidRequest

_MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Numbers for the kernel. `groups` holds the primary group too, then the others in order."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = (0,)
    home: str = "/"


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def resolve_identity(spec: str, passwd: str, group: str, additional: Iterable[str] = ()) -> Identity:
    """Look `user`, `user:group` or "" (root) up, and the additional groups.

    Raises InvalidRequest in Docker's words if a name is in neither file.
    """
    user_part, _, group_part = spec.partition(":")
    user = _find_user(user_part, passwd)
    groups = tuple(_groups(group))
    if group_part:
        gid = _find_group(group_part, groups)
        members: list[int] = []
    else:
        gid = user.gid
        members = [entry.gid for entry in groups if user.name and user.name in entry.members]
    extra = [_find_group(name, groups, title="Unable") for name in additional]
    return Identity(
        uid=user.uid,
        gid=gid,
        groups=tuple(dict.fromkeys([gid, *members, *extra])),
        home=user.home or "/",
    )


def _find_user(wanted: str, passwd: str) -> _User:
    number = _number(wanted or "0")
    for user in _users(passwd):
        if user.uid == number if not wanted else (user.name == wanted or user.uid == number):
            return user
    if number is None:
        raise InvalidRequest(f"unable to find user {wanted}: no matching entries in passwd file")
    _check_range(number)
    return _User("", number, 0, "/")


def _find_group(wanted: str, groups: Iterable[_Group], title: str = "unable") -> int:
    number = _number(wanted)
    for entry in groups:
        if entry.name == wanted or entry.gid == number:
            return entry.gid
    if number is None:
        raise InvalidRequest(f"{title} to find group {wanted}: no matching entries in group file")
    _check_range(number)
    return number


def _check_range(number: int) -> None:
    if not 0 <= number <= _MAX_ID:
        raise InvalidRequest(f"uids and gids must be in range 0-{_MAX_ID}")


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _users(passwd: str) -> Iterator[_User]:
    for line in passwd.splitlines():
        fields = line.strip().split(":")
        if len(fields) < 4 or line.startswith("#"):
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None:
            yield _User(fields[0], uid, gid, fields[5] if len(fields) > 5 else "")


def _groups(group: str) -> Iterator[_Group]:
    for line in group.splitlines():
        fields = line.strip().split(":")
        if len(fields) < 3 or line.startswith("#"):
            continue
        gid = _number(fields[2])
        if gid is not None:
            members = fields[3].split(",") if len(fields) > 3 else []
            yield _Group(fields[0], gid, tuple(name for name in members if name))
