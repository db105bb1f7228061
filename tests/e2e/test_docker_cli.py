"""The ordinary day of every command of the real `docker` client, for each client that is installed."""

import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.testing.daemon import HOST4, OUTSIDE, Daemon, eventually
from carrick.testing.inventory import settle
from carrick.testing.machine import Result
from carrick.testing.terminal import Terminal

# Debian's (20.10), and a newer one beside it where somebody has put it.
_CLIENTS = [path for path in ("/usr/bin/docker", "/usr/local/bin/docker") if os.access(path, os.X_OK)]
_ID = re.compile(r"[0-9a-f]{64}")


class Docker:
    """A client, pointed at a daemon."""

    def __init__(self, path: str, daemon: Daemon, home: Path) -> None:
        self.path = path
        self.daemon = daemon
        self.environment = {
            **daemon.environment,
            "HOME": str(home),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DOCKER_CLI_HINTS": "false",
        }
        version = self("version --format {{.Client.Version}}").split(".")
        self.major = int(version[0])

    def run(self, line: str, *more: str, input: str | None = None) -> Result:
        """Give a command: the words of `line`, and `more` as they are."""
        words = [self.path, *line.split(), *more]
        done = subprocess.run(
            words,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
            env=self.environment,
        )
        return Result(tuple(words), done.returncode, done.stdout.rstrip("\n"), done.stderr.rstrip("\n"))

    def __call__(self, line: str, *more: str, input: str | None = None) -> str:
        """Give a command that must succeed; return what it prints."""
        result = self.run(line, *more, input=input)
        assert result.code == 0, f"{result}\n--- log:\n{self.daemon.log_text()[-3000:]}"
        return result.out

    def refused(self, line: str, *more: str, code: int = 1) -> str:
        """Give a command that must fail; return what it says."""
        result = self.run(line, *more)
        assert result.code == code, f"exit code {code} was expected\n{result}"
        return result.err

    def lines(self, line: str, *more: str) -> list[str]:
        return self(line, *more).splitlines()

    def sh(self, options: str, script: str) -> str:
        """Run a script in a container of its own; return what it prints."""
        return self(f"run --rm {options} busybox sh -c", script)

    def sleeper(self, name: str, options: str = "") -> str:
        return self(f"run -d --name {name} --stop-signal KILL {options} busybox sleep 1d")

    def inspect(self, name: str, template: str) -> str:
        return self("inspect -f", template, name)

    def terminal(self, *words: str) -> Terminal:
        return Terminal([self.path, *words], self.environment)


def test_a_client_is_installed() -> None:
    assert _CLIENTS, "no docker client is installed: apt-get install docker.io"


