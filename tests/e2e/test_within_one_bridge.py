"""Whether packets within one bridge pass the host's IP rules: ours alone, beside others', asked for."""

from pathlib import Path

import pytest

from carrick.testing.daemon import Daemon

KEYS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
pytestmark = pytest.mark.skipif(
    not Path("/proc/sys/net/bridge").exists(), reason="the module br_netfilter is not loaded"
)


def values(host: Daemon) -> list[str]:
    return host.machine.do("sysctl", "-n", *KEYS).split()


def switch_on(host: Daemon) -> None:
    host.machine.do("sysctl", "-qw", *(f"{key}=1" for key in KEYS))


def said(host: Daemon) -> str:
    (line,) = [line for line in host.do("doctor").splitlines() if "bridged packets" in line]
    return line


def test_a_host_of_its_own_and_one_that_is_shared(host: Daemon) -> None:
    assert values(host) == ["0", "0"]
    assert "they pass no IP rules" in said(host)

    # Somebody switches it on: not overruled, but said.
    switch_on(host)
    assert "nobody seems to need it" in said(host)
    host.do("doctor", "--fix")
    assert values(host) == ["0", "0"]

    switch_on(host)
    host.machine.do("iptables", "-A", "FORWARD", "-s", "198.51.100.7", "-j", "ACCEPT")
    host.restart()
    assert values(host) == ["1", "1"]
    assert "rules of others in table ip filter" in said(host)

    host.machine.do("iptables", "-F", "FORWARD")
    host.restart()
    assert values(host) == ["0", "0"]
    host.do("network", "create", "net")
    host.web("web", "--network", "net", "-p", "8000:80")
    host.sleeper("box", "--network", "net")
    gateway = host.do("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "net").strip()
    assert host.exec("box", "wget", "-qO-", f"http://{gateway}:8000/").code == 0
