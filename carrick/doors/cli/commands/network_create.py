"""`carrick network create`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import BOOL, MAP, STRING, STRINGS, Flag, Values
from carrick.doors.cli.specs.environment import LABEL
from carrick.doors.cli.specs.network_create import network_body
from carrick.doors.cli.template.values import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def _create(app: App, values: Values, words: list[str]) -> None:
    try:
        body = network_body(values, words[0])
    except ValueError as error:
        raise CliError(str(error)) from None
    if values.on("dry-run"):
        _show_plan(app, words[0], values.text("format"), body)
        return
    if values.text("format"):
        raise CliError("--format goes with --dry-run only")
    answer = app.client.post("/networks/create", body)
    if warning := answer.get("Warning"):
        app.warn(f"WARNING: {warning}")
    app.print(str(answer["Id"]))


def _show_plan(app: App, name: str, layout: str, body: Mapping[str, Any]) -> None:
    if layout not in ("", "json"):
        raise CliError("--dry-run prints a plan: its --format can only be 'json'")
    plan = app.client.post("/carrick/v1/networks/plan", body)
    if layout == "json":
        app.print(to_json(plan))
        return
    steps = plan.get("steps") or []
    app.print(f"Plan for network {name} (nothing was changed):" if steps else "Nothing to do.")
    width = len(str(len(steps)))
    for number, step in enumerate(steps, 1):
        app.print(f"  {number:>{width}}. {step.get('description', '')}")
    if notes := plan.get("notes") or []:
        app.print("Notes:")
        for note in notes:
            app.print(f"  - {note}")


CREATE = Command(
    "create",
    _create,
    summary="Create a network",
    usage="[OPTIONS] NETWORK",
    arity=Arity(1, 1, ""),
    flags=(
        Flag("attachable", "Enable manual container attachment"),
        Flag("aux-address", "Addresses to keep free, as name=address", kind=MAP),
        Flag(
            "config-from", "The network from which to copy the configuration", kind=STRING, complete="network"
        ),
        Flag("config-only", "Create a configuration only network"),
        Flag("driver", "Driver to manage the network", kind=STRING, short="d", default="bridge"),
        Flag("dry-run", "Print what would be done, and do nothing"),
        Flag("format", "With --dry-run: 'json' for the plan as it comes", kind=STRING),
        Flag("gateway", "IPv4 or IPv6 gateway for the subnet", kind=STRINGS),
        Flag("ingress", "Create swarm routing-mesh network"),
        Flag("internal", "Restrict external access to the network"),
        Flag("ip-range", "Allocate container addresses from a sub-range", kind=STRINGS),
        Flag("ipam-driver", "IP address management driver", kind=STRING, default="default"),
        Flag("ipam-opt", "Set IPAM driver specific options", kind=MAP),
        Flag("ipv4", "Enable or disable IPv4 address assignment", kind=BOOL, default=True),
        Flag("ipv6", "Enable or disable IPv6 address assignment", kind=BOOL),
        Flag("label", "Set metadata on a network", kind=LABEL),
        Flag("opt", "Set driver specific options", kind=MAP, short="o"),
        Flag("scope", "Control the network's scope", kind=STRING),
        Flag("subnet", "Subnet in CIDR format", kind=STRINGS),
    ),
    examples=(
        "carrick network create front",
        "carrick network create --subnet 10.9.0.0/24 --ip-range 10.9.0.128/25 --ipv6 back",
        "carrick network create --dry-run --internal vault",
    ),
)
