"""The flags that `run` and `create` share: what a container is to be."""

from __future__ import annotations

from carrick.doors.cli.flags import (
    BOOL,
    BYTES,
    DECIMAL,
    DURATION,
    INT,
    LIST,
    MAP,
    STRING,
    Flag,
    Kind,
)
from carrick.doors.cli.specs.environment import ADDRESS, ENV, EXTRA_HOST, LABEL, LINK, STREAM
from carrick.doors.cli.specs.limits import DEVICE_RULE, SYSCTL, ULIMIT
from carrick.doors.cli.specs.mounts import MOUNT
from carrick.doors.cli.specs.networks import NETWORK
from carrick.doors.cli.units import parse_memory_swap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SWAP = Kind("bytes", parse_memory_swap, default=0)


def _f(name: str, help: str, kind: Kind = BOOL, short: str = "", **more: Any) -> Flag:
    return Flag(name, help, kind=kind, short=short, **more)


_NETWORK = (
    _f("add-host", "Add a host to /etc/hosts (host:ip; host-gateway is the host)", EXTRA_HOST),
    _f("dns", "Set custom DNS servers", ADDRESS),
    _f("dns-option", "Set DNS options", LIST, aliases=("dns-opt",)),
    _f("dns-search", "Set custom DNS search domains ('.' for none)", LIST),
    _f("domainname", "Container NIS domain name", STRING),
    _f("expose", "Expose a port or a range of ports", LIST),
    _f("hostname", "Container host name", STRING, "h"),
    _f("ip", "IPv4 address (e.g., 172.30.100.104)", STRING),
    _f("ip6", "IPv6 address (e.g., 2001:db8::33)", STRING),
    _f("link", "Add link to another container (name[:alias])", LINK, complete="container"),
    _f("link-local-ip", "Container IPv4/IPv6 link-local addresses", LIST),
    _f("mac-address", "Container MAC address (e.g., 92:d0:c6:0a:29:33)", STRING),
    _f(
        "network",
        "Connect to a network: NAME, host, none, container:NAME, or"
        " name=NAME,alias=A,ip=IP,ip6=IP,mac-address=MAC,gw-priority=N,driver-opt=K=V",
        NETWORK,
        complete="network",
        aliases=("net",),
    ),
    _f(
        "network-alias",
        "Add network-scoped alias for the container",
        LIST,
        aliases=("net-alias",),
    ),
    _f("publish", "Publish a port: [[HOST_IP:][HOST_PORT]:]CONTAINER_PORT[/PROTO]", LIST, "p"),
    _f("publish-all", "Publish all exposed ports to random ports", BOOL, "P"),
    _f("sysctl", "Sysctl options of the container's namespaces", SYSCTL),
)

_PROCESS = (
    _f("annotation", "Add an annotation (passed to the OCI runtime)", MAP),
    _f("attach", "Attach to STDIN, STDOUT or STDERR", STREAM, "a"),
    _f("entrypoint", "Overwrite the default ENTRYPOINT of the image", STRING),
    _f("env", "Set environment variables", ENV, "e"),
    _f("env-file", "Read in a file of environment variables", LIST, complete="file"),
    _f("group-add", "Add additional groups to join", LIST),
    _f("init", "Run an init inside the container that forwards signals and reaps processes"),
    _f("interactive", "Keep STDIN open even if not attached", BOOL, "i"),
    _f("label", "Set metadata on a container", LABEL, "l"),
    _f("label-file", "Read in a line delimited file of labels", LIST, complete="file"),
    _f("name", "Assign a name to the container", STRING),
    _f("stop-signal", "Signal to stop the container", STRING),
    _f("stop-timeout", "Timeout (in seconds) to stop a container", INT),
    _f("tty", "Allocate a pseudo-TTY", BOOL, "t"),
    _f("user", "Username or UID (format: <name|uid>[:<group|gid>])", STRING, "u"),
    _f("workdir", "Working directory inside the container", STRING, "w"),
)

