"""Networks: creation with every option, errors, connecting, filters, configuration networks, prune."""

import json
from typing import Any
from urllib.parse import quote

from ..client import Client


def _pool(subnet: str, **more: Any) -> dict[str, Any]:
    return {"IPAM": {"Config": [{"Subnet": subnet} | more]}}


def predefined(client: Client) -> None:
    client.get("/networks")
    for name in ("bridge", "host", "none"):
        client.get(f"/networks/{name}")
        client.get(f"/networks/{name}?verbose=1")
        client.get(f"/networks/{name}", version="/v1.24")
        client.delete(f"/networks/{name}")
        client.post("/networks/create", {"Name": name})
    client.post("/networks/create", {"Name": "default"})
    client.get("/networks/default")


def creation(client: Client) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "plain": {},
        "driver": {"Driver": "bridge"},
        "check duplicate": {"CheckDuplicate": True},
        "subnet": _pool("10.80.0.0/24"),
        "pool": _pool(
            "10.80.0.0/24",
            IPRange="10.80.0.128/25",
            Gateway="10.80.0.254",
            AuxiliaryAddresses={"router": "10.80.0.5"},
        ),
        "ipam": {"IPAM": {"Driver": "default", "Options": {}, "Config": []}},
        "ipam null": {"IPAM": None},
        "ipam options": {"IPAM": {"Driver": "default", "Options": {"foo": "bar"}}},
        "internal": {"Internal": True},
        "attachable": {"Attachable": True},
        "labels": {"Labels": {"a": "b", "c": ""}},
        "empty maps": {"Labels": {}, "Options": {}},
        "options": {
            "Options": {
                "com.docker.network.bridge.name": "mybr0",
                "com.docker.network.driver.mtu": "1400",
                "com.docker.network.bridge.enable_icc": "false",
            }
        },
        "unknown option": {"Options": {"some.option": "x"}},
        "scope": {"Scope": "local"},
        "ipv6": {"EnableIPv6": True, **_pool("fd00:80::/64")},
        "ipv6 gateway": {
            "EnableIPv6": True,
            "IPAM": {
                "Config": [{"Subnet": "10.80.0.0/24"}, {"Subnet": "fd00:80::/64", "Gateway": "fd00:80::99"}]
            },
        },
    }
    for note, body in bodies.items():
        client.post("/networks/create", {"Name": "net1"} | body, note=note)
        client.get("/networks/net1", note=note)
        client.delete("/networks/net1", note=note)


def refused(client: Client) -> None:
    client.quiet("POST", "/networks/create", {"Name": "net1"} | _pool("10.81.0.0/16"))
    for note, body in {
        "no name": {},
        "empty name": {"Name": ""},
        "blank name": {"Name": "  "},
        "taken": {"Name": "net1"},
        "taken, checked": {"Name": "net1", "CheckDuplicate": True},
        "bad name": {"Name": "a/b"},
        "strange name": {"Name": "-a b"},
        "driver": {"Name": "nn", "Driver": "nonsense"},
        "host": {"Name": "nn", "Driver": "host"},
        "null": {"Name": "nn", "Driver": "null"},
        "overlay": {"Name": "nn", "Driver": "overlay"},
        "overlap": {"Name": "nn"} | _pool("10.81.5.0/24"),
        "subnet": {"Name": "nn"} | _pool("nonsense"),
        "host bits": {"Name": "nn"} | _pool("10.82.0.1/24"),
        "gateway": {"Name": "nn"} | _pool("10.82.0.0/24", Gateway="192.0.2.1"),
        "gateway text": {"Name": "nn"} | _pool("10.82.0.0/24", Gateway="nonsense"),
        "range": {"Name": "nn"} | _pool("10.82.0.0/24", IPRange="192.0.2.0/25"),
        "range bigger": {"Name": "nn"} | _pool("10.82.0.0/24", IPRange="10.82.0.0/16"),
        "auxiliary": {"Name": "nn"} | _pool("10.82.0.0/24", AuxiliaryAddresses={"a": "192.0.2.1"}),
        "gateway taken": {"Name": "nn"}
        | _pool("10.82.0.0/24", Gateway="10.82.0.1", AuxiliaryAddresses={"a": "10.82.0.1"}),
        "two subnets": {
            "Name": "nn",
            "IPAM": {"Config": [{"Subnet": "10.82.0.0/24"}, {"Subnet": "10.83.0.0/24"}]},
        },
        "bool option": {"Name": "nn", "Options": {"com.docker.network.bridge.enable_icc": "maybe"}},
        "mtu": {"Name": "nn", "Options": {"com.docker.network.driver.mtu": "abc"}},
        "scope": {"Name": "nn", "Scope": "swarm"},
        "ingress": {"Name": "nn", "Ingress": True},
        "config from none": {"Name": "nn", "ConfigFrom": {"Network": "nowhere"}},
        "config only internal": {"Name": "nn", "ConfigOnly": True, "Internal": True},
        "config only attachable": {"Name": "nn", "ConfigOnly": True, "Attachable": True},
    }.items():
        made = client.post("/networks/create", body, note=note)
        if made.status == 201:
            client.quiet("DELETE", f"/networks/{made.json['Id']}")


