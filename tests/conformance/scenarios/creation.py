"""Containers that are created: what of each option comes back, and what is refused with which words."""

from typing import Any

from ..client import Client


def _create(client: Client, note: str, *, query: str = "", version: str = "/v1.41", **body: Any) -> None:
    """Create, inspect and remove a container named `made`."""
    given = {"Image": "busybox"} | body
    client.post(f"/containers/create{query or '?name=made'}", given, version=version, note=note)
    if not query:
        client.get("/containers/made/json", version=version, note=note)
        client.quiet("DELETE", "/containers/made?force=1&v=1")


def plain(client: Client) -> None:
    _create(client, "plain")
    _create(client, "plain", version="/v1.24")
    _create(client, "plain", version="/v1.30")
    _create(client, "plain", version="")
    _create(client, "no command", Image="fancy")
    _create(
        client,
        "empty lists",
        Cmd=[],
        Entrypoint=[],
        Env=[],
        Labels={},
        Volumes={},
        ExposedPorts={},
        OnBuild=[],
        Shell=[],
    )
    _create(
        client,
        "nulls",
        Cmd=None,
        Entrypoint=None,
        Env=None,
        Labels=None,
        HostConfig=None,
        NetworkingConfig=None,
    )
    _create(client, "empty parts", HostConfig={}, NetworkingConfig={})
    _create(client, "no endpoints", NetworkingConfig={"EndpointsConfig": {}})
    _create(client, "by short id", Image=client.quiet("GET", "/images/busybox/json").json["Id"][7:19])
    _create(client, "by id", Image=client.quiet("GET", "/images/busybox/json").json["Id"])
    _create(client, "by tag", Image="busybox:latest")
    _create(client, "full name", Image="docker.io/library/busybox:latest")


def config(client: Client) -> None:
    for note, body in {
        "hostname": {"Hostname": "host", "Domainname": "example.org"},
        "full hostname": {"Hostname": "host.example.org"},
        "user": {"User": "nobody:nogroup"},
        "attach": {
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "OpenStdin": True,
            "StdinOnce": True,
            "Tty": True,
        },
        "env": {"Env": ["A=1", "B=", "C", "A=2", "PATH=/x"]},
        "cmd": {"Cmd": ["echo", "a b"], "Entrypoint": ["/bin/sh", "-c"]},
        "cmd text": {"Cmd": "echo hello", "Entrypoint": "/bin/busybox"},
        "empty entrypoint": {"Cmd": ["true"], "Entrypoint": [""]},
        "labels": {"Labels": {"a": "b", "empty": "", "org.example/x": "y"}},
        "working dir": {"WorkingDir": "/srv/some/../where"},
        "volumes": {"Volumes": {"/data": {}, "/more/data": {}}},
        "exposed": {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "7/sctp": {}, "90": {}}},
        "exposed range": {"ExposedPorts": {"8000-8002/tcp": {}}},
        "stop": {"StopSignal": "SIGINT", "StopTimeout": 3},
        "stop zero": {"StopTimeout": 0},
        "network disabled": {"NetworkDisabled": True},
        "mac": {"MacAddress": "02:42:ac:11:00:77"},
        "health": {
            "Healthcheck": {
                "Test": ["CMD", "true"],
                "Interval": 10**9,
                "Timeout": 2 * 10**9,
                "StartPeriod": 3 * 10**9,
                "Retries": 4,
            }
        },
        "health none": {"Healthcheck": {"Test": ["NONE"]}},
        "health shell": {"Healthcheck": {"Test": ["CMD-SHELL", "exit 0"]}},
        "shell": {"Shell": ["/bin/ash", "-c"]},
        "on build": {"OnBuild": ["RUN true"]},
        "unknown fields": {"Nonsense": 1, "HostConfig": {"Nonsense": 2}},
        "other case": {"hostname": "lower", "hostconfig": {"memory": 16777216}},
    }.items():
        _create(client, note, **body)  # type: ignore[arg-type]
    _create(client, "env", Image="fancy", Env=["COLOUR=blue", "SIZE", "MORE=1"])
    _create(
        client,
        "over image",
        Image="fancy",
        User="root",
        WorkingDir="/",
        StopSignal="TERM",
        Labels={"mine": "1"},
        ExposedPorts={"90/tcp": {}},
        Volumes={"/mine": {}},
    )
    _create(client, "cmd over image", Image="fancy", Cmd=["true"])
    _create(client, "entrypoint over image", Image="fancy", Entrypoint=["/bin/true"])
    _create(client, "health over image", Image="fancy", Healthcheck={"Interval": 5 * 10**9})