@pytest.fixture(scope="module", params=_CLIENTS)
def client(request: pytest.FixtureRequest, host: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Docker:
    return Docker(request.param, host, tmp_path_factory.mktemp("home"))


@pytest.fixture
def docker(client: Docker, daemon: Daemon) -> Iterator[Docker]:
    yield client
    daemon.remove_all()
    daemon.api.post('/volumes/prune?filters={"all":["1"]}')


# --- running ----------------------------------------------------------------------------------


def test_versions(docker: Docker) -> None:
    version = json.loads(docker("version --format", "{{json .}}"))
    assert version["Server"]["ApiVersion"] == "1.48" and version["Server"]["MinAPIVersion"] == "1.24"
    info = json.loads(docker("info --format", "{{json .}}"))
    assert info["ContainersRunning"] == 0 and info["Swarm"]["LocalNodeState"] == "inactive"
    assert "Server Version" in docker("info")


def test_exit_codes(docker: Docker) -> None:
    assert docker("run --rm busybox echo hello") == "hello"
    docker.refused("run --rm busybox sh -c", "exit 7", code=7)
    assert "executable file not found in $PATH" in docker.refused("run --rm busybox nosuch", code=127)
    assert "permission denied" in docker.refused("run --rm busybox /etc/passwd", code=126)
    assert "unknown flag" in docker.refused("run --nosuch busybox", code=125)
    assert "No such image" in docker.refused("run --pull never nosuch:1", code=125)
    docker.sleeper("one")
    assert "is already in use by container" in docker.refused("run --name one busybox", code=125)
    assert "only [a-zA-Z0-9]" in docker.refused("create --name a/b busybox")
    assert docker("ps -aq --no-trunc").count("\n") == 0, "only `one` is left of all these"


def test_what_a_process_is_given(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=1\n# a comment\n")
    seen = docker.sh(
        "-e A=1 -w /made/here -u 1000:1001 --group-add 33 --hostname hn --domainname dn.org --init "
        f"--env-file {tmp_path}/env --tmpfs /scratch:size=1m,mode=1777 --oom-score-adj 500 --read-only "
        "--cap-drop ALL --cap-add NET_RAW --security-opt no-new-privileges --ulimit nofile=100:200 "
        "--sysctl net.ipv4.ip_forward=0 --shm-size 1m --device /dev/null:/dev/xnull",
        "echo $A $FROM_FILE; pwd; id; hostname -f; cat /proc/1/comm; echo x >/scratch/f && ls /scratch;"
        "touch /x 2>&1; cat /proc/self/oom_score_adj; grep -E 'CapBnd|NoNewPrivs' /proc/self/status;"
        "ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_forward; df -k /dev/shm | tail -1; ls /dev/xnull",
    ).splitlines()
    assert seen[:2] + seen[3:6] == ["1 1", "/made/here", "hn.dn.org", "docker-init", "f"]
    assert seen[2].startswith("uid=1000 gid=1001") and "33" in seen[2]
    assert seen[6] == "touch: /x: Read-only file system"
    assert seen[7] == "500"
    assert [line.split()[1] for line in seen[8:10]] == ["0000000000002000", "1"]
    assert seen[10:13] == ["100", "200", "0"]
    assert seen[13].split()[1] == "1024" and seen[14] == "/dev/xnull"
    assert docker("run --rm --entrypoint echo busybox a b") == "a b"
    assert docker("run --rm -i busybox cat", input="typed\n") == "typed"
    assert docker("run --rm exposing sh -c", "echo $COLOUR") == "red"
    assert docker("run --rm --platform linux/amd64 busybox uname -m") == "x86_64"
    assert docker.sh("--privileged", "ls /dev/mem /dev/kmsg | wc -l") != "0"
    assert docker("run --rm -a stderr busybox sh -c", "echo out; echo err >&2") == ""


def test_limits(docker: Docker) -> None:
    name = "small"
    docker.sleeper(name, "-m 64m --memory-swap 128m --memory-reservation 32m --cpus 0.5 --pids-limit 20")
    config = json.loads(docker.inspect(name, "{{json .HostConfig}}"))
    assert config["Memory"] == 64 << 20 and config["MemorySwap"] == 128 << 20
    assert config["NanoCpus"] == 5 * 10**8 and config["PidsLimit"] == 20
    read = docker("exec small cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes")
    assert read.split() == ["20", str(64 << 20)]
    assert docker(f"update --memory 96m --memory-swap 192m --pids-limit 30 --restart always {name}") == name
    read = docker("exec small cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes")
    assert read.split() == ["30", str(96 << 20)]
    assert docker.inspect(name, "{{.HostConfig.RestartPolicy.Name}}") == "always"
    assert "Minimum memory limit allowed is 6MB" in docker.refused("run -m 1m busybox", code=125)
    assert "restart policy" in docker.refused("run --restart bogus busybox", code=125)


def test_what_is_kept_in_the_configuration(docker: Docker, tmp_path: Path) -> None:
    docker(
        f"run -d --name kept --cidfile {tmp_path}/cid --label a=b --label c --stop-signal INT "
        "--stop-timeout 3 --restart on-failure:2 --log-opt max-size=1m --log-opt max-file=2 busybox sleep 1d"
    )
    assert (tmp_path / "cid").read_text() == docker.inspect("kept", "{{.Id}}")
    assert "container ID file found" in docker.refused(f"run --cidfile {tmp_path}/cid busybox", code=125)
    config = json.loads(docker.inspect("kept", "{{json .Config}}"))
    assert config["Labels"] == {"a": "b", "c": ""}
    assert (config["StopSignal"], config["StopTimeout"]) == ("INT", 3)
    host = json.loads(docker.inspect("kept", "{{json .HostConfig}}"))
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "2", "max-size": "1m"}}
    assert docker.inspect("kept", "{{.State.Status}} {{.Name}} {{.RestartCount}}") == "running /kept 0"
    assert docker("inspect -s -f", "{{.SizeRootFs}}", "kept") != "0"
    assert "map has no entry" in docker.refused("inspect -f", "{{.Nope}}", "kept")
    assert "o such object: nosuch" in docker.refused("inspect nosuch")


def test_namespaces_of_others(docker: Docker) -> None:
    docker.sleeper("donor", "--ipc shareable --hostname donor")
    assert "sleep 1d" in docker("run --rm --pid container:donor busybox ps")
    assert docker.sh("--pid host", "ls /proc/1/comm") == "/proc/1/comm"
    mine = docker("exec donor readlink /proc/self/ns/ipc")
    assert docker("run --rm --ipc container:donor busybox readlink /proc/self/ns/ipc") == mine
    assert docker("run --rm --ipc host busybox readlink /proc/self/ns/ipc") != mine
    assert docker("run --rm --uts host busybox hostname") == docker.daemon.machine.do("hostname").strip()
    assert "eth0" in docker("run --rm --network container:donor busybox ip -o -4 addr")
    assert "uplink" in docker("run --rm --network host busybox ip -o link")
    assert docker("run --rm --network none busybox ip -o link").count("\n") == 0
    assert "conflicting options" in docker.refused("run --network container:donor -p 80:80 busybox", code=125)


