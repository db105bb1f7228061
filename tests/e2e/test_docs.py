"""Every command of the README, the tutorial and the how-tos, run as it stands there.

A page is run from top to bottom in a world of its own: mount, pid and network namespaces with `/run`, `/etc`
and `/var/lib` that are nobody else's, and a daemon on its default paths. All of it goes with the world's
first process. The world has an `eth0`, 192.0.2.10, on a LAN with one other host, `laptop`, 192.0.2.77.

What a page may write in a ```console block:

  $ command             run on the host; `\\` at the end of a line continues it
  laptop$ command       run on the other host
  …  # exit 1           the exit code that is expected, where it is not 0
  / # command           typed into the container's terminal that the command before has opened
  …                     anything within a line
  ...                   any number of lines

Other lines are the output, all of it, if there is any; without, the output is not looked at. Ids, MAC
addresses, times and counts of flows match whatever stands there. A block of ```sh is not run, and an HTML
comment after it says why.
"""

import difflib
import os
import pty
import re
import secrets
import select
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Its example is a package of its own, which the driver contract suite installs and tests.
_ELSEWHERE = {"write-a-driver.md"}
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs/tutorial").glob("*.md")),
    *sorted(path for path in (ROOT / "docs/how-to").glob("*.md") if path.name not in _ELSEWHERE),
]
_COMMAND_S = 30.0
_QUIET_S = 0.3
_NOT_YET = ("Cannot connect to the Carrick daemon", "Connection refused")
"""What is said of a daemon or a server that is just being started."""
_NO_END = -1
"""The exit code of what did not end in time."""
_DETACH = {"^P": "\x10", "^Q": "\x11", "^C": "\x03", "^D": "\x04"}
_PROMPT = "/ # "

# --- Pages ------------------------------------------------------------------------------------


@dataclass
class Command:
    """One command of a page, what is typed into it, and what it is to print."""

    line: int
    host: str
    text: str
    code: int = 0
    typed: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Block:
    language: str
    line: int
    lines: list[str]
    after: str


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page, each with the first line of text after it."""
    lines = text.splitlines()
    start, fence = 0, ""
    for number, line in enumerate(lines):
        if not fence and (match := re.match(r"\s*(`{3,})(\w*)", line)):
            start, fence = number, match[1]
        elif fence and line.strip() == fence:
            rest = (following.strip() for following in lines[number + 1 :])
            language = lines[start].strip().removeprefix(fence)
            yield Block(language, start + 1, lines[start + 1 : number], next(filter(None, rest), ""))
            fence = ""


def commands(text: str) -> list[Command]:
    found: list[Command] = []
    for block in blocks(text):
        if block.language != "console":
            continue
        is_continued = False
        for number, line in enumerate(block.lines, block.line + 1):
            if is_continued:
                found[-1].text += "\n" + line
            elif match := re.match(r"(?:(laptop))?\$ (.*)", line):
                found.append(Command(number, match[1] or "", match[2]))
            else:
                assert found, f"line {number}: output before the first command"
                if line.startswith(_PROMPT):
                    found[-1].typed.append(line.removeprefix(_PROMPT))
                # Control keys leave no trace on the terminal.
                found[-1].output.append(re.sub(r"\^[A-Z]", "", line))
                continue
            is_continued = line.endswith("\\")
            if match := re.search(r"\s+# exit (\d+)$", line):
                found[-1].text = found[-1].text.removesuffix(match[0])
                found[-1].code = int(match[1])
    for command in found:
        while command.output and not command.output[-1].strip():
            command.output.pop()
    return found


_ALIKE = (
    (r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", "ID"),
    (r"(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])", "SHORT-ID"),
    (r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
    (r"\b\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)", "TIME"),
    (r"\b\d+(?:\.\d+)*(?:/[0-9./]+)? ?ms\b", "MS"),
    (r"\b(?:Less than a second|About a minute|About an hour|\d+ (?:second|minute|hour)s?)\b", "AGE"),
    (r"\b\d+ of \d+ flows", "FLOWS"),
    (r"^\d+: (\w+)@if\d+:", r"N: \1@ifN:"),
)


def simplify(line: str) -> str:
    """Return a line without what differs from run to run: widths, ids, MAC addresses and times."""
    line = " ".join(line.split())
    for pattern, word in _ALIKE:
        line = re.sub(pattern, word, line)
    return line


def difference(expected: list[str], actual: list[str]) -> str:
    """Return "" if the output is as the page says, else the two side by side."""
    wanted = [simplify(line) for line in expected if line.strip()]
    got = [simplify(line) for line in actual if line.strip()]
    pattern = ""
    for line in wanted:
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(map(re.escape, line.split("…"))) + r"\n"
    if re.fullmatch(pattern, "".join(f"{line}\n" for line in got)):
        return ""
    return "\n".join(difflib.unified_diff(wanted, got, "the page", "the command", lineterm="", n=99))


# --- The world --------------------------------------------------------------------------------

_SET_UP = r"""
set -e
mount -t tmpfs -o mode=755 docs /run
mount -t tmpfs -o mode=755 docs /var/lib
mkdir -p /run/netns /run/lock /run/world/{etc,etc-work,opt,opt-work}
mount -t overlay docs -o lowerdir=/etc,upperdir=/run/world/etc,workdir=/run/world/etc-work /etc
mount -t overlay docs -o lowerdir=/opt,upperdir=/run/world/opt,workdir=/run/world/opt-work /opt
mkdir -p /etc/carrick /etc/containers/containers.conf.d
# What Podman needs where there is no systemd, limits cannot be raised, and cgroups are hybrid.
cat >/etc/containers/containers.conf.d/here.conf <<END
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
END
rm -f /etc/resolv.conf /etc/hosts
echo 'nameserver 192.0.2.77' >/etc/resolv.conf
echo '127.0.0.1 localhost' >/etc/hosts
echo 'cgroup_parent = "@CGROUP@"' >/etc/carrick/carrickd.toml
ip link set lo up
ip netns add laptop
ip link add eth0 type veth peer name eth0 netns laptop
ip address add 192.0.2.10/24 dev eth0
ip address add 2001:db8:2::10/64 dev eth0 nodad
ip link set eth0 up
ip netns exec laptop sh -c '
    ip link set lo up; ip link set eth0 up
    ip address add 192.0.2.77/24 dev eth0; ip address add 192.0.2.1/24 dev eth0
    ip address add 2001:db8:2::77/64 dev eth0 nodad; ip address add 2001:db8:2::1/64 dev eth0 nodad'