def host_config(client: Client) -> None:
    for note, body in {
        "memory": {"Memory": 67108864},
        "memory and swap": {"Memory": 67108864, "MemorySwap": 134217728, "MemoryReservation": 33554432},
        "unlimited swap": {"Memory": 67108864, "MemorySwap": -1},
        "swappiness": {"MemorySwappiness": 10},
        "swappiness zero": {"MemorySwappiness": 0},
        "nano cpus": {"NanoCpus": 500000000},
        "cpu quota": {"CpuQuota": 50000, "CpuPeriod": 100000, "CpuShares": 512},
        "cpuset": {"CpusetCpus": "0", "CpusetMems": "0"},
        "pids": {"PidsLimit": 50},
        "pids unlimited": {"PidsLimit": -1},
        "pids zero": {"PidsLimit": 0},
        "blkio": {"BlkioWeight": 300},
        "oom": {"OomKillDisable": True, "OomScoreAdj": 100, "Memory": 67108864},
        "oom kill only": {"OomKillDisable": True},
        "ulimits": {"Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}]},
        "restart always": {"RestartPolicy": {"Name": "always"}},
        "restart on failure": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
        "restart no": {"RestartPolicy": {"Name": "no"}},
        "restart empty": {"RestartPolicy": {}},
        "restart unless stopped": {"RestartPolicy": {"Name": "unless-stopped"}},
        "auto remove": {"AutoRemove": True},
        "privileged": {"Privileged": True},
        "capabilities": {"CapAdd": ["NET_ADMIN", "CAP_SYS_TIME"], "CapDrop": ["ALL"]},
        "capabilities lower": {"CapAdd": ["net_admin"], "CapDrop": ["mknod"]},
        "security": {"SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]},
        "read only": {"ReadonlyRootfs": True},
        "init": {"Init": True},
        "init off": {"Init": False},
        "devices": {
            "Devices": [
                {"PathOnHost": "/dev/null", "PathInContainer": "/dev/zzz", "CgroupPermissions": "rw"}
            ],
            "DeviceCgroupRules": ["c 1:3 rwm"],
        },
        "groups": {"GroupAdd": ["100", "nogroup"]},
        "pid host": {"PidMode": "host"},
        "ipc": {"IpcMode": "host"},
        "ipc shareable": {"IpcMode": "shareable"},
        "ipc none": {"IpcMode": "none"},
        "uts": {"UTSMode": "host"},
        "cgroupns": {"CgroupnsMode": "host"},
        "cgroupns private": {"CgroupnsMode": "private"},
        "userns": {"UsernsMode": "host"},
        "shm": {"ShmSize": 33554432},
        "log": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}},
        "log none": {"LogConfig": {"Type": "none"}},
        "log local": {"LogConfig": {"Type": "local", "Config": {"max-size": "1m", "compress": "false"}}},
        "log default": {"LogConfig": {"Type": "", "Config": None}},
        "cgroup parent": {"CgroupParent": "/somewhere"},
        "sysctls": {"Sysctls": {"net.ipv4.ip_forward": "1"}},
        "tmpfs": {"Tmpfs": {"/scratch": "size=1m,mode=700", "/plain": ""}},
        "masked": {"MaskedPaths": [], "ReadonlyPaths": []},
        "masked some": {"MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": ["/proc/sys"]},
        "dns": {"Dns": ["192.0.2.53"], "DnsSearch": ["example.org"], "DnsOptions": ["ndots:2"]},
        "hosts": {"ExtraHosts": ["db:192.0.2.9", "gate:host-gateway"]},
        "ports": {
            "PortBindings": {
                "80/tcp": [{"HostPort": "8080"}],
                "53/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
                "81/tcp": [{"HostPort": "8081"}, {"HostPort": "8082"}],
            }
        },
        "ports empty": {"PortBindings": {}},
        "ports null": {"PortBindings": {"80/tcp": None}},
        "ports no list": {"PortBindings": {"80/tcp": []}},
        "ports without protocol": {"PortBindings": {"80": [{"HostPort": "8080"}]}},
        "ports range": {"PortBindings": {"80/tcp": [{"HostPort": "8000-8010"}]}},
        "publish all": {"PublishAllPorts": True},
        "runtime": {"Runtime": "runc"},
        "console": {"ConsoleSize": [24, 80]},
        "empty lists": {
            "Binds": [],
            "Dns": [],
            "DnsOptions": [],
            "DnsSearch": [],
            "ExtraHosts": [],
            "CapAdd": [],
            "CapDrop": [],
            "Links": [],
            "VolumesFrom": [],
            "Devices": [],
            "Ulimits": [],
            "GroupAdd": [],
            "SecurityOpt": [],
            "Mounts": [],
            "Tmpfs": {},
            "Sysctls": {},
            "DeviceCgroupRules": [],
            "DeviceRequests": [],
            "StorageOpt": {},
            "BlkioWeightDevice": [],
            "BlkioDeviceReadBps": [],
        },
        "container id file": {"ContainerIDFile": "/tmp/cid"},
        "isolation": {"Isolation": "default"},
        "volume driver": {"VolumeDriver": "local"},
        "another volume driver": {"VolumeDriver": "nonsense"},
        "consistency": {
            "Mounts": [{"Type": "tmpfs", "Target": "/t", "Consistency": "cached"}],
        },
        "io": {"BlkioDeviceReadBps": [{"Path": "/dev/null", "Rate": 1000}]},
        "realtime": {"CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0},
    }.items():
        _create(client, note, HostConfig=body)
    _create(client, "publish all of image", Image="fancy", HostConfig={"PublishAllPorts": True})
    # What the docker command sends for a plain `docker create`.
    _create(
        client,
        "as the CLI",
        Hostname="",
        Domainname="",
        User="",
        AttachStdin=False,
        AttachStdout=True,
        AttachStderr=True,
        Tty=False,
        OpenStdin=False,
        StdinOnce=False,
        Env=None,
        Cmd=["true"],
        Volumes={},
        WorkingDir="",
        Entrypoint=None,
        OnBuild=None,
        Labels={},
        HostConfig={
            "Binds": None,
            "ContainerIDFile": "",
            "LogConfig": {"Type": "", "Config": {}},
            "NetworkMode": "default",
            "PortBindings": {},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "AutoRemove": False,
            "VolumeDriver": "",
            "VolumesFrom": None,
            "CapAdd": None,
            "CapDrop": None,
            "CgroupnsMode": "",
            "Dns": [],
            "DnsOptions": [],
            "DnsSearch": [],
            "ExtraHosts": None,
            "GroupAdd": None,
            "IpcMode": "",
            "Cgroup": "",
            "Links": None,
            "OomScoreAdj": 0,
            "PidMode": "",
            "Privileged": False,
            "PublishAllPorts": False,
            "ReadonlyRootfs": False,
            "SecurityOpt": None,
            "UTSMode": "",
            "UsernsMode": "",
            "ShmSize": 0,
            "ConsoleSize": [0, 0],
            "Isolation": "",
            "CpuShares": 0,
            "Memory": 0,
            "NanoCpus": 0,
            "CgroupParent": "",
            "BlkioWeight": 0,
            "BlkioWeightDevice": [],
            "BlkioDeviceReadBps": None,
            "BlkioDeviceWriteBps": None,
            "BlkioDeviceReadIOps": None,
            "BlkioDeviceWriteIOps": None,
            "CpuPeriod": 0,
            "CpuQuota": 0,
            "CpuRealtimePeriod": 0,
            "CpuRealtimeRuntime": 0,
            "CpusetCpus": "",
            "CpusetMems": "",
            "Devices": [],
            "DeviceCgroupRules": None,
            "DeviceRequests": None,
            "KernelMemory": 0,
            "KernelMemoryTCP": 0,
            "MemoryReservation": 0,
            "MemorySwap": 0,
            "MemorySwappiness": -1,
            "OomKillDisable": False,
            "PidsLimit": 0,
            "Ulimits": None,
            "CpuCount": 0,
            "CpuPercent": 0,
            "IOMaximumIOps": 0,
            "IOMaximumBandwidth": 0,
            "MaskedPaths": None,
            "ReadonlyPaths": None,
        },
        NetworkingConfig={"EndpointsConfig": {}},
    )


def mounts(client: Client) -> None:
    for note, body in {
        "bind": {"Binds": ["/srv:/host-tmp", "/etc:/host-etc:ro"]},
        "bind propagation": {"Binds": ["/srv:/host-tmp:rslave"]},
        "bind options": {"Binds": ["/srv:/host-tmp:ro,z", "named:/data:nocopy"]},
        "named volume": {"Binds": ["named:/data", "other:/other:ro"]},
        "mount bind": {
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": "/srv",
                    "Target": "/t",
                    "ReadOnly": True,
                    "BindOptions": {"Propagation": "rslave"},
                }
            ]
        },
        "mount volume": {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "vol",
                    "Target": "/v",
                    "VolumeOptions": {
                        "NoCopy": True,
                        "Labels": {"a": "b"},
                        "DriverConfig": {"Name": "local"},
                    },
                }
            ]
        },
        "mount anonymous": {"Mounts": [{"Type": "volume", "Target": "/v"}]},
        "mount tmpfs": {
            "Mounts": [{"Type": "tmpfs", "Target": "/v", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 448}}]
        },
        "mount plain tmpfs": {"Mounts": [{"Type": "tmpfs", "Target": "/v"}]},
        "consistency": {
            "Mounts": [{"Type": "bind", "Source": "/srv", "Target": "/t", "Consistency": "cached"}]
        },
    }.items():
        _create(client, note, HostConfig=body)
    _create(client, "anonymous", Volumes={"/anon": {}})
    _create(client, "image's", Image="fancy")
    _create(client, "image's named", Image="fancy", HostConfig={"Binds": ["named:/data"]})
    client.quiet(
        "POST",
        "/containers/create?name=source",
        {
            "Image": "busybox",
            "Volumes": {"/anon": {}},
            "HostConfig": {"Binds": ["shared:/shared", "/srv:/t:ro"]},
        },
    )
    _create(client, "volumes from", HostConfig={"VolumesFrom": ["source"]})
    _create(client, "volumes from ro", HostConfig={"VolumesFrom": ["source:ro"]})
    _create(client, "volumes from none", HostConfig={"VolumesFrom": ["nobody"]})
    for note, body in {
        "relative": {"Binds": ["tmp/x:/data"]},
        "no destination": {"Binds": ["/srv"]},
        "empty": {"Binds": [""]},
        "destination relative": {"Binds": ["/srv:data"]},
        "destination root": {"Binds": ["/srv:/"]},
        "bad mode": {"Binds": ["/srv:/data:xyz"]},
        "too many": {"Binds": ["/srv:/data:ro:rw"]},
        "twice": {"Binds": ["/srv:/data", "/etc:/data"]},
        "missing source": {"Mounts": [{"Type": "bind", "Source": "/no/such/place", "Target": "/t"}]},
        "no target": {"Mounts": [{"Type": "bind", "Source": "/srv"}]},
        "no source": {"Mounts": [{"Type": "bind", "Target": "/t"}]},
        "no type": {"Mounts": [{"Source": "/srv", "Target": "/t"}]},
        "bad type": {"Mounts": [{"Type": "nonsense", "Target": "/t"}]},
        "tmpfs with source": {"Mounts": [{"Type": "tmpfs", "Source": "/x", "Target": "/t"}]},
        "wrong options": {
            "Mounts": [{"Type": "bind", "Source": "/srv", "Target": "/t", "VolumeOptions": {"NoCopy": True}}]
        },
        "bad propagation": {
            "Mounts": [
                {"Type": "bind", "Source": "/srv", "Target": "/t", "BindOptions": {"Propagation": "xyz"}}
            ]
        },
        "bad volume name": {"Binds": ["a!b:/data"]},
        "bad tmpfs": {"Tmpfs": {"relative": ""}},
        "bad tmpfs option": {"Tmpfs": {"/t": "nonsense=1"}},
    }.items():
        _create(client, note, HostConfig=body)
    _create(client, "bad volume", Volumes={"relative": {}})
    _create(client, "root volume", Volumes={"/": {}})


