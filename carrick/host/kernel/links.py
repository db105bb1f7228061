"""Rtnetlink: carry out steps of links, addresses and rows. `readings` is the other half: what is there.

One `Rtnl` is one socket in one namespace, used by one thread. Links are named in the messages where the
kernel takes a name; where it wants an index, `if_nametoindex` is one system call (an index must not be
remembered: a link of the same name may be another one by now).
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_interface
from socket import AF_INET, AF_INET6, AF_UNSPEC
from typing import Any

from ...model import steps
from ...model.errors import Conflict, NotFound
from ...model.observed import LinkState, NamespaceState, Neighbour
from ...model.steps import Rule
from . import netlink, rates, readings, rows
from .netlink import Message, Netlink, Refusal, attribute, mac, nested, text, u8, u16, u32
from .netns import entered
from .readings import (
    ADDRESS_HEADER,
    BRPORT_NEIGH_SUPPRESS,
    IFA_ADDRESS,
    IFA_LOCAL,
    IFLA_ADDRESS,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_LINK,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    LINK_HEADER,
)
from .refusals import LACKING, explain
from .rows import Indexes, index_of, no_link
from .vxlan import is_vxlan_as_asked, render_vxlan

_IFLA_INFO_SLAVE_KIND = 4
_BRPORT_HAIRPIN, _BRPORT_LEARNING, _BRPORT_FLOOD = 4, 8, 9
_BRPORT_ISOLATED = 33
_VETH_INFO_PEER = 1
_MACVLAN_MODE, _IPVLAN_MODE, _IPVLAN_FLAGS, _VLAN_ID = 1, 1, 2, 1
_IFA_BROADCAST, _IFA_FLAGS = 4, 8
_IFF_UP = 0x1
_IFA_F_NODAD = 0x02

_PROBE = "ck-probe"
_MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
_IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_IPVLAN_FLAG_BITS = {"bridge": 0, "private": 1, "vepa": 2}


class Rtnl:
    """Rtnetlink in the namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._netlink = Netlink()
        self._handlers: dict[type, Callable[[Any], None]] = {
            steps.CreateBridge: self._create_bridge,
            steps.CreateVeth: self._create_veth,
            steps.CreateSlave: self._create_slave,
            steps.CreateVlan: self._create_vlan,
            steps.CreateDummy: self._create_dummy,
            steps.CreateVxlan: self._create_vxlan,
            steps.CreateWireguard: self._create_wireguard,
            steps.SetLink: self._set_link,
            steps.SetRate: self._set_rate,
            steps.DeleteLink: self._delete_link,
            steps.MoveLink: self._move_link,
            steps.AddAddress: self._add_address,
            steps.RemoveAddress: self._remove_address,
        }

    def close(self) -> None:
        self._netlink.close()

    @property
    def port_id(self) -> int:
        """The socket's netlink port id, which notifications of its changes carry."""
        return self._netlink.port_id

    def handles(self, step: steps.Step) -> bool:
        return type(step) in self._handlers or rows.is_row(step)

    def apply(self, step: steps.Step) -> None:
        """Carry out one step; the kernel's refusals come back as our errors, naming the step."""
        if rows.is_row(step):
            self.apply_rows([step])
            return
        try:
            self._handlers[type(step)](step)
        except Refusal as error:
            raise explain(error, step) from error

    def apply_rows(self, batch: Sequence[steps.Step]) -> None:
        """Carry out steps about rows, of one type; what is wrong with one does not keep the others back.

        Raises for the first that was refused.
        """
        indexes = Indexes()
        messages: list[Message] = []
        about: list[tuple[steps.Step, frozenset[int]]] = []
        missing: NotFound | None = None
        for step in batch:
            try:
                for row in rows.plan_messages(step, indexes):
                    messages.append(row.message)
                    about.append((step, row.tolerated))
            except NotFound as error:
                missing = missing or error
        refused = [
            (about[place][0], refusal)
            for place, refusal in sorted(self._netlink.batch(messages).items())
            if refusal.code not in about[place][1]
        ]
        if refused:
            step, refusal = refused[0]
            raise explain(refusal, step, others=len(refused) - 1) from refusal
        if missing is not None:
            raise missing

    def read(self) -> NamespaceState:
        return readings.read_namespace(self._netlink)

    def read_fdb(self, link: str) -> dict[str, frozenset[str]]:
        return readings.read_fdb(self._netlink, index_of(link))

    def read_neighbours(self, link: str) -> dict[str, Neighbour]:
        return readings.read_neighbours(self._netlink, index_of(link))

    def read_rules(self) -> tuple[Rule, ...]:
        return readings.read_rules(self._netlink)

    # Links -----------------------------------------------------------------------------------

    def find(self, name: str) -> LinkState | None:
        """Return a link without its addresses and its master's name, or None."""
        try:
            bodies = self._netlink.request(
                netlink.GETLINK, 0, LINK_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0) + text(IFLA_IFNAME, name)
            )
        except Refusal as error:
            if error.code == errno.ENODEV:
                return None
            raise
        return readings.parse_link(bodies[0])

    def supports(self, kind: str) -> bool:
        """Tell whether links of a kind can be made: asks for one without a parent, which makes none.

        A kernel without the kind says that it does not know it; one with it, that the parent is missing.
        """
        try:
            self._create(_PROBE, kind)
        except Refusal as error:
            return error.code not in LACKING
        self.apply(steps.DeleteLink(_PROBE))
        return True

    def name(self, index: int) -> str:
        """Return the name of the link with an index, "" if there is none."""
        try:
            bodies = self._netlink.request(netlink.GETLINK, 0, LINK_HEADER.pack(AF_UNSPEC, 0, index, 0, 0))
        except Refusal:
            return ""
        return readings.parse_link(bodies[0]).name

    def _create(self, name: str, kind: str, *attributes: bytes, data: bytes = b"", up: bool = False) -> None:
        flags = _IFF_UP if up else 0
        info = text(IFLA_INFO_KIND, kind) + (nested(IFLA_INFO_DATA, data) if data else b"")
        message = LINK_HEADER.pack(AF_UNSPEC, 0, 0, flags, flags) + text(IFLA_IFNAME, name)
        message += b"".join(attributes) + nested(IFLA_LINKINFO, info)
        self._netlink.request(netlink.NEWLINK, netlink.CREATE | netlink.EXCLUSIVE, message)

    def _create_unless_there(self, name: str, kind: str, alias: str, *attributes: bytes, data: bytes) -> None:
        """Create a link on the host; one of that name is as good if it is of the kind and not another's."""
        try:
            self._create(name, kind, *attributes, data=data)
        except Refusal as error:
            found = self.find(name) if error.code == errno.EEXIST else None
            if found is None or found.kind != kind or found.alias not in {"", alias}:
                raise

    def _change(self, name: str, *attributes: bytes, up: bool | None = None, index: int = 0) -> None:
        """Change a link. By `index`, `attributes` may give it another name."""
        change = 0 if up is None else _IFF_UP
        message = LINK_HEADER.pack(AF_UNSPEC, 0, index, _IFF_UP if up else 0, change)
        if not index:
            message += text(IFLA_IFNAME, name)
        try:
            # Not SETLINK, which passes over a port's settings; without CREATE it changes what is there.
            self._netlink.request(netlink.NEWLINK, 0, message + b"".join(attributes))
        except Refusal as error:
            if error.code == errno.ENODEV:
                raise no_link(name) from error
            raise

    def _create_bridge(self, step: steps.CreateBridge) -> None:
        self._create_unless_there(
            step.name, "bridge", step.alias, *([mac(IFLA_ADDRESS, step.mac)] if step.mac else []), data=b""
        )
        # An MTU given at creation is forgotten with the first port; set afterwards it stays.
        self._change(step.name, text(IFLA_IFALIAS, step.alias), u32(IFLA_MTU, step.mtu), up=True)

    def _create_veth(self, step: steps.CreateVeth) -> None:
        master = u32(IFLA_MASTER, index_of(step.master) if step.master else 0)
        mtu = u32(IFLA_MTU, step.mtu)
        with _held_open(step.peer_netns) as namespace:
            peer = LINK_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0) + text(IFLA_IFNAME, step.peer) + mtu
            peer += mac(IFLA_ADDRESS, step.peer_mac) if step.peer_mac else b""
            peer += u32(IFLA_NET_NS_FD, namespace)
            try:
                self._create(step.name, "veth", mtu, master, data=nested(_VETH_INFO_PEER, peer), up=True)
            except Refusal as error:
                if error.code != errno.EEXIST or not self._is_made(step):
                    raise
                self._change(step.name, master, mtu, up=True)
        # Neither the alias nor a port's settings can travel in the message that creates a link.
        port = nested(IFLA_INFO_SLAVE_DATA, attribute(_BRPORT_HAIRPIN, b"\1")) if step.hairpin else b""
        extra = [nested(IFLA_LINKINFO, text(_IFLA_INFO_SLAVE_KIND, "bridge") + port)] if port else []
        self._change(step.name, text(IFLA_IFALIAS, step.alias), *extra)

    def _is_made(self, step: steps.CreateVeth) -> bool:
        """Whether both ends of this very pair are where they belong."""
        found = self.find(step.name)
        if found is None or found.kind != "veth" or found.alias not in {"", step.alias}:
            return False
        peer = _find_inside(step.peer_netns, step.peer)
        return peer is not None and peer.kind == "veth" and peer.peer_index == found.index

    def _create_slave(self, step: steps.CreateSlave) -> None:
        attributes = [u32(IFLA_LINK, index_of(step.parent))]
        if step.mac:
            attributes.append(mac(IFLA_ADDRESS, step.mac))
        if step.mtu:
            attributes.append(u32(IFLA_MTU, step.mtu))
        if step.kind == "macvlan":
            data = u32(_MACVLAN_MODE, _MACVLAN_MODES[step.mode])
        else:
            flag = _IPVLAN_FLAG_BITS[step.flag or "bridge"]
            data = u16(_IPVLAN_MODE, _IPVLAN_MODES[step.mode]) + u16(_IPVLAN_FLAGS, flag)
        with _held_open(step.netns) as namespace:
            try:
                self._create(step.name, step.kind, *attributes, u32(IFLA_NET_NS_FD, namespace), data=data)
            except Refusal as error:
                found = _find_inside(step.netns, step.name) if error.code == errno.EEXIST else None
                if found is None or found.kind != step.kind or found.peer_index != index_of(step.parent):
                    raise

    def _create_vlan(self, step: steps.CreateVlan) -> None:
        self._create_unless_there(
            step.name,
            "vlan",
            step.alias,
            u32(IFLA_LINK, index_of(step.parent)),
            data=u16(_VLAN_ID, step.vlan_id),
        )
        self._change(step.name, text(IFLA_IFALIAS, step.alias), up=True)

    def _create_dummy(self, step: steps.CreateDummy) -> None:
        self._create_unless_there(step.name, "dummy", step.alias, data=b"")
        self._change(step.name, text(IFLA_IFALIAS, step.alias), up=True)

    def _create_vxlan(self, step: steps.CreateVxlan) -> None:
        attributes = [u32(IFLA_MTU, step.mtu)]
        if step.master:
            attributes.append(u32(IFLA_MASTER, index_of(step.master)))
        address = [mac(IFLA_ADDRESS, step.mac)] if step.mac else []
        try:
            # Up at once: a UDP port that is taken is found out while nothing is there yet.
            self._create(step.name, "vxlan", *attributes, *address, data=render_vxlan(step), up=True)
        except Refusal as error:
            found = self.find(step.name) if error.code == errno.EEXIST else None
            if found is None or not is_vxlan_as_asked(found, step):
                raise
            # Its bridge is left alone unless one is asked for.
            self._change(step.name, *attributes, *_new_address(found, step.mac), up=True)
        self._change(step.name, text(IFLA_IFALIAS, step.alias))

    def _create_wireguard(self, step: steps.CreateWireguard) -> None:
        self._create_unless_there(step.name, "wireguard", step.alias, data=b"")
        self._change(step.name, text(IFLA_IFALIAS, step.alias), u32(IFLA_MTU, step.mtu), up=True)

    def _set_link(self, step: steps.SetLink) -> None:
        changes = []
        if step.mtu is not None:
            changes.append(u32(IFLA_MTU, step.mtu))
        if step.master is not None:
            changes.append(u32(IFLA_MASTER, index_of(step.master) if step.master else 0))
        if step.alias is not None:
            changes.append(text(IFLA_IFALIAS, step.alias))
        if step.mac is not None:
            changes += _new_address(self.find(step.name), step.mac)
        port = [
            u8(kind, value)
            for kind, value in (
                (_BRPORT_HAIRPIN, step.hairpin),
                (_BRPORT_LEARNING, step.learning),
                (_BRPORT_FLOOD, step.flood),
                (BRPORT_NEIGH_SUPPRESS, step.neigh_suppress),
                (_BRPORT_ISOLATED, step.isolated),
            )
            if value is not None
        ]
        index = 0
        if step.new_name is not None:
            try:
                index = index_of(step.name)
            except NotFound:
                # Said twice: it has its new name already.
                index = index_of(step.new_name)
            changes.append(text(IFLA_IFNAME, step.new_name))
        if changes or step.up is not None or not port:
            self._change(step.name, *changes, up=step.up, index=index)
        if port:
            # By itself: the kernel looks at what a port is asked for before it has joined the bridge.
            info = text(_IFLA_INFO_SLAVE_KIND, "bridge") + nested(IFLA_INFO_SLAVE_DATA, *port)
            self._change(step.new_name or step.name, nested(IFLA_LINKINFO, info))

    def _set_rate(self, step: steps.SetRate) -> None:
        body = rates.render_rate(step, index_of(step.link))
        self._netlink.request(rates.NEWQDISC, netlink.CREATE | netlink.REPLACE, body)

    def _delete_link(self, step: steps.DeleteLink) -> None:
        message = LINK_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0) + text(IFLA_IFNAME, step.name)
        try:
            self._netlink.request(netlink.DELLINK, 0, message)
        except Refusal as error:
            if error.code != errno.ENODEV:
                raise

    def _move_link(self, step: steps.MoveLink) -> None:
        # We are at home, where a target of "" is; the way there is opened before we leave.
        there = _find_inside(step.target, step.new_name) if step.target else self.find(step.new_name)
        with _held_open(step.target or "/proc/thread-self/ns/net") as namespace:
            try:
                if step.netns:
                    with entered(step.netns):
                        visitor = Rtnl()
                        try:
                            visitor.send_away(step, namespace, is_taken=there is not None)
                        finally:
                            visitor.close()
                else:
                    self.send_away(step, namespace, is_taken=there is not None)
            except NotFound:
                # Said twice: it is there already.
                if there is None:
                    raise

    def send_away(self, step: steps.MoveLink, namespace: int, *, is_taken: bool) -> None:
        """Move a link from here to another namespace, an open descriptor."""
        index = index_of(step.name)
        if is_taken:
            # The kernel would move it all the same, and then refuse the name.
            raise Conflict(f"{step.describe()}: File exists (something else has that name there)")
        # Down first: while it is up the kernel keeps it from getting another name.
        self._change(step.name, up=False)
        moved = text(IFLA_IFNAME, step.new_name), u32(IFLA_NET_NS_FD, namespace)
        self._change(step.name, *moved, index=index)

    # Addresses and routes --------------------------------------------------------------------

    def _add_address(self, step: steps.AddAddress) -> None:
        interface = ip_interface(step.address)
        extra = b""
        if interface.version == 6:
            extra = u32(_IFA_FLAGS, _IFA_F_NODAD)
        elif interface.network.prefixlen < 31:
            extra = attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
        message = _address_message(step.address, index_of(step.link)) + extra
        self._netlink.request(netlink.NEWADDR, netlink.CREATE | netlink.REPLACE, message)

    def _remove_address(self, step: steps.RemoveAddress) -> None:
        try:
            index = index_of(step.link)
        except NotFound:
            return
        try:
            self._netlink.request(netlink.DELADDR, 0, _address_message(step.address, index))
        except Refusal as error:
            if error.code not in {errno.EADDRNOTAVAIL, errno.ENODEV}:
                raise


def _new_address(found: LinkState | None, wanted: str) -> list[bytes]:
    """Return the attribute for a link's MAC if it is another: setting the same one flushes the neighbours."""
    if not wanted or (found is not None and found.mac == wanted.lower()):
        return []
    return [mac(IFLA_ADDRESS, wanted)]


@contextmanager
def _held_open(netns: str) -> Iterator[int]:
    try:
        namespace = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"network namespace {netns} does not exist") from error
    try:
        yield namespace
    finally:
        os.close(namespace)


def _find_inside(netns: str, name: str) -> LinkState | None:
    with entered(netns):
        rtnl = Rtnl()
        try:
            return rtnl.find(name)
        finally:
            rtnl.close()


def _address_message(address: str, index: int) -> bytes:
    interface = ip_interface(address)
    family = AF_INET6 if interface.version == 6 else AF_INET
    packed = interface.ip.packed
    return (
        ADDRESS_HEADER.pack(family, interface.network.prefixlen, 0, 0, index)
        + attribute(IFA_LOCAL, packed)
        + attribute(IFA_ADDRESS, packed)
    )
