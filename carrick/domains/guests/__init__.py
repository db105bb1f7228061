"""Guests, decided: what is done in and about a namespace that another engine made. Pure."""

from .plan import (
    HOST_NETNS,
    as_fixed,
    in_namespace,
    plan_rates,
    plan_routes,
    planned_mtu,
    seen_with_mtu,
    server_of,
    staged_steps,
    with_mtu,
)

__all__ = [
    "HOST_NETNS",
    "as_fixed",
    "in_namespace",
    "plan_rates",
    "plan_routes",
    "planned_mtu",
    "seen_with_mtu",
    "server_of",
    "staged_steps",
    "with_mtu",
]
