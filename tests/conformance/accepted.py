"""The differences from Docker 20.10 that stay, each with its reason.

They are the rows of docs/reference/docker-differences.md, word for word; a test holds both together, and
another one fails when a difference named here no longer occurs, unless it is one that occurs at times.
"""

import re
from dataclasses import dataclass

from .compare import Difference


@dataclass(frozen=True, slots=True)
class Where:
    """Which differences are meant: regular expressions, searched for in `scenario: request`, in the field's
    path, and in the values (as `str` writes them) of both."""

    request: str = ""
    path: str = ""
    docker: str = ""
    carrick: str = ""

    def matches(self, difference: Difference) -> bool:
        return bool(
            re.search(self.request, f"{difference.scenario}: {difference.request}")
            and re.search(self.path, difference.path)
            and re.search(self.docker, str(difference.docker), re.DOTALL)
            and re.search(self.carrick, str(difference.carrick), re.DOTALL)
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """A difference that stays. `title` and `reason` are what the reference says about it; `at_times`, that
    it depends on which of two threads of Docker's comes first: such a difference need not occur."""

    title: str
    reason: str
    where: tuple[Where, ...]
    at_times: bool = False

    def explains(self, difference: Difference) -> bool:
        return any(where.matches(difference) for where in self.where)


def _message(docker: str, carrick: str, request: str = "") -> Where:
    """An error's text: Docker 20.10's, and ours."""
    return Where(request, r"\.message$", docker, carrick)


_INSPECT = r"^GET .*/containers/[^/]+/json"
_NO_KEY = r"^\(absent\)$"

ACCEPTED: tuple[Accepted, ...] = (
    Accepted(
        "A request that is wrong is answered with 400, 403, 404 or 409",
        "Docker 20.10 answers many of them with 500, which says that the fault is the engine's. Newer"
        " engines do as Carrick does.",
        (
            Where(path="^status$", docker="^500", carrick="^4"),
            Where("networks.refused", "^status$", "^403", "^400|^500 failed to allocate"),
        ),
    ),
    Accepted(
        "Some errors are worded as by newer engines, or name what they are about",
        "Since 20.10 Docker has changed its words: `invalid JSON: …`, `unsupported Content-Type "
        "header`, `cannot remove container`, `failed to create task for container`. Carrick uses "
        "today's at every version of the API. Where Docker's text names neither object nor field, "
        "Carrick's does.",
        (
            _message("unexpected EOF|invalid character|cannot unmarshal", "^invalid JSON: |^invalid filter$"),
            _message("", "^unexpected content after JSON$|^invalid JSON: unexpected EOF", r"\{\} \{\}"),
            _message("^Invalid filter|^error reading volume filters|^invalid filter: '", "^invalid filter"),
            _message("^Content-Type specified", "^unsupported Content-Type header"),
            _message(
                "^invalid name or ID supplied|^got EOF", "value is empty$|cannot be empty$|^No exec command"
            ),
            _message("^got EOF while", "invalid name: name is empty|config cannot be empty"),
            _message("^Config cannot be empty", "^config cannot be empty"),
            _message("^Container <id> is not running", "^container <id> is not running"),
            _message("^Invalid signal", "^invalid signal"),
            _message("^strconv", "^invalid value for . ?.*strconv"),
            _message("^You cannot remove a", "^cannot remove container"),
            _message("pathcannot be empty", "'path' cannot be empty"),
            _message("(?i)^no such image", "^No such image"),
            _message("^Cannot kill container", "^cannot kill container"),
            _message("too new. Maximum", "too new. Maximum"),
            _message("^failed to create shim task|^OCI runtime", "^failed to create task for container: "),
            Where(path=r"\.State\.Error$", docker="^failed to create shim", carrick="^failed to create task"),
            Where(
                path=r"\.State\.Error$",
                docker="^driver failed",
                carrick="^failed to set up container networking",
            ),
            _message("^cannot join network of a non", "^cannot join network namespace of a non"),
            _message("^Container .* is paused", "^container .* is paused"),
            _message("^invalid restart policy", "^invalid restart policy: "),
            _message("is not a valid change command", "is not a valid change command|requires exactly one"),
            _message("^user specified configurations", "^user-specified configurations"),
            _message("^Pool overlaps", "^invalid pool request: Pool overlaps"),
            _message("configuration network .* is in use", "^configuration network .* is in use"),
            _message("has active endpoints$", "has active endpoints [(]"),
            _message("^container cannot be disconnected from host", "^cannot (dis)?connect container"),
            _message("^driver failed programming", "^failed to set up container networking: driver failed"),
            _message("^No command specified", "^no command specified|^invalid reference format"),
            _message("maximum retry count", "^invalid restart policy: maximum retry count"),
            _message('^plugin "nonsense" not found', "^could not find plugin nonsense in v1 plugin registry"),
            _message("^Pool overlaps", "doesn't support multiple subnets"),
            _message("^Ingress network", "^ingress networks"),
            _message("invalid reference format", "^invalid reference format"),
            _message("^invalid IPv. address", "^invalid endpoint settings"),
            _message("Container cannot be connected to network endpoints", "multiple network endpoints"),
            _message("^Invalid network mode: invalid container", "^invalid container format"),
            _message("^invalid mount path", '^invalid mount config for type "tmpfs": invalid mount path'),
            _message('type "": mount type unknown', "mount type must be specified"),
            _message("does not match the specified platform", "does not provide the specified platform"),
        ),
    ),
    Accepted(
        "Errors may have a second key, `remedy`",
        "What can be done about it. Docker's clients do not look at it.",
        (Where(path=r"\.remedy$", docker=_NO_KEY),),
    ),
    Accepted(
        "Some defaults are those of newer engines",
        "`NetworkMode` is shown as `bridge`, not `default`; more of `/proc` and `/sys` is masked; "
        "`logs` has a `Content-Type`; lists of an image's names are never null; a program that is not"
        " found is 127, also for exec; a secure computing profile is called `builtin`; the end of a "
        "container tells its `execDuration`, the layers of one their `ID`.",
        (
            Where(path=r"\.NetworkMode$", docker="^default$", carrick="^bridge$"),
            Where(path=r"\.MaskedPaths$", carrick="powercap"),
            Where("/logs", "^header.Content-Type$", _NO_KEY),
            Where(path=r"\.(RepoDigests|RepoTags|BuildCache)$", docker="^None$", carrick=r"^\[\]$"),
            Where("/exec/", r"\.ExitCode$", "^126$", "^127$"),
            Where("/info", r"\.SecurityOptions"),
            Where("/events", r"^\.container die.*\.execDuration$", _NO_KEY),
            Where("/containers/", r"\.GraphDriver\.Data\.ID$", _NO_KEY),
        ),
    ),
    Accepted(
        "Versions, builds and components are Carrick's own",
        "`/version` and `/info` name Carrick, its API 1.24 to 1.48, its drivers and what it is made "
        "of. There is no containerd, and no build cache.",
        (
            Where("/version$", ""),
            Where("/info$", r"^\.(Kernel|Containerd|Runc|Init)\w+|^\.(Server|Index|Operating|Docker)\w+"),
            Where("/info$", r"^\.(Plugins|Runtimes|RegistryConfig|DriverStatus|LiveRestoreEnabled)\b"),
            Where("/info$", r"^\.(ExecutionDriver|ID|Name|Images)$"),
            Where("/v1.23/|/v1.0/|/v0.9/|/v1/", ""),
            Where("GET unversioned /containers/", "GwPriority|DNSNames|KernelMemory"),
        ),
    ),
    Accepted(
        "An image is unpacked into one directory",
        "Its `GraphDriver.Data` names that alone, and `system df` sees no layers that it shares: on the "
        "disk it shares none. `LayersSize` is what all images take there, packed and unpacked.",
        (
            Where("/images/", r"\.GraphDriver\.Data\.\w+$", carrick=_NO_KEY),
            Where("/system/df", r"\.SharedSize$"),
            Where("/images/prune", r"^\.SpaceReclaimed$"),
        ),
    ),
    Accepted(
        "A container has its own cgroup namespace on cgroup v1 as well",
        "Docker does so on cgroup v2 alone. A container has no need to see the host's hierarchy.",
        (Where(path=r"\.CgroupnsMode$", docker="^host$", carrick="^private$"),),
    ),
    Accepted(
        "Defaults are filled in also when a request has no `HostConfig`",
        "Docker leaves `Runtime` open until the first start then.",
        (Where(path=r"\.HostConfig\.Runtime$", docker=_NO_KEY),),
    ),
    Accepted(
        "A network always shows its gateway",
        "Docker 20.10 shows it only if all of the subnet was chosen for you.",
        (Where(path=r"\.IPAM\.Config\[\d+\]\.Gateway$", docker=_NO_KEY),),
    ),
    Accepted(
        "The default network's bridge is `carrick0`, and its options do not name an MTU",
        "So that both engines can run on one host. Its MTU is that of the link to the world.",
        (Where(path=r"\.Options\.com\.docker\.network\.(bridge\.name|driver\.mtu)$"),),
    ),
    Accepted(
        "`network inspect --verbose` shows how full the pools are",
        "Under `Status`, as engines since 29 do; Docker 20.10 has nothing to say there.",
        (Where(r"verbose", r"\.Status$", _NO_KEY),),
    ),
    Accepted(
        "The filter `dangling` of networks looks at containers",
        "Docker 20.10 takes every network for dangling, also those in use.",
        (Where(r"/networks\?filters=.*dangling"),),
    ),
    Accepted(
        "What cannot work is refused at once",
        "Docker takes wrong ports, addresses, paths and references, and fails at the start, or ignores them.",
        (Where(path="^status$", docker="^20[01]", carrick="^4|^501"),),
    ),
    Accepted(
        "A stopped container is not connected to a network that does not exist",
        "Docker takes it without a word; the container can no longer be started.",
        (Where("connecting_to_nothing", "^status$", "^200", "^404"),),
    ),
    Accepted(
        "A container that was never started shows its volumes' places, and the names it was given alone",
        "Docker fills in `Source` of the list at the first start, and adds the short id to the "
        "aliases when a container is connected; Carrick does so when it has been started, for API "
        "versions before 1.45.",
        (
            Where("/containers/json", r"\.Mounts\..*\.Source$", "^$"),
            Where(r"connecting_stopped: GET /containers/cc", r"\.Aliases$", "short id", r"^\['web'\]$"),
            Where("creation", r"\.Config\.Hostname$", "<short id>", "^$"),
        ),
    ),
    Accepted(
        "A start that failed leaves no trace but its error",
        "Docker keeps the id of the sandbox and the paths of files that are no longer there.",
        (
            Where(
                r"lifecycle.ends: GET /containers/(fail|netless)|networks.ports: GET /containers/pb",
                r"(Sandbox(ID|Key)|HostsPath|HostnamePath|ResolvConfPath|LogPath|\.NetworkID)$",
            ),
        ),
    ),
    Accepted(
        "Ports and devices are written out",
        "One by one and with their protocol, also where a request had a range, no protocol, or null.",
        (Where("creation", r"\.(ExposedPorts|PortBindings)\.|\.Devices\["),),
    ),
    Accepted(
        "Options without effect are not kept, and warned about",
        "Block I/O limits by device have none here; a block I/O weight has, where the kernel has it.",
        (
            Where("creation", r"\.HostConfig\.(BlkioDevice\w+|BlkioWeight)$"),
            Where(
                "creation.host_config: POST",
                r"\.Warnings$",
                r"Block I/O|^\[\]$",
                r"^\[\]$|BlkioDeviceReadBps",
            ),
        ),
    ),
    Accepted(
        "`NetworkDisabled` is network mode `none`",
        "It is an old way to say the same.",
        (Where(r"network disabled", r"NetworkMode$|\.Networks\.none$"),),
    ),
    Accepted(
        "An image's configuration is the image's alone",
        "`commit` leaves out the names of the container and of the image it was made of (`Hostname`, "
        "`Image`). Labels that are empty are null, and the `DockerVersion` of an image made here is "
        "Carrick's.",
        (
            Where("/images/", r"^\.(Container)?Config\.(Image|Hostname)$", "busybox|short"),
            Where("/images/", r"\.Labels$", "^{}$", "^None$"),
            Where("/images/", r"^\.DockerVersion$", "^20", "^[0-9]"),
        ),
    ),
    Accepted(
        "Exec, attach and log details",
        "A failed `attach` is answered in JSON, not as a stream. `tail` counts lines of the wanted "
        "streams only. Privileged exec works here.",
        (
            Where("/attach", r"Content-Type$|^\.raw$|^\.message$"),
            Where(r"/attach/ws", "^status$", "^409", "^400"),
            Where("tail=2", "^.stream 1$", "^out 5"),
            Where(r"exec.*privileged", ""),
            Where(r"/exec/<id>/start", r"^\.(raw|stream 1)$", "already run|absent", "already run|absent"),
            Where("/logs", r"^\.(raw|text)$"),
            Where("/push", r"\.errorDetail\.code$"),
        ),
    ),
    Accepted(
        "Paths that no client asks for",
        "`OPTIONS`, doubled slashes and half a version are not found; the list of volumes wants no slash.",
        (
            Where(r"/v1?\./|/v\.1/|//json", "^status$"),
            Where("GET /volumes/$", r"\.message$"),
        ),
    ),
    Accepted(
        "A body that is missing is an empty one",
        "Where everything in it may be left out.",
        (
            Where("bad_requests", "^status$", "EOF", "^20|^404"),
            Where("/commit", "^status$", "^500", "^201"),
        ),
    ),
    Accepted(
        "The filter `expose` of containers also finds those that do not run",
        "What a container exposes does not depend on it.",
        (Where("expose"),),
    ),
    Accepted(
        "Volumes without a name have a label",
        "`com.docker.volume.anonymous`, as in newer engines; empty labels and options are null.",
        (Where("/volumes", r"\.(Labels|Options)$"),),
    ),
    Accepted(
        "Empty options of a network's address management are null",
        "They mean the same.",
        (Where("/networks/", r"\.IPAM\.Options$", "^{}$", "^None$"),),
    ),
    Accepted(
        "A container in the host's or another's network shows no sandbox and no host name of its own",
        "It has none.",
        (Where(r"networks.connecting: GET /containers/(hh|sh2)/json", r"(Sandbox(ID|Key)|Hostname)$"),),
    ),
    Accepted(
        "There is no `build`",
        "501, with a word about `buildah` and `docker buildx`.",
        (Where("POST /build$", "^status$", "", "^501"),),
    ),
    Accepted(
        "That a network is left is told once",
        "Docker tells it twice when a running container is disconnected.",
        (Where("/events of a life", r"^\.network disconnect$"),),
    ),
    Accepted(
        "That a container was paused, and that it goes on, is told once",
        "Docker tells both again when it hears of the pause from containerd after it has ended it.",
        tuple(
            Where(
                "/events of a life",
                rf"^\.container {action}$",
                rf"('status': '{action}'.*){{2}}",
                rf"^(?!.*('status': '{action}'.*){{2}}).*'status': '{action}'",
            )
            for action in ("pause", "unpause")
        ),
        at_times=True,
    ),
    Accepted(
        "Statistics hold all of the kernel's memory counters",
        "Docker passes on those that it knows.",
        (Where("/stats", r"\.memory_stats\.stats\.", _NO_KEY),),
    ),
)