ip route add default via 192.0.2.1
ip -6 route add default via 2001:db8:2::1
setsid carrickd >/run/carrickd.log 2>&1 </dev/null &
for _ in $(seq 200); do
    carrick version >/dev/null 2>&1 && exit
    sleep 0.05
done
cat /run/carrickd.log >&2
exit 1
"""


class World:
    """A host of its own to run commands on."""

    def __init__(self, mark: str) -> None:
        self._cgroup = f"carrick-docs-{mark}"
        self._groups_before = _foreign_groups()
        path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self._environment = {"PATH": path, "HOME": "/run", "LANG": "C.UTF-8", "TERM": "dumb"}
        self._first = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("--propagation", "private", "--"),
                # Reaps whatever loses its parent, as the first process must.
                *("bash", "-c", "while :; do sleep 1; done"),
            ],
            stdin=subprocess.DEVNULL,
        )
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children")
        deadline = time.monotonic() + _COMMAND_S
        while not (pids := children.read_text().split()):
            assert time.monotonic() < deadline, "the namespaces were not made"
            time.sleep(0.01)
        self._pid = pids[0]
        # unshare has its mounts made private before it forks the first process.
        code, text = self.run(_SET_UP.replace("@CGROUP@", self._cgroup))
        assert code == 0, text

    def _argv(self, text: str, host: str) -> list[str]:
        inside = ["nsenter", "-t", self._pid, "--mount", "--net", "--pid", f"--wd={ROOT}", "--"]
        if host:
            inside += ["nsenter", f"--net=/run/netns/{host}", "--"]
        return [*inside, "bash", "-c", text]

    def run(self, text: str, host: str = "") -> tuple[int, str]:
        """Run a command; return its exit code and all that it printed."""
        # Into a file: with a pipe, a command left in the background would keep us waiting.
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                self._argv(text, host),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
            try:
                code = process.wait(_COMMAND_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = _NO_END
            output.seek(0)
            return code, output.read()

    def converse(self, command: Command) -> tuple[int, str]:
        """Run a command in a terminal, and type each line when there is a prompt to type it at."""
        leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (50, 200))
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *self._argv(command.text, command.host)],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=self._environment,
        )
        os.close(follower)
        said = b""
        typed = list(command.typed)
        start = time.monotonic()
        while time.monotonic() - start < _COMMAND_S:
            if not select.select([leader], [], [], _QUIET_S)[0]:
                # A shell that is told the size of its window writes its prompt again: wait for the last.
                if typed and _plain(said).endswith(_PROMPT):
                    os.write(leader, _keys(typed.pop(0)))
                continue
            try:
                data = os.read(leader, 65536)
            except OSError:
                break  # the last one who had it open is gone
            if not data:
                break
            said += data
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = _NO_END
        os.close(leader)
        return code, re.sub(f"({re.escape(_PROMPT)})+", _PROMPT, _plain(said))

    def has(self, program: str) -> bool:
        return self.run(f"command -v {program}")[0] == 0

    def log(self) -> str:
        return self.run("cat /run/carrickd.log")[1]

    def close(self) -> None:
        # The kernel ends everything in the pid namespace with its first process, and with that the
        # mounts and network namespaces.
        self._first.kill()
        self._first.wait()
        tops = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
        groups = [top / self._cgroup for top in tops if (top / self._cgroup).is_dir()]
        for group in _foreign_groups() - self._groups_before:
            # Podman and containerd leave theirs behind; what another one uses by now is not empty.
            for directory, _, _ in os.walk(group, topdown=False):
                with suppress(OSError):
                    Path(directory).rmdir()
        deadline = time.monotonic() + 10
        while groups and time.monotonic() < deadline:
            for group in groups:
                for directory, _, _ in os.walk(group, topdown=False):
                    with suppress(OSError):
                        Path(directory).rmdir()
            groups = [group for group in groups if group.exists()]
            time.sleep(0.05 if groups else 0)


def _foreign_groups() -> set[Path]:
    """Return the cgroups that Podman and containerd have under names that cannot be chosen."""
    tops = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    return {top / name for top in tops for name in ("libpod_parent", "default") if (top / name).is_dir()}


def _plain(said: bytes) -> str:
    """Return what stands on the terminal in the end, without control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", said.decode(errors="replace"))