def configuration(client: Client) -> None:
    client.post(
        "/networks/create",
        {
            "Name": "cfg",
            "ConfigOnly": True,
            "Labels": {"a": "b"},
            "Options": {"com.docker.network.driver.mtu": "1400"},
        }
        | _pool("10.84.0.0/24"),
    )
    client.get("/networks/cfg")
    client.post("/networks/create", {"Name": "real", "ConfigFrom": {"Network": "cfg"}})
    client.get("/networks/real")
    client.post(
        "/networks/create", {"Name": "rival", "ConfigFrom": {"Network": "cfg"}} | _pool("10.85.0.0/24")
    )
    client.post("/networks/create", {"Name": "second", "ConfigFrom": {"Network": "cfg"}})
    client.post("/networks/create", {"Name": "ofreal", "ConfigFrom": {"Network": "real"}})
    client.post("/networks/create", {"Name": "both", "ConfigOnly": True, "ConfigFrom": {"Network": "cfg"}})
    client.delete("/networks/cfg")
    client.run("onreal", HostConfig={"NetworkMode": "real"})
    client.get("/containers/onreal/json")
    client.post("/containers/create?name=oncfg", {"Image": "busybox", "HostConfig": {"NetworkMode": "cfg"}})
    client.post("/containers/oncfg/start")
    client.post("/networks/cfg/connect", {"Container": "onreal"})
    client.quiet("DELETE", "/containers/onreal?force=1")
    client.delete("/networks/real")
    client.delete("/networks/cfg", note="unused")


def connecting(client: Client) -> None:
    client.quiet("POST", "/networks/create", {"Name": "n1"} | _pool("10.86.0.0/24"))
    client.quiet("POST", "/networks/create", {"Name": "n2"} | _pool("10.87.0.0/24"))
    client.run("cc")
    client.post("/networks/n1/connect", {"Container": "cc"})
    client.get("/containers/cc/json")
    client.get("/networks/n1")
    client.get("/networks/n1?verbose=1")
    client.post("/networks/n1/connect", {"Container": "cc"}, note="again")
    client.post(
        "/networks/n2/connect",
        {
            "Container": "cc",
            "EndpointConfig": {
                "IPAMConfig": {"IPv4Address": "10.87.0.50"},
                "Aliases": ["web", "www"],
                "DriverOpts": {"a": "b"},
            },
        },
    )
    client.get("/containers/cc/json", note="three networks")
    client.get("/containers/json")
    client.delete("/networks/n1", note="in use")
    client.post("/networks/n1/disconnect", {"Container": "cc"})
    client.post("/networks/n1/disconnect", {"Container": "cc"}, note="again")
    client.get("/containers/cc/json", note="two networks")
    client.run("dd")
    for note, network, body in (
        ("address taken", "n2", {"EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.87.0.50"}}}),
        ("address outside", "n2", {"EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.99.0.50"}}}),
        ("address bad", "n2", {"EndpointConfig": {"IPAMConfig": {"IPv4Address": "nonsense"}}}),
        ("host", "host", {}),
        ("none", "none", {}),
        ("nothing", "n2", {"EndpointConfig": None}),
        ("disconnected", "n2", {}),
    ):
        client.post(f"/networks/{network}/connect", {"Container": "dd"} | body, note=note)
    client.get("/containers/dd/json")
    client.post("/networks/bridge/disconnect", {"Container": "dd"})
    client.post("/networks/n2/disconnect", {"Container": "dd"})
    client.get("/containers/dd/json", note="no networks")
    client.post("/networks/host/disconnect", {"Container": "dd"})
    client.post("/networks/n1/connect", {})
    client.post("/networks/n1/disconnect", {})
    client.post("/networks/n1/disconnect", {"Container": "nobody", "Force": True})
    client.quiet(
        "POST",
        "/containers/create?name=shares",
        {"Image": "busybox", "HostConfig": {"NetworkMode": "container:cc"}},
    )
    client.post("/networks/n1/connect", {"Container": "shares"}, note="shared namespace")
    client.run("hh", HostConfig={"NetworkMode": "host"})
    client.get("/containers/hh/json")
    client.get("/networks/host")
    client.post("/networks/n1/connect", {"Container": "hh"}, note="host namespace")
    client.post("/networks/host/disconnect", {"Container": "hh"})
    client.run("nn", HostConfig={"NetworkMode": "none"})
    client.get("/containers/nn/json")
    client.post("/networks/n1/connect", {"Container": "nn"}, note="no network")
    client.run("sh2", HostConfig={"NetworkMode": "container:cc"})
    client.get("/containers/sh2/json")
    client.get("/containers/json?limit=1")


