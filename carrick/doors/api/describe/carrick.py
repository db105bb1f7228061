"""What Docker has no word for."""

from .host_config import PORT_MAP
from .kinds import TEXT, TEXTS, Array, Object, Plain, asked, choice
from .networks import NETWORK
from .operations import Operation, Operations, document, done, json

_FINDING = Object(
    "Finding",
    {"level": choice("ok", "warning", "error"), "subject": TEXT, "problem": TEXT, "remedy": TEXT},
)
FINDINGS = Object("Findings", {"findings": Array(_FINDING)})
PLAN = Object("NetworkPlan", {"steps": Array(Object("PlanStep", {"description": TEXT})), "notes": TEXTS})
PORTS = Object("Ports", {"PortBindings": asked(PORT_MAP)})

OPERATIONS: Operations = {
    "GET /carrick/v1/openapi.json": Operation(
        "This document", {200: json(Plain({"type": "object", "required": ["openapi", "paths"]}))}
    ),
    "POST /carrick/v1/networks/plan": Operation(
        "Say what creating a network would do",
        {200: json(PLAN, "Nothing was changed")},
        errors=(403, 404, 409, 501),
        body=document(NETWORK),
    ),
    "POST /carrick/v1/containers/{id}/ports": Operation(
        "Publish ports of a container, also while it runs",
        {204: done("Published")},
        errors=(403, 404, 409, 501),
        body=document(PORTS),
    ),
    "POST /carrick/v1/containers/{id}/ports/remove": Operation(
        "Withdraw published ports",
        {204: done("Withdrawn")},
        errors=(403, 404, 409),
        body=document(PORTS),
    ),
    "GET /carrick/v1/doctor": Operation("Look for what is wrong on this host", {200: json(FINDINGS)}),
    "POST /carrick/v1/doctor/fix": Operation(
        "Apply the remedies that are the daemon's to apply",
        {200: json(FINDINGS, "What is found afterwards")},
        errors=(403, 501),
    ),
}