def _keys(text: str) -> bytes:
    """Return what a person presses: a line, or control keys written as ^P^Q."""
    keys = "".join(_DETACH.get(part, part) for part in re.split(r"(\^[A-Z])", text))
    return (keys if keys != text else f"{text}\n").encode()


# --- Tests ------------------------------------------------------------------------------------


def play(page: Path, world: World) -> Iterator[tuple[Command, int, str]]:
    """Run a page's commands in their order."""
    text = page.read_text()
    if any(command.text.startswith("docker ") for command in commands(text)) and not world.has("docker"):
        pytest.skip("this page shows the docker client, which is not installed")
    if "carrick import" not in text:
        code, output = world.run("scripts/busybox-image | carrick import -c 'CMD [\"sh\"]' - busybox")
        assert code == 0, output
    for command in commands(text):
        run = world.converse if command.typed else lambda item: world.run(item.text, item.host)
        code, output = run(command)
        patience = time.monotonic() + _COMMAND_S
        # A page goes by what a start takes; a machine that does other things too may need longer.
        expected = "\n".join(command.output)
        while code and any(text in output and text not in expected for text in _NOT_YET):
            if time.monotonic() > patience:
                break
            time.sleep(0.2)
            code, output = run(command)
        yield command, code, output


@pytest.fixture
def world() -> Iterator[World]:
    if os.geteuid() != 0:
        pytest.skip("making namespaces needs root")
    made = World(secrets.token_hex(3))
    try:
        yield made
    finally:
        made.close()


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p.read_text())], ids=_name)
def test_commands_do_what_the_page_says(page: Path, world: World) -> None:
    for command, code, output in play(page, world):
        where = f"{_name(page)}:{command.line}: $ {command.text}"
        assert code == command.code, f"{where}\nexit code {code}\n{output}\n{world.log()}"
        if command.output and (found := difference(command.output, output.splitlines())):
            pytest.fail(f"{where}\n{found}", pytrace=False)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_what_is_not_run_says_why(page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.language in {"sh", "bash", "shell"}:
            assert block.after.startswith("<!--"), (
                f"{_name(page)}:{block.line}: a block that is not run needs a comment after it that says why"
            )


def test_links_lead_somewhere() -> None:
    broken = []
    for page in [*PAGES, *(ROOT / "docs").rglob("*.md"), ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{_name(page)}: {target}")
    assert not broken, "\n".join(sorted(set(broken)))


def test_most_pages_are_run() -> None:
    assert sum(len(commands(page.read_text())) for page in PAGES) > 100