# --- mounts, volumes and files ----------------------------------------------------------------


def test_mounts(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    assert docker.sh("-v data:/data", "echo kept >/data/f") == ""
    assert docker("run --rm -v data:/data:ro busybox cat /data/f") == "kept"
    assert "Read-only" in docker.refused("run --rm -v data:/data:ro busybox touch /data/g")
    assert docker.sh(f"-v {tmp_path}:/b", "touch /b/new; cat /b/file") == "from the host"
    assert (tmp_path / "new").exists()
    assert docker("run --rm -v", f"{tmp_path}/made/by/v:/b", "busybox", "ls", "/b") == ""
    assert (tmp_path / "made/by/v").is_dir()
    bind = f"type=bind,src={tmp_path},dst=/b,readonly"
    assert "Read-only" in docker.refused("run --rm --mount", bind, "busybox", "touch", "/b/x")
    assert "bind source path does not exist" in docker.refused(
        "run --mount type=bind,src=/nosuch,dst=/b busybox", code=125
    )
    seen = docker.sh("--mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770", "mount | grep ' /t '")
    assert "size=1024k,mode=1770" in seen
    assert "Duplicate mount point: /a" in docker.refused("run -v x1:/a -v x2:/a busybox", code=125)
    # An image's files come up into a new, empty volume, unless that is not wanted.
    assert "passwd" in docker("run --rm -v etc:/etc busybox ls /etc")
    assert docker("run --rm -v etc:/x busybox ls /x/passwd") == "/x/passwd"
    assert "passwd" in docker("run --rm -v other:/etc busybox ls /etc")
    # An anonymous volume goes with `--rm`, a named one stays; another's are had with --volumes-from.
    docker.sleeper("owner", "-v /anonymous -v data:/data")
    assert docker("run --rm --volumes-from owner:ro busybox cat /data/f") == "kept"
    assert len(docker.lines("volume ls -q")) == 4
    docker("rm -fv owner")
    assert docker.lines("volume ls -q") == ["data", "etc", "other"]


def test_volumes(docker: Docker, tmp_path: Path) -> None:
    assert docker("volume create --label a=b one") == "one"
    assert docker("volume create one") == "one", "again is no error"
    assert _ID.fullmatch(docker("volume create"))
    assert docker("volume inspect one -f", "{{.Name}} {{.Driver}} {{.Labels}}") == "one local map[a:b]"
    assert docker.lines("volume ls -q -f label=a") == ["one"]
    assert "no such volume" in docker.refused("volume rm nosuch").lower()
    assert "includes invalid characters" in docker.refused("volume create", "bad name")
    assert 'plugin "bogus" not found' in docker.refused("volume create -d bogus two")
    docker.sleeper("user", "-v one:/one")
    assert "volume is in use" in docker.refused("volume rm one")
    assert docker.lines("volume ls -q -f dangling=false") == ["one"]
    docker("rm -f user")
    docker("volume prune -f")
    # Since 1.42 only anonymous volumes are pruned, unless all are meant.
    assert docker.lines("volume ls -q") == (["one"] if docker.major > 20 else [])
    docker("volume create one")
    assert docker("volume rm one") == "one"
    # Options of the local driver: what they name is mounted while somebody uses it.
    docker("volume create -o type=tmpfs -o device=tmpfs -o o=size=1m ram")
    place = docker("volume inspect ram -f {{.Mountpoint}}")
    docker.sleeper("first", "-v ram:/ram")
    assert "tmpfs" in docker("exec first sh -c", "mount | grep ' /ram '; echo shared >/ram/f")
    assert docker("run --rm -v ram:/ram busybox cat /ram/f") == "shared"
    assert place in docker.daemon.machine.do("cat", "/proc/self/mounts"), "the first one still uses it"
    docker("rm -f first")
    assert place not in docker.daemon.machine.do("cat", "/proc/self/mounts")
    (tmp_path / "there").write_text("bound")
    docker(f"volume create -o type=none -o o=bind -o device={tmp_path} bound")
    assert docker("run --rm -v bound:/b busybox cat /b/there") == "bound"
    docker("volume rm ram bound")
    assert (tmp_path / "there").exists(), "what is behind it is not removed"


def test_cp(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello\n")
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/leaf").write_text("leaf\n")
    docker.sleeper("box")
    for source, target, found in (
        ("f", "/", "/f"),
        ("f", "/renamed", "/renamed"),
        ("tree", "/", "/tree/sub/leaf"),
        ("tree", "/other", "/other/sub/leaf"),
        ("tree/.", "/tmp", "/tmp/sub/leaf"),
    ):
        docker(f"cp {tmp_path}/{source} box:{target}")
        assert docker(f"exec box cat {found}") in {"hello", "leaf"}
    docker(f"cp box:/tree {tmp_path}/back")
    assert (tmp_path / "back/sub/leaf").read_text() == "leaf\n"
    # Standard output and input carry tar archives.
    script = f"{docker.path} cp box:/f - | tar xO; tar c -C {tmp_path} f | {docker.path} cp - box:/var"
    done = subprocess.run(
        ["sh", "-c", script], env=docker.environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "hello\n" and docker("exec box cat /var/f") == "hello"
    assert "no such directory" in docker.refused(f"cp {tmp_path}/f box:/nosuch/")
    missing = docker.refused(f"cp box:/nosuch {tmp_path}")
    # The older client makes up a message of its own.
    assert "Could not find the file /nosuch" in missing or "No such container:path: box:/nosuch" in missing
    assert "copying between containers is not supported" in docker.refused("cp box:/f box:/g")
    # A link is followed only when asked for, and never out of the container.
    docker("exec box ln -s ../../../../../../etc/passwd /escape")
    docker(f"cp -L box:/escape {tmp_path}/passwd")
    assert (tmp_path / "passwd").read_text() == docker("exec box cat /etc/passwd") + "\n"
    docker("exec box ln -s f /link")
    docker(f"cp box:/link {tmp_path}/link")
    assert (tmp_path / "link").is_symlink()
    # Also with one that does not run, and into a volume; not into what is read-only.
    docker("create --name still -v kept:/kept busybox true")
    docker(f"cp {tmp_path}/f still:/kept/")
    assert docker("run --rm -v kept:/k busybox cat /k/f") == "hello"
    docker.sleeper("readonly", "-v kept:/kept:ro")
    assert "mounted volume is marked read-only" in docker.refused(f"cp {tmp_path}/f readonly:/kept/")
    docker.sleeper("sealed", "--read-only")
    assert "container rootfs is marked read-only" in docker.refused(f"cp {tmp_path}/f sealed:/")


# --- networking -------------------------------------------------------------------------------


def test_ports(docker: Docker) -> None:
    docker(
        "run -d --name web --stop-signal KILL -p 8080:80 -p 127.0.0.1:8081:81/udp -p 8082-8083:82-83 "
        "-p 127.0.0.1::84 busybox sh -c",
        "echo 'It works!' >/var/www/index.html; exec httpd -f -h /var/www",
    )
    shown = sorted(docker.lines("port web"))
    chosen = next(line for line in shown if line.startswith("84"))
    assert re.fullmatch(r"84/tcp -> 127\.0\.0\.1:\d+", chosen)
    assert [line for line in shown if "::" not in line and line is not chosen] == [
        "80/tcp -> 0.0.0.0:8080",
        "81/udp -> 127.0.0.1:8081",
        "82/tcp -> 0.0.0.0:8082",
        "83/tcp -> 0.0.0.0:8083",
    ]
    assert "0.0.0.0:8080" in docker("port web 80")
    assert "No public port '90" in docker.refused("port web 90")
    eventually(lambda: docker.daemon.answers("http://127.0.0.1:8080/"))
    assert docker.daemon.fetch(f"http://{HOST4}:8080/", netns=OUTSIDE) == "It works!"
    assert docker(f"run --rm busybox wget -qO- http://{HOST4}:8080/") == "It works!"
    row = docker("ps --format {{.Ports}}")
    assert "0.0.0.0:8080->80/tcp" in row and "127.0.0.1:8081->81/udp" in row
    assert "port is already allocated" in docker.refused("run -p 8080:80 busybox", code=125)
    docker("run -d --name all -P --stop-signal KILL exposing")
    assert {line.split()[0] for line in docker.lines("port all")} == {
        "80/tcp", "53/udp", "8000/tcp", "8001/tcp",
    }  # fmt: skip
    docker.sleeper("told", "--expose 99-100 --expose 5/udp")
    assert docker("ps -f name=told --format {{.Ports}}") == "5/udp, 99-100/tcp"
    docker.sleeper("chosen", "-p 8080-8090:80")
    assert "0.0.0.0:8081" in docker("port chosen 80")


def test_names_and_addresses(docker: Docker) -> None:
    docker("network create --subnet 10.90.0.0/24 back")
    docker.sleeper("db", "--network back --ip 10.90.0.7 --network-alias database --expose 5432 -e WHO=db")
    seen = docker.sh(
        "--network back --add-host a:1.2.3.4 --add-host gw:host-gateway --link db:linked",
        "ping -c1 database | head -1; ping -c1 linked | head -1; cat /etc/hosts",
    )
    assert "PING database (10.90.0.7)" in seen and "PING linked (10.90.0.7)" in seen
    assert "1.2.3.4\ta" in seen and "\tgw" in seen
    options = "--network back --dns 192.0.2.53 --dns-search x.org --dns-option ndots:3"
    seen = docker(f"run --rm {options} busybox cat /etc/resolv.conf")
    assert "nameserver 127.0.0.11" in seen and "search x.org" in seen and "ndots:3" in seen
    assert "Address already in use" in docker.refused("run --network back --ip 10.90.0.7 busybox", code=125)
    if docker.major > 20:  # the older client does not even send it
        told = docker.refused("run --ip 172.17.0.9 busybox", code=125)
        assert "user-specified IP address is supported on user-defined networks only" in told
    # On the default network links give variables, too.
    docker.sleeper("old", "--expose 5432 -e WHO=old")
    seen = docker.sh("--link old:db", "env; ping -c1 db | head -1")
    address = docker.inspect("old", "{{.NetworkSettings.IPAddress}}")
    assert f"DB_PORT_5432_TCP_ADDR={address}" in seen and "DB_ENV_WHO=old" in seen
    assert f"PING db ({address})" in seen


def test_networks(docker: Docker) -> None:
    assert docker.lines("network ls --format", "{{.Name}} {{.Driver}} {{.Scope}}") == [
        "bridge bridge local",
        "host host local",
        "none null local",
    ]
    assert _ID.fullmatch(
        docker(
            "network create --subnet 10.91.0.0/24 --gateway 10.91.0.254 --ip-range 10.91.0.128/25 "
            "--aux-address printer=10.91.0.5 --label tier=back --attachable "
            "-o com.docker.network.driver.mtu=1400 full"
        )
    )
    full = json.loads(docker("network inspect full"))[0]
    assert full["IPAM"]["Config"] == [
        {
            "Subnet": "10.91.0.0/24",
            "IPRange": "10.91.0.128/25",
            "Gateway": "10.91.0.254",
            "AuxiliaryAddresses": {"printer": "10.91.0.5"},
        }
    ]
    assert full["Attachable"] and full["Labels"] == {"tier": "back"}
    docker("network create --internal inside")
    assert "already exists" in docker.refused("network create full")
    assert "Pool overlaps" in docker.refused("network create --subnet 10.91.0.0/25 again")
    assert "predefined host network" in docker.refused("network create host")
    # A configuration is no network; networks are made of it.
    docker("network create --config-only --subnet 10.92.0.0/24 -o com.docker.network.driver.mtu=1300 plan")
    docker("network create --config-from plan made")
    made = json.loads(docker("network inspect made"))[0]
    assert made["ConfigFrom"] == {"Network": "plan"} and made["IPAM"]["Config"][0]["Subnet"] == "10.92.0.0/24"
    assert docker("network inspect plan -f", "{{.ConfigOnly}} {{.Driver}}") == "true null"
    assert 'configuration network "plan" is in use' in docker.refused("network rm plan")
    assert "mtu 1300" in docker("run --rm --network made busybox ip link show eth0")
    assert "configuration-only network" in docker.refused("run --network plan busybox", code=125)
    for options, names in (
        ("-f driver=bridge -f type=custom", ["full", "inside", "made"]),
        ("-f label=tier=back", ["full"]),
        ("-f name=^in", ["inside"]),
        ("-f dangling=false", ["bridge", "host", "none"]),
        ("-f scope=swarm", []),
    ):
        assert docker.lines(f"network ls {options} --format {{{{.Name}}}}") == names, options
    # Plug in and out, while it runs and while it does not.
    docker.sleeper("moving", "--network full")
    docker("network connect --alias other inside moving")
    assert "already exists in network" in docker.refused("network connect inside moving")
    assert docker("exec moving ip -o -4 addr").count("eth") == 4
    shown = docker("network inspect inside -f", "{{range .Containers}}{{.Name}}{{end}}")
    assert shown == "moving"
    assert "has active endpoints" in docker.refused("network rm full")
    docker("network disconnect full moving")
    assert "is not connected to network full" in docker.refused("network disconnect full moving")
    docker("stop moving")
    docker("network connect full moving")
    docker("start moving")
    assert docker("exec moving ip -o -4 addr").count("eth") == 4
    assert "not found" in docker.refused("network connect nosuch moving")
    assert "No such container" in docker.refused("network connect full nosuch")
    assert docker.lines("network prune -f") == ["Deleted Networks:", "made"]
    docker("rm -f moving")
    assert docker.lines("network rm full inside plan") == ["full", "inside", "plan"]
    assert "is a pre-defined network and cannot be removed" in docker.refused("network rm bridge")


# --- looking ----------------------------------------------------------------------------------


def test_ps(docker: Docker) -> None:
    docker.sleeper("first", "--label tier=front -p 8080:80 -v data:/data")
    docker.sleeper("second", "--label tier=back --expose 99")
    docker.refused("run --name ended busybox sh -c", "exit 3", code=3)
    docker("create --name fresh busybox true")
    docker("pause second")
    for options, names in (
        ("", ["second", "first"]),
        ("-a", ["fresh", "ended", "second", "first"]),
        ("-l", ["fresh"]),
        ("-n 2", ["fresh", "ended"]),
        ("-f name=fir", ["first"]),
        ("-f name=^/second$", ["second"]),
        ("-f status=paused", ["second"]),
        ("-f status=exited", ["ended"]),
        ("-f status=created", ["fresh"]),
        ("-a -f exited=3", ["ended"]),
        ("-a -f exited=0", []),
        ("-f label=tier", ["second", "first"]),
        ("-f label=tier=front", ["first"]),
        ("-f publish=8080", ["first"]),
        ("-f publish=8000-8100/tcp", ["first"]),
        ("-f expose=99", ["second"]),
        ("-f network=bridge", ["second", "first"]),
        ("-f network=nosuch", []),
        ("-f volume=data", ["first"]),
        ("-f volume=/data", ["first"]),
        ("-a -f ancestor=busybox", ["fresh", "ended", "second", "first"]),
        ("-a -f ancestor=exposing", []),
        ("-a -f before=second", ["first"]),
        ("-a -f since=second", ["fresh", "ended"]),
        ("-f health=none", ["second", "first"]),
        ("-f is-task=true", []),
    ):
        assert docker.lines(f"ps {options} --format {{{{.Names}}}}") == names, options
    for options in ("status=bogus", "health=bogus", "exited=x", "bogus=1", "since=nosuch"):
        docker.refused(f"ps -f {options}")
    rows = docker.lines("ps -a")
    assert rows[0].split()[:4] == ["CONTAINER", "ID", "IMAGE", "COMMAND"] and len(rows) == 5
    assert "Exited (3)" in rows[2] and "(Paused)" in rows[3]
    entry = json.loads(docker("ps -s -f name=first --format", "{{json .}}"))
    assert entry["Mounts"] == "data" and entry["Networks"] == "bridge" and entry["State"] == "running"
    assert entry["Size"].startswith("0B (virtual ")


def test_logs(docker: Docker) -> None:
    docker(
        "run --name talker busybox sh -c", "echo line 1; echo line 2; echo err >&2; sleep 0.1; echo line 3"
    )
    both = docker.run("logs talker")
    assert (both.out, both.err) == ("line 1\nline 2\nline 3", "err")
    assert docker("logs -n 1 talker") == "line 3"
    assert docker("logs --tail 0 talker") == ""
    stamped = docker.lines("logs -t talker")
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]{18}Z line 1", stamped[0])
    last = stamped[-1].split()[0]
    assert docker(f"logs --since {last} talker") == "line 3"
    assert docker("logs --since 1h talker").count("line") == 3
    assert docker("logs --until 1h talker") == ""
    assert docker("logs -f talker").endswith("line 3"), "following one that has ended ends"
    docker("run -d --name live --stop-signal KILL busybox sh -c", "echo a; sleep 1; echo b")
    assert docker("logs -f live") == "a\nb"
    docker("run -d --name silent --log-driver none busybox echo x")
    assert "configured logging driver does not support reading" in docker.refused("logs silent")
    assert "No such container: nosuch" in docker.refused("logs nosuch")


def test_top_and_stats(docker: Docker) -> None:
    docker.sleeper("busy")
    assert docker.lines("top busy")[0].split()[:3] == ["UID", "PID", "PPID"]
    # For a moment after the start it is still runc that is about to become it.
    eventually(lambda: docker.lines("top busy")[1].endswith("sleep 1d"))
    assert docker.lines("top busy -o pid,cmd")[0].split() == ["PID", "CMD"]
    entry = json.loads(docker("stats --no-stream --format", "{{json .}}", "busy"))
    assert entry["Name"] == "busy" and entry["PIDs"] == "1" and entry["MemUsage"][0] != "0"
    docker("create --name idle busybox true")
    names = docker.lines("stats -a --no-stream --format {{.Name}}")
    assert sorted(names) == ["busy", "idle"]
    docker("exec busy sh -c", "echo x >/new; rm /bin/wget; mkdir -p /d/e")
    assert sorted(docker.lines("diff busy")) == ["A /d", "A /d/e", "A /new", "C /bin", "D /bin/wget"]


def test_events_and_usage(docker: Docker) -> None:
    # Docker's clock counts seconds here: wait for one that nothing has happened in.
    since = str(int(time.time()) + 1)
    eventually(lambda: time.time() >= float(since))
    docker("network create events")
    docker.sleeper("told", "--network events -v told:/told --label mark=1")
    docker("exec told true")
    docker("pause told")
    docker("unpause told")
    docker("rename told renamed")
    docker("restart -t 0 renamed")
    docker("rm -fv renamed")
    docker("network rm events")
    docker("volume rm told")
    until = int(time.time()) + 1
    shown = docker.lines(f"events --since {since} --until {until} --format", "{{.Type}} {{.Action}}")
    wanted = [
        "network create", "volume create", "container create", "network connect", "volume mount",
        "container start", "container exec_die", "container pause", "container unpause", "container rename",
        "container kill", "container die", "container stop", "container start", "container restart",
        "container kill", "container die", "container destroy", "network destroy", "volume destroy",
    ]  # fmt: skip
    position = 0
    for line in wanted:
        assert line in shown[position:], f"{line} is missing after\n" + "\n".join(shown[:position])
        position = shown.index(line, position) + 1
    for options, actions in (
        ("-f type=network -f event=create", ["create"]),
        ("-f container=renamed -f event=start", ["start"]),
        ("-f label=mark=1 -f event=create", ["create"]),
        ("-f image=busybox -f event=pause", ["pause"]),
        ("-f volume=told -f event=destroy", ["destroy"]),
    ):
        command = f"events --since {since} --until {until} {options} --format {{{{.Action}}}}"
        assert docker.lines(command) == actions, options
    docker.sleeper("user", "-v kept:/kept")
    docker("exec user sh -c", "echo 12345 >/kept/f")
    usage = docker.lines("system df --format", "{{.Type}} {{.TotalCount}} {{.Size}}")
    assert usage[1].startswith("Containers 1 ") and usage[2] == "Local Volumes 1 6B"
    assert "kept" in docker("system df -v")
    assert "Total reclaimed space" in docker("system prune -f")
    assert docker("ps -q") != ""


# --- a container's life -----------------------------------------------------------------------


def test_life(docker: Docker) -> None:
    script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"
    assert _ID.fullmatch(docker("create --name one busybox sh -c", script))
    assert docker("start one") == "one"
    assert docker("start one") == "one", "again is no error"
    eventually(lambda: docker("logs one") == "up")
    assert docker("stop one") == "one"
    assert docker.inspect("one", "{{.State.Status}} {{.State.ExitCode}}") == "exited 3"
    assert docker("wait one") == "3"
    docker("restart -t 0 one")
    assert docker("pause one") == "one"
    assert "is already paused" in docker.refused("pause one")
    assert "is paused" in docker.refused("exec one true")
    assert docker("unpause one") == "one"
    assert docker("rename one two") == "" and docker.inspect("two", "{{.Name}}") == "/two"
    assert docker("kill -s USR1 two") == "two"
    assert docker("kill two") == "two"
    assert docker("wait two") in {"137", "138"}
    assert "is not running" in docker.refused("kill two")
    assert "No such container: nosuch" in docker.refused("stop nosuch")
    docker("start two")
    assert "container is running" in docker.refused("rm two")
    assert docker("rm -f two") == "two"
    assert "No such container" in docker.refused("rm two")
    docker.run("rm -f two")
    docker("run -d --name again --restart on-failure:2 busybox false")
    eventually(lambda: docker.inspect("again", "{{.State.Status}} {{.RestartCount}}") == "exited 2")
    docker("run --rm -d --name gone busybox true")
    eventually(lambda: "gone" not in docker.lines("ps -a --format {{.Names}}"))
    assert "Deleted Containers" in docker("container prune -f")
    assert docker("ps -aq") == ""


def test_exec(docker: Docker, tmp_path: Path) -> None:
    docker.sleeper("box")
    assert docker("exec -e A=1 -e B=2 -w /tmp -u 1000 box sh -c", "echo $A$B; pwd; id -u") == "12\n/tmp\n1000"
    assert docker("exec -i box cat", input="typed\n") == "typed"
    docker("exec -d box touch /made")
    eventually(lambda: docker.run("exec box ls /made").code == 0)
    assert docker("exec --privileged box grep CapEff /proc/self/status") != docker(
        "exec box grep CapEff /proc/self/status"
    )
    docker.refused("exec box sh -c", "exit 9", code=9)
    assert "executable file not found" in docker.run("exec box nosuch").out
    docker.refused("exec box nosuch", code=127)
    docker.refused("exec box /etc/passwd", code=126)
    assert "No such container" in docker.refused("exec nosuch true")
    docker("stop box")
    assert "is not running" in docker.refused("exec box true")


def test_terminals(docker: Docker) -> None:
    shell = docker.terminal("run", "-it", "--name", "shell", "busybox")
    shell.expect("# ")
    shell.type("stty size; echo $((6*7))\n")
    shell.expect("42")
    shell.type("\x10\x11")
    assert shell.end() == 0, "detached"
    assert docker.inspect("shell", "{{.State.Running}}") == "true"
    again = docker.terminal("attach", "--detach-keys", "ctrl-x,x", "shell")
    again.type("\n")
    again.expect("# ")
    again.type("\x18x")
    again.end()
    assert docker.inspect("shell", "{{.State.Running}}") == "true"
    other = docker.terminal("exec", "-it", "shell", "sh")
    other.expect("# ")
    other.type("tty; exit 4\n")
    other.expect("/dev/pts/")
    assert other.end() == 4
    last = docker.terminal("attach", "shell")
    last.type("exit 5\n")
    assert last.end() == 5
    docker("create -i --name reader busybox cat")
    assert docker("start -ai reader", input="through\n") == "through"
    assert "You cannot attach to a stopped container" in docker.refused("attach shell")


# --- images -----------------------------------------------------------------------------------


def test_images(docker: Docker, tmp_path: Path) -> None:
    docker.sleeper("box")
    docker("exec box sh -c", "echo made >/made")
    docker("commit -m why -c", "ENV X=1", "-c", 'CMD ["cat", "/made"]', "box", "made:v1")
    assert docker("run --rm made:v1") == "made"
    assert docker("inspect -f", "{{.Comment}} {{.Config.Env}}", "made:v1").startswith("why [")
    assert "why" in docker("history made:v1")
    docker("tag made:v1 localhost/again:v2")
    assert docker("images --format {{.Tag}} localhost/again") == "v2"
    docker(f"save -o {tmp_path}/made.tar made:v1")
    assert docker.lines("rmi made:v1") == ["Untagged: made:v1"]
    docker("rmi -f localhost/again:v2")
    assert "No such image" in docker.refused("inspect --type image made:v1")
    assert docker(f"load -i {tmp_path}/made.tar") == "Loaded image: made:v1"
    assert docker("run --rm made:v1") == "made"
    docker(f"export -o {tmp_path}/root.tar box")
    with tarfile.open(tmp_path / "root.tar") as archive:
        assert "made" in archive.getnames()
    docker("import -m note -c", 'CMD ["cat", "/made"]', f"{tmp_path}/root.tar", "flat:1")
    assert docker("run --rm flat:1") == "made"
    names = docker.lines("images --format {{.Repository}}:{{.Tag}}")
    assert sorted(names) == ["busybox:latest", "exposing:latest", "flat:1", "made:v1"]
    assert docker("images --format {{.Repository}} -f reference=f*") == "flat"
    assert docker("images -q -f dangling=true") == ""
    assert "No such image" in docker.refused("rmi nosuch")
    assert "is using its referenced image" in docker.refused("rmi busybox")
    assert "BOGUS" in docker.refused("commit -c", "BOGUS x", "box").upper()
    docker("rmi made:v1 flat:1")
    assert docker("image prune -f") == "Total reclaimed space: 0B"


def test_what_is_refused(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\n")
    refused = docker.run("build -t x", str(tmp_path))
    assert refused.code != 0 and "use buildah or docker buildx" in refused.err
    for line in ("service ls", "node ls", "secret ls", "stack ls"):
        assert "This node is not a swarm manager" in docker.refused(line), line
    assert docker.lines("plugin ls")[0].startswith("ID")


def test_a_context(docker: Docker, tmp_path: Path) -> None:
    host = docker.environment.pop("DOCKER_HOST")
    try:
        docker(f"context create carrick --docker host={host}")
        assert "busybox" in docker("--context carrick images")
        docker("context use carrick")
        assert docker("run --rm busybox echo here") == "here"
        assert "carrick *" in docker("context ls")
        docker("context use default")
        docker("context rm carrick")
    finally:
        docker.environment["DOCKER_HOST"] = host


def test_nothing_is_left(docker: Docker) -> None:
    docker.daemon.remove_all()
    assert not settle(docker.daemon)