_STORAGE = (
    _f("mount", "Attach a mount (type=bind|volume|tmpfs,src=...,dst=...)", MOUNT),
    _f("read-only", "Mount the container's root filesystem as read only"),
    _f("shm-size", "Size of /dev/shm", BYTES),
    _f("storage-opt", "Storage driver options for the container", LIST),
    _f("tmpfs", "Mount a tmpfs directory", LIST),
    _f("volume", "Bind mount a volume ([SOURCE:]TARGET[:OPTIONS])", LIST, "v"),
    _f("volume-driver", "Optional volume driver for the container", STRING),
    _f("volumes-from", "Mount volumes from other containers", LIST, complete="container"),
)

_LIMITS = (
    _f("blkio-weight", "Block IO weight, 10 to 1000, or 0 to disable", INT),
    _f("cgroup-parent", "Optional parent cgroup for the container", STRING),
    _f("cgroupns", "Cgroup namespace to use (host|private)", STRING),
    _f("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period", INT),
    _f("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota", INT),
    _f("cpu-shares", "CPU shares (relative weight)", INT, "c"),
    _f("cpus", "Number of CPUs", DECIMAL),
    _f("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)", STRING),
    _f("cpuset-mems", "Memory nodes in which to allow execution (0-3, 0,1)", STRING),
    _f("device", "Add a host device to the container", LIST),
    _f("device-cgroup-rule", "Add a rule to the cgroup allowed devices list", DEVICE_RULE),
    _f("memory", "Memory limit", BYTES, "m"),
    _f("memory-reservation", "Memory soft limit", BYTES),
    _f("memory-swap", "Limit of memory plus swap: '-1' for unlimited swap", _SWAP),
    _f("memory-swappiness", "Tune container memory swappiness (0 to 100)", INT, default=-1),
    _f("oom-kill-disable", "Disable OOM Killer"),
    _f("oom-score-adj", "Tune host's OOM preferences (-1000 to 1000)", INT),
    _f("pids-limit", "Tune container pids limit (set -1 for unlimited)", INT),
    _f("ulimit", "Ulimit options (name=soft[:hard])", ULIMIT),
)

_SECURITY = (
    _f("cap-add", "Add Linux capabilities", LIST),
    _f("cap-drop", "Drop Linux capabilities", LIST),
    _f("ipc", "IPC mode to use", STRING),
    _f("pid", "PID namespace to use", STRING),
    _f("privileged", "Give extended privileges to this container"),
    _f("runtime", "Runtime to use for this container", STRING),
    _f("security-opt", "Security options", LIST),
    _f("userns", "User namespace to use", STRING),
    _f("uts", "UTS namespace to use", STRING),
)

_HEALTH = (
    _f("health-cmd", "Command to run to check health", STRING),
    _f("health-interval", "Time between running the check (ms|s|m|h)", DURATION),
    _f("health-retries", "Consecutive failures needed to report unhealthy", INT),
    _f("health-start-interval", "Time between checks during the start period", DURATION),
    _f("health-start-period", "Start period before failures count (ms|s|m|h)", DURATION),
    _f("health-timeout", "Maximum time to allow one check to run (ms|s|m|h)", DURATION),
    _f("no-healthcheck", "Disable any container-specified HEALTHCHECK"),
)

_HANDLING = (
    _f("cidfile", "Write the container ID to the file", STRING, complete="file"),
    Flag("disable-content-trust", "Skip image verification", default=True, hidden=True),
    _f("log-driver", "Logging driver for the container", STRING),
    _f("log-opt", "Log driver options", LIST),
    _f("platform", "Set platform if the image has several", STRING),
    _f("pull", 'Pull image before creating ("always", "missing", "never")', STRING, default="missing"),
    _f("quiet", "Suppress the pull output", BOOL, "q"),
    _f("restart", "Restart policy to apply when a container exits", STRING, default="no"),
    _f("rm", "Remove the container and its anonymous volumes when it exits"),
)

CREATE_FLAGS = (
    *_NETWORK,
    *_PROCESS,
    *_STORAGE,
    *_LIMITS,
    *_SECURITY,
    *_HEALTH,
    *_HANDLING,
)