def connecting_stopped(client: Client) -> None:
    client.quiet("POST", "/networks/create", {"Name": "n1"} | _pool("10.88.0.0/24"))
    client.quiet("POST", "/containers/create?name=cc", {"Image": "busybox", "Cmd": ["sleep", "1d"]})
    client.post(
        "/networks/n1/connect",
        {
            "Container": "cc",
            "EndpointConfig": {"Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.88.0.9"}},
        },
    )
    client.get("/containers/cc/json")
    client.post("/networks/n1/connect", {"Container": "cc"}, note="again")
    client.get("/networks/n1")
    client.post("/networks/bridge/disconnect", {"Container": "cc"})
    client.get("/containers/cc/json")
    client.post("/networks/bridge/disconnect", {"Container": "cc"}, note="again")
    client.post("/containers/cc/start")
    client.get("/containers/cc/json", note="started")
    client.quiet("POST", "/containers/cc/kill")
    client.wait_ended("cc")
    client.get("/containers/cc/json", note="ended")
    client.delete("/networks/n1", note="used by a stopped container")


def connecting_to_nothing(client: Client) -> None:
    client.quiet("POST", "/containers/create?name=cc", {"Image": "busybox"})
    client.post("/networks/nowhere/connect", {"Container": "cc"})
    client.run("dd")
    client.post("/networks/nowhere/connect", {"Container": "dd"}, note="running")


def details(client: Client) -> None:
    client.quiet(
        "POST",
        "/networks/create",
        {
            "Name": "six",
            "EnableIPv6": True,
            "IPAM": {"Config": [{"Subnet": "10.89.0.0/24"}, {"Subnet": "fd00:89::/64"}]},
        },
    )
    client.run(
        "v6",
        HostConfig={"NetworkMode": "six"},
        NetworkingConfig={
            "EndpointsConfig": {
                "six": {
                    "IPAMConfig": {"IPv4Address": "10.89.0.7", "IPv6Address": "fd00:89::7"},
                    "Aliases": ["al"],
                }
            }
        },
    )
    client.run("other", HostConfig={"NetworkMode": "six"})
    client.get("/containers/v6/json")
    client.get("/containers/other/json")
    client.get("/containers/json")
    client.get("/networks/six")
    client.get("/networks")
    identifier = client.quiet("GET", "/networks/six").json["Id"]
    client.get(f"/networks/{identifier}", note="by id")
    client.get(f"/networks/{identifier[:12]}", note="by short id")
    client.get("/networks/six?scope=local")
    client.get("/networks/six?scope=swarm")
    client.get("/networks/six?verbose=maybe")


def filters(client: Client) -> None:
    client.quiet("POST", "/networks/create", {"Name": "fa", "Labels": {"a": "1"}})
    client.quiet("POST", "/networks/create", {"Name": "fab", "Internal": True})
    client.run("ff", HostConfig={"NetworkMode": "fa"})
    for wanted in (
        {"driver": ["bridge"]},
        {"driver": ["null", "host"]},
        {"driver": ["none"]},
        {"type": ["custom"]},
        {"type": ["builtin"]},
        {"type": ["x"]},
        {"name": ["fa"]},
        {"name": ["fab"]},
        {"name": ["^fa$"]},
        {"name": ["zz"]},
        {"label": ["a"]},
        {"label": ["a=1"]},
        {"label": ["a=2"]},
        {"scope": ["local"]},
        {"scope": ["swarm"]},
        {"dangling": ["true"]},
        {"dangling": ["false"]},
        {"dangling": ["x"]},
        {"dangling": ["true", "false"]},
        {"id": ["zz"]},
        {"driver": ["bridge"], "name": ["fa"]},
        {"name": {"fa": True}},
        {"name": {"fa": False}},
    ):
        client.get(f"/networks?filters={quote(json.dumps(wanted))}", note=json.dumps(wanted))


def prune(client: Client) -> None:
    client.post("/networks/prune", note="nothing")
    client.quiet("POST", "/networks/create", {"Name": "pa", "Labels": {"keep": "1"}})
    client.quiet("POST", "/networks/create", {"Name": "pb"})
    client.quiet("POST", "/networks/create", {"Name": "pc"})
    client.run("user", HostConfig={"NetworkMode": "pc"})
    for wanted in ({"until": ["1h"]}, {"label": ["none"]}, {"label!": ["keep"]}, {"label": ["keep"]}, {}):
        client.post(f"/networks/prune?filters={quote(json.dumps(wanted))}", note=json.dumps(wanted))
    client.get("/networks")


def ports(client: Client) -> None:
    client.run(
        "pa",
        HostConfig={
            "PortBindings": {
                "80/tcp": [{"HostPort": "18100"}],
                "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18101"}],
                "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "18053"}],
            }
        },
        ExposedPorts={"99/tcp": {}, "80/tcp": {}, "81/tcp": {}, "53/udp": {}},
    )
    client.get("/containers/pa/json")
    client.get("/containers/json")
    client.quiet(
        "POST",
        "/containers/create?name=pb",
        {
            "Image": "busybox",
            "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "18100"}]}},
        },
    )
    client.post("/containers/pb/start", note="port taken")
    client.get("/containers/pb/json", note="port taken")
