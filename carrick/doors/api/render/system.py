"""Version, info, disk usage, volumes, events and findings."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from ....engine.values import ContainerView, Event, Finding, SystemInfo
from ....host.runtime.api import Component
from ....host.runtime.volume_store import Volume
from ....model.containers import ContainerStatus
from ..routing import MAX_VERSION, MIN_VERSION, ApiVersion, version_text
from . import Json
from .times import render_time

_NAMED_OPTIONS: ApiVersion = (1, 25)
_KERNEL_MEMORY_GONE: ApiVersion = (1, 42)
_CDI: ApiVersion = (1, 46)
_BRIDGE_FILTERS_GONE: ApiVersion = (1, 50)
_NO_LEGACY_EVENT: ApiVersion = (1, 52)
_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def render_version(info: SystemInfo, release: str) -> Json:
    """Return what `version` shows; the architecture by Go's name, unlike in `info`."""
    architecture = _GO_ARCHITECTURES.get(info.architecture, info.architecture)
    details = {
        "ApiVersion": version_text(MAX_VERSION),
        "Arch": architecture,
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": info.kernel_version,
        "MinAPIVersion": version_text(MIN_VERSION),
        "Os": "linux",
    }
    return {
        "Platform": {"Name": "Carrick"},
        "Components": [
            {"Name": "Engine", "Version": release, "Details": details},
            *map(_render_component, info.components),
        ],
        "Version": release,
        "ApiVersion": version_text(MAX_VERSION),
        "MinAPIVersion": version_text(MIN_VERSION),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": info.kernel_version,
        "BuildTime": "",
    }


def _render_component(component: Component) -> Json:
    name = "docker-init" if component.name == "init" else component.name
    return {"Name": name, "Version": component.version, "Details": {"GitCommit": component.commit}}


def render_info(
    info: SystemInfo,
    containers: Sequence[ContainerView],
    images: int,
    release: str,
    now: datetime,
    version: ApiVersion = MAX_VERSION,
) -> Json:
    """Return what `info` shows, counts included."""
    document = _render_info(info, containers, images, release, now)
    if version < _BRIDGE_FILTERS_GONE:
        document |= {"BridgeNfIptables": True, "BridgeNfIp6tables": True}
        document["RegistryConfig"] |= {
            "AllowNondistributableArtifactsCIDRs": [],
            "AllowNondistributableArtifactsHostnames": [],
        }
        for name in ("ContainerdCommit", "RuncCommit", "InitCommit"):
            document[name] |= {"Expected": document[name]["ID"]}
    if version < _KERNEL_MEMORY_GONE:
        document |= {"KernelMemory": True, "KernelMemoryTCP": True}
    if version < _CDI:
        del document["CDISpecDirs"]
    if version < _NAMED_OPTIONS:
        document["SecurityOptions"] = ["seccomp"]
    return document


def _render_info(
    info: SystemInfo, containers: Sequence[ContainerView], images: int, release: str, now: datetime
) -> Json:
    states = Counter(view.state.status for view in containers)
    running = states[ContainerStatus.RUNNING] + states[ContainerStatus.RESTARTING]
    paused = states[ContainerStatus.PAUSED]
    components = {item.name: item for item in info.components}
    return {
        "ID": info.id,
        "Containers": len(containers),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(containers) - running - paused,
        "Images": images,
        "Driver": info.storage_driver,
        "DriverStatus": [["Backing Filesystem", "overlayfs"]] if info.storage_driver else [],
        "Plugins": {
            "Volume": ["local"],
            "Network": list(info.drivers),
            "Authorization": None,
            "Log": ["json-file", "local", "none"],
        },
        "MemoryLimit": True,
        "SwapLimit": True,
        "CpuCfsPeriod": True,
        "CpuCfsQuota": True,
        "CPUShares": True,
        "CPUSet": True,
        "PidsLimit": True,
        "IPv4Forwarding": True,
        "Debug": False,
        "NFd": 0,
        "OomKillDisable": info.cgroup_version == "1",
        "NGoroutines": 0,
        "SystemTime": render_time(now),
        "LoggingDriver": "json-file",
        "CgroupDriver": info.cgroup_driver,
        "CgroupVersion": info.cgroup_version,
        "NEventsListener": 0,
        "KernelVersion": info.kernel_version,
        "OperatingSystem": info.operating_system,
        "OSVersion": info.os_version,
        "OSType": "linux",
        "Architecture": info.architecture,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "IndexConfigs": {
                "docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}
            },
            "Mirrors": [],
        },
        "NCPU": info.cpus,
        "MemTotal": info.memory,
        "GenericResources": None,
        "DockerRootDir": info.root_dir,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": info.name,
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": release,
        "Runtimes": {info.runtime: {"path": info.runtime}},
        "DefaultRuntime": info.runtime,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": components["init"].program if "init" in components else "",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": _render_commit(components.get("runc")),
        "InitCommit": _render_commit(components.get("init")),
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        "CDISpecDirs": [],
        "Warnings": list(info.warnings) or None,
    }


def _render_commit(component: Component | None) -> Json:
    return {"ID": "" if component is None else component.commit or component.version}


def render_volume(volume: Volume, size: int | None = None, references: int | None = None) -> Json:
    """Return a volume; with `references`, as `system df` shows it (size -1: not known)."""
    document: Json = {
        "CreatedAt": render_time(volume.created_at),
        "Driver": volume.driver,
        "Labels": dict(volume.labels) or None,
        "Mountpoint": str(volume.mountpoint),
        "Name": volume.name,
        "Options": dict(volume.options) or None,
        "Scope": "local",
    }
    if references is not None:
        document["UsageData"] = {"RefCount": references, "Size": -1 if size is None else size}
    return document


def render_event(event: Event, version: ApiVersion) -> Json:
    """Return an event, with the legacy fields that containers and images have in older versions."""
    document: Json = {}
    if version < _NO_LEGACY_EVENT and event.type in ("container", "image"):
        document = {"status": event.action} | ({"id": event.actor_id} if event.actor_id else {})
        if event.type == "container" and "image" in event.attributes:
            document["from"] = event.attributes["image"]
    return document | {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor_id, "Attributes": dict(event.attributes)},
        "scope": event.scope,
        "time": event.time_ns // 10**9,
        "timeNano": event.time_ns,
    }


def render_findings(findings: Iterable[Finding]) -> Json:
    return {
        "findings": [
            {
                "level": finding.level,
                "subject": finding.subject,
                "problem": finding.problem,
                "remedy": finding.remedy,
            }
            for finding in findings
        ]
    }
