"""Published ports: which host ports, in which families, by NAT or by relay. Pure."""

from .plan import (
    ANY4,
    ANY6,
    Target,
    Wanted,
    overlaps,
    parse_port_range,
    plan_bindings,
    render_binding,
)

__all__ = [
    "ANY4",
    "ANY6",
    "Target",
    "Wanted",
    "overlaps",
    "parse_port_range",
    "plan_bindings",
    "render_binding",
]
