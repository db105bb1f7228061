"""Rtnetlink: carry out link, address and route steps, and read what is there.

One `Rtnl` is one socket in one namespace, used by one thread. The messages are pyroute2's.
"""

import errno
import os
from collections.abc import Callable
from ipaddress import ip_interface
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ...model import steps
from ...model.errors import Conflict, KernelRefused, NotFound, Unsupported
from ...model.steps import LinkState, NamespaceState, RouteState

_IFF_UP = 0x1
_IFA_F_NODAD = 0x02
_RT_SCOPE_LINK = 253
_RTN_UNICAST = 1
_LOCAL_TABLE = 255
# The kernel answers EOPNOTSUPP for a link kind that it lacks, and EINVAL for a mode.
_LACKING = {errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT}

_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}


class Rtnl:
    """Rtnetlink in the namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._route = IPRoute()
        self._handlers: dict[type, Callable[[Any], None]] = {
            steps.CreateBridge: self._create_bridge,
            steps.CreateVeth: self._create_veth,
            steps.CreateSlave: self._create_slave,
            steps.CreateVlan: self._create_vlan,
            steps.CreateDummy: self._create_dummy,
            steps.SetLink: self._set_link,
            steps.DeleteLink: self._delete_link,
            steps.AddAddress: self._add_address,
            steps.RemoveAddress: self._remove_address,
            steps.AddRoute: self._add_route,
            steps.RemoveRoute: self._remove_route,
        }

    def close(self) -> None:
        self._route.close()

    @property
    def port_id(self) -> int:
        """The socket's netlink port id, which notifications of its changes carry."""
        return int(self._route.epid)

    def handles(self, step: steps.Step) -> bool:
        return type(step) in self._handlers

    def apply(self, step: steps.Step) -> None:
        """Carry out one step; the kernel's refusals come back as our errors, naming the step."""
        try:
            self._handlers[type(step)](step)
        except NetlinkError as error:
            raise _refusal(error, step) from error

    # Links -----------------------------------------------------------------------------------

    def index(self, name: str) -> int:
        """Return a link's index; NotFound if there is none of that name."""
        found = self.find_index(name)
        if found is None:
            raise NotFound(f"link {name} does not exist")
        return found

    def find_index(self, name: str) -> int | None:
        try:
            message = self._route.link("get", ifname=name)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise
        return int(message[0]["index"])

    def _create_bridge(self, step: steps.CreateBridge) -> None:
        extra: dict[str, Any] = {"address": step.mac} if step.mac else {}
        try:
            self._route.link("add", ifname=step.name, kind="bridge", **extra)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
        self._route.link("set", index=self.index(step.name), ifalias=step.alias, mtu=step.mtu, state="up")

    def _create_veth(self, step: steps.CreateVeth) -> None:
        namespace = os.open(step.peer_netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._route.link(
                "add",
                ifname=step.name,
                kind="veth",
                mtu=step.mtu,
                master=self.index(step.master),
                state="up",
                peer={
                    "ifname": step.peer,
                    "net_ns_fd": namespace,
                    "address": step.peer_mac,
                    "mtu": step.mtu,
                },
            )
        finally:
            os.close(namespace)
        # The alias cannot travel in the message that creates a link (rtnl_create_link ignores it).
        self._route.link("set", index=self.index(step.name), ifalias=step.alias)

    def _create_slave(self, step: steps.CreateSlave) -> None:
        namespace = os.open(step.netns, os.O_RDONLY | os.O_CLOEXEC)
        attributes: dict[str, Any] = {}
        if step.mac:
            attributes["address"] = step.mac
        if step.mtu:
            attributes["mtu"] = step.mtu
        if step.kind == "macvlan":
            attributes["macvlan_mode"] = _MACVLAN_MODES[step.mode]
        else:
            attributes["ipvlan_mode"] = _IPVLAN_MODES[step.mode]
            attributes["ipvlan_flags"] = _IPVLAN_FLAGS[step.flag or "bridge"]
        try:
            self._route.link(
                "add",
                ifname=step.name,
                kind=step.kind,
                link=self.index(step.parent),
                net_ns_fd=namespace,
                **attributes,
            )
        finally:
            os.close(namespace)

    def _create_vlan(self, step: steps.CreateVlan) -> None:
        if self.find_index(step.name) is None:
            self._route.link(
                "add",
                ifname=step.name,
                kind="vlan",
                link=self.index(step.parent),
                vlan_id=step.vlan_id,
            )
        self._route.link("set", index=self.index(step.name), ifalias=step.alias, state="up")

    def _create_dummy(self, step: steps.CreateDummy) -> None:
        if self.find_index(step.name) is None:
            self._route.link("add", ifname=step.name, kind="dummy")
        self._route.link("set", index=self.index(step.name), ifalias=step.alias, state="up")

    def _set_link(self, step: steps.SetLink) -> None:
        changes: dict[str, Any] = {}
        if step.up is not None:
            changes["state"] = "up" if step.up else "down"
        if step.mtu is not None:
            changes["mtu"] = step.mtu
        if step.master is not None:
            changes["master"] = self.index(step.master) if step.master else 0
        if step.alias is not None:
            changes["ifalias"] = step.alias
        if step.new_name is not None:
            changes["ifname"] = step.new_name
        self._route.link("set", index=self.index(step.name), **changes)

    def _delete_link(self, step: steps.DeleteLink) -> None:
        try:
            self._route.link("del", ifname=step.name)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise

    # Addresses and routes --------------------------------------------------------------------

    def _add_address(self, step: steps.AddAddress) -> None:
        interface = ip_interface(step.address)
        attributes: dict[str, Any] = {}
        if interface.version == 6:
            attributes["flags"] = _IFA_F_NODAD
        elif interface.network.prefixlen < 31:
            attributes["broadcast"] = str(interface.network.broadcast_address)
        self._route.addr(
            "replace",
            index=self.index(step.link),
            address=str(interface.ip),
            prefixlen=interface.network.prefixlen,
            **attributes,
        )

    def _remove_address(self, step: steps.RemoveAddress) -> None:
        interface = ip_interface(step.address)
        try:
            self._route.addr(
                "del",
                index=self.index(step.link),
                address=str(interface.ip),
                prefixlen=interface.network.prefixlen,
            )
        except NetlinkError as error:
            if error.code != errno.EADDRNOTAVAIL:
                raise

    def _add_route(self, step: steps.AddRoute) -> None:
        attributes: dict[str, Any] = {}
        if step.via:
            attributes["gateway"] = step.via
        elif step.version == 4:
            attributes["scope"] = _RT_SCOPE_LINK
        if step.metric:
            attributes["priority"] = step.metric
        self._route.route(
            "replace",
            family=AF_INET6 if step.version == 6 else AF_INET,
            dst=step.destination,
            oif=self.index(step.link),
            **attributes,
        )

    def _remove_route(self, step: steps.RemoveRoute) -> None:
        attributes: dict[str, Any] = {}
        if step.link:
            attributes["oif"] = self.index(step.link)
        try:
            self._route.route(
                "del",
                family=AF_INET6 if step.version == 6 else AF_INET,
                dst=step.destination,
                **attributes,
            )
        except NetlinkError as error:
            if error.code != errno.ESRCH:
                raise

    # Reading ---------------------------------------------------------------------------------

    def read(self) -> NamespaceState:
        """Read links with their addresses, and the routes of every table, of both families."""
        names: dict[int, str] = {}
        raw: list[Any] = list(self._route.get_links())
        for message in raw:
            names[int(message["index"])] = str(message.get_attr("IFLA_IFNAME"))
        addresses: dict[int, set[str]] = {}
        for message in self._route.get_addr():
            # IFA_LOCAL is the address itself; IFA_ADDRESS is the far end of a point-to-point link.
            address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            addresses.setdefault(int(message["index"]), set()).add(f"{address}/{message['prefixlen']}")
        links = {}
        for message in raw:
            index = int(message["index"])
            info = message.get_attr("IFLA_LINKINFO")
            links[names[index]] = LinkState(
                name=names[index],
                index=index,
                kind=str(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
                mac=str(message.get_attr("IFLA_ADDRESS") or ""),
                mtu=int(message.get_attr("IFLA_MTU") or 0),
                up=bool(message["flags"] & _IFF_UP),
                master=names.get(int(message.get_attr("IFLA_MASTER") or 0), ""),
                alias=str(message.get_attr("IFLA_IFALIAS") or ""),
                addresses=frozenset(addresses.get(index, ())),
                peer_index=int(message.get_attr("IFLA_LINK") or 0),
            )
        return NamespaceState(links, tuple(self._read_routes(names)))

    def _read_routes(self, names: dict[int, str]) -> list[RouteState]:
        routes = []
        for family in (AF_INET, AF_INET6):
            for message in self._route.get_routes(family=family):
                if message["type"] != _RTN_UNICAST or message["table"] == _LOCAL_TABLE:
                    continue
                destination = message.get_attr("RTA_DST")
                metrics = message.get_attr("RTA_METRICS")
                routes.append(
                    RouteState(
                        destination=f"{destination}/{message['dst_len']}"
                        if destination
                        else ("default" if family == AF_INET else "::/0"),
                        link=names.get(int(message.get_attr("RTA_OIF") or 0), ""),
                        via=str(message.get_attr("RTA_GATEWAY") or ""),
                        mtu=int(metrics.get_attr("RTAX_MTU") or 0) if metrics else 0,
                        metric=int(message.get_attr("RTA_PRIORITY") or 0),
                    )
                )
        return routes


def _refusal(error: NetlinkError, step: steps.Step) -> Exception:
    code = int(error.code)
    what = f"{step.describe()}: {os.strerror(code)}"
    if code == errno.EEXIST:
        return Conflict(f"{what} (something else holds that name or address)")
    if code in _LACKING and isinstance(step, steps.CreateSlave | steps.CreateVlan | steps.CreateDummy):
        kind = {steps.CreateVlan: "802.1q vlan", steps.CreateDummy: "dummy"}.get(
            type(step), getattr(step, "kind", "")
        )
        return Unsupported(
            f"this kernel has no {kind} links (creating {step.name} was refused: {os.strerror(code)})",
            remedy=f"load the kernel's {kind.split()[-1]} module, or use the bridge driver",
        )
    return KernelRefused(what, errno=code, subject=step.describe())
