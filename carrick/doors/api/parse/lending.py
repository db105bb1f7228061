"""Requests about flannel's files, and about lending blocks to other engines."""

from dataclasses import dataclass

from ....domains.flannel import parse_net_conf, request_of
from ....engine.cluster.lending import LendBlock
from ....engine.values import CreateNetwork
from ....model.errors import InvalidRequest
from ....model.networks import PoolConfig
from .fields import Fields

_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"


@dataclass(frozen=True, slots=True)
class Import:
    """A network from flannel's configuration; `notes` say what is otherwise here."""

    request: CreateNetwork
    notes: tuple[str, ...]
    dry_run: bool = False


def parse_lend(body: Fields) -> LendBlock:
    """Return what `POST /carrick/v1/lent/{id}` asks for."""
    default = LendBlock()
    return LendBlock(body.text("Bridge") or default.bridge, body.text("File") or default.file)


def parse_import(body: Fields) -> Import:
    """Return what `POST /carrick/v1/networks/flannel` asks for; Unsupported for a backend not here."""
    if not body.text("Name"):
        raise InvalidRequest("Name is missing: expected the name of the network to create")
    found = request_of(parse_net_conf(body.text("Config")))
    masquerade = str(body.flag("IPMasq", default=True)).lower()
    request = CreateNetwork(
        body.text("Name"),
        "routed",
        enable_ipv4=any(":" not in subnet for subnet in found.subnets),
        enable_ipv6=any(":" in subnet for subnet in found.subnets),
        pools=tuple(PoolConfig(subnet) for subnet in found.subnets),
        options=found.options | {_MASQUERADE: masquerade},
    )
    return Import(request, found.notes, body.flag("DryRun"))