def networking(client: Client) -> None:
    client.quiet(
        "POST",
        "/networks/create",
        {
            "Name": "net1",
            "IPAM": {"Config": [{"Subnet": "10.77.0.0/24", "Gateway": "10.77.0.1"}]},
        },
    )
    client.quiet("POST", "/containers/create?name=other", {"Image": "busybox"})
    endpoint = {
        "IPAMConfig": {"IPv4Address": "10.77.0.9", "LinkLocalIPs": ["169.254.34.68"]},
        "Aliases": ["one", "two"],
        "Links": ["other:o"],
        "DriverOpts": {"a": "b"},
    }
    for note, mode, endpoints in (
        ("bridge", "bridge", {}),
        ("default", "default", {}),
        ("host", "host", {}),
        ("none", "none", {}),
        ("own", "net1", {}),
        ("container", "container:other", {}),
        ("endpoint", "net1", {"net1": {"IPAMConfig": endpoint["IPAMConfig"], "Aliases": ["one", "two"]}}),
        ("empty endpoint", "net1", {"net1": {}}),
        ("null endpoint", "net1", {"net1": None}),
        ("driver options", "net1", {"net1": {"DriverOpts": {"a": "b"}}}),
        ("links", "net1", {"net1": {"Links": ["other:o"]}}),
        ("endpoint of default", "default", {"default": {}}),
        ("endpoint by bridge", "default", {"bridge": {}}),
        ("other than mode", "bridge", {"net1": {}}),
        ("two endpoints", "net1", {"net1": {}, "bridge": {}}),
        ("unknown network", "nowhere", {}),
        ("unknown endpoint", "bridge", {"nowhere": {}}),
        ("unknown container", "container:nobody", {}),
        ("container without name", "container:", {}),
        ("alias on default", "bridge", {"bridge": {"Aliases": ["x"]}}),
        ("address on default", "bridge", {"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}}),
        ("bad address", "net1", {"net1": {"IPAMConfig": {"IPv4Address": "nonsense"}}}),
        ("address elsewhere", "net1", {"net1": {"IPAMConfig": {"IPv4Address": "192.0.2.1"}}}),
        ("bad address6", "net1", {"net1": {"IPAMConfig": {"IPv6Address": "10.1.1.1"}}}),
        ("bad link local", "net1", {"net1": {"IPAMConfig": {"LinkLocalIPs": ["x"]}}}),
        ("endpoint mac", "net1", {"net1": {"MacAddress": "02:42:ac:11:00:99"}}),
    ):
        _create(
            client, note, HostConfig={"NetworkMode": mode}, NetworkingConfig={"EndpointsConfig": endpoints}
        )
    _create(client, "legacy links", HostConfig={"Links": ["other:o", "other"]})
    _create(client, "links to nobody", HostConfig={"Links": ["nobody:o"]})
    _create(client, "bad link", HostConfig={"Links": ["a:b:c"]})


def conflicts(client: Client) -> None:
    for note, mode, config, host in (
        ("hostname", "container:x1", {"Hostname": "h"}, {}),
        ("ports", "container:x1", {}, {"PortBindings": {"80/tcp": [{"HostPort": "1"}]}}),
        ("publish all", "container:x1", {}, {"PublishAllPorts": True}),
        ("exposed", "container:x1", {"ExposedPorts": {"80/tcp": {}}}, {}),
        ("dns", "container:x1", {}, {"Dns": ["192.0.2.1"]}),
        ("hosts", "container:x1", {}, {"ExtraHosts": ["a:192.0.2.1"]}),
        ("links", "container:x1", {}, {"Links": ["a:b"]}),
        ("mac", "container:x1", {"MacAddress": "02:42:ac:11:00:99"}, {}),
        ("host links", "host", {}, {"Links": ["a:b"]}),
        ("host mac", "host", {"MacAddress": "02:42:ac:11:00:99"}, {}),
        ("host ports", "host", {}, {"PortBindings": {"80/tcp": [{"HostPort": "1"}]}}),
        ("host hostname", "host", {"Hostname": "mine"}, {}),
        ("uts", "bridge", {"Hostname": "h"}, {"UTSMode": "host"}),
        ("auto remove and restart", "bridge", {}, {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}),
        ("none and ports", "none", {}, {"PortBindings": {"80/tcp": [{"HostPort": "1"}]}}),
    ):
        _create(client, note, **config, HostConfig={"NetworkMode": mode} | host)


def refused(client: Client) -> None:
    _create(client, "no image", Image="")
    _create(client, "unknown image", Image="no-such-image")
    _create(client, "unknown tag", Image="busybox:no-such-tag")
    _create(client, "bad image", Image="UPPER case")
    _create(client, "no command", Cmd=None, Image="busybox", Entrypoint=[""])
    for name in ("a", "a b", "-aa", "a/b", "/aa", "%C3%A4%C3%B6", "aa!", "a" * 300):
        _create(client, "name", query=f"?name={name}")
    client.quiet("POST", "/containers/create?name=taken", {"Image": "busybox"})
    _create(client, "name taken", query="?name=taken")
    for note, config in {
        "relative directory": {"WorkingDir": "srv"},
        "environment": {"Env": ["=x"]},
        "empty environment": {"Env": [""]},
        "mac": {"MacAddress": "nonsense"},
        "port": {"ExposedPorts": {"abc": {}}},
        "port protocol": {"ExposedPorts": {"80/xyz": {}}},
        "port too big": {"ExposedPorts": {"70000/tcp": {}}},
        "stop signal": {"StopSignal": "NONSENSE"},
        "health interval": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 100}},
        "health negative": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": -1}},
        "health timeout": {"Healthcheck": {"Test": ["CMD", "true"], "Timeout": 100}},
        "health retries": {"Healthcheck": {"Test": ["CMD", "true"], "Retries": -1}},
        "health start": {"Healthcheck": {"Test": ["CMD", "true"], "StartPeriod": 5}},
        "health test": {"Healthcheck": {"Test": ["NONSENSE", "true"]}},
    }.items():
        _create(client, note, **config)  # type: ignore[arg-type]
    for note, host in {
        "little memory": {"Memory": 1000},
        "negative memory": {"Memory": -5},
        "swap without memory": {"MemorySwap": 100000000},
        "swap below memory": {"Memory": 67108864, "MemorySwap": 33554432},
        "reservation above memory": {"Memory": 33554432, "MemoryReservation": 67108864},
        "little reservation": {"MemoryReservation": 1000},
        "swappiness": {"MemorySwappiness": 200},
        "nano cpus": {"NanoCpus": 10**15},
        "negative cpus": {"NanoCpus": -1},
        "nano and quota": {"NanoCpus": 10**9, "CpuQuota": 50000},
        "nano and period": {"NanoCpus": 10**9, "CpuPeriod": 50000},
        "period": {"CpuPeriod": 10},
        "quota": {"CpuQuota": 10},
        "cpuset": {"CpusetCpus": "nonsense"},
        "cpuset far": {"CpusetCpus": "500"},
        "cpuset mems": {"CpusetMems": "500"},
        "shares": {"CpuShares": -1},
        "blkio": {"BlkioWeight": 5},
        "oom score": {"OomScoreAdj": 5000},
        "shm": {"ShmSize": -1},
        "restart name": {"RestartPolicy": {"Name": "sometimes"}},
        "restart count": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}},
        "restart negative": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -1}},
        "capability": {"CapAdd": ["NONSENSE"]},
        "capability dropped": {"CapDrop": ["NONSENSE"]},
        "log driver": {"LogConfig": {"Type": "nonsense"}},
        "log option": {"LogConfig": {"Type": "json-file", "Config": {"nonsense": "1"}}},
        "log option of local": {"LogConfig": {"Type": "local", "Config": {"tag": "t"}}},
        "volume driver": {"VolumeDriver": "nonsense", "Binds": ["vol:/v"]},
        "volumes of nobody": {"VolumesFrom": ["nobody"]},
        "link to nobody": {"Links": ["nobody:x"]},
        "log size": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "abc"}}},
        "log files": {"LogConfig": {"Type": "json-file", "Config": {"max-file": "0"}}},
        "runtime": {"Runtime": "nonsense"},
        "ipc mode": {"IpcMode": "nonsense"},
        "pid mode": {"PidMode": "nonsense"},
        "uts mode": {"UTSMode": "nonsense"},
        "userns mode": {"UsernsMode": "nonsense"},
        "cgroupns mode": {"CgroupnsMode": "nonsense"},
        "pid of nobody": {"PidMode": "container:nobody"},
        "ipc of nobody": {"IpcMode": "container:nobody"},
        "isolation": {"Isolation": "hyperv"},
        "dns": {"Dns": ["nonsense"]},
        "hosts": {"ExtraHosts": ["nonsense"]},
        "hosts address": {"ExtraHosts": ["a:nonsense"]},
        "sysctl": {"Sysctls": {"kernel.nonsense": "1"}},
        "sysctl on host": {"NetworkMode": "host", "Sysctls": {"net.ipv4.ip_forward": "1"}},
        "port binding": {"PortBindings": {"80/tcp": [{"HostPort": "abc"}]}},
        "port binding big": {"PortBindings": {"80/tcp": [{"HostPort": "70000"}]}},
        "port binding address": {"PortBindings": {"80/tcp": [{"HostIp": "nonsense", "HostPort": "80"}]}},
        "port binding key": {"PortBindings": {"abc/tcp": [{"HostPort": "80"}]}},
        "port binding protocol": {"PortBindings": {"80/xyz": [{"HostPort": "80"}]}},
        "ulimit": {"Ulimits": [{"Name": "nonsense", "Soft": 1, "Hard": 1}]},
        "ulimit order": {"Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 1}]},
        "device": {"Devices": [{"PathOnHost": "/dev/no-such"}]},
        "device rule": {"DeviceCgroupRules": ["nonsense"]},
        "security": {"SecurityOpt": ["nonsense"]},
        "seccomp": {"SecurityOpt": ["seccomp=nonsense"]},
        "device requests": {"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]},
        "storage": {"StorageOpt": {"size": "1G"}},
    }.items():
        _create(client, note, HostConfig=host)
