"""The host's packet filter and NAT for containers: what the nftables tables should contain.

`wanted` is what they are made from, `table` renders them whole, `network` and `elements` what one network or
endpoint adds. The chains are documented for administrators in docs/reference/firewall.md.
"""

from .elements import (
    render_close,
    render_isolate,
    render_link,
    render_open,
    render_publish,
    render_release,
    render_unlink,
    render_unpublish,
)
from .network import render_add_network, render_remove_network
from .table import render_all
from .wanted import Across, Firewall, Link, NetworkRules, OpenPort, Publication

__all__ = [
    "Across",
    "Firewall",
    "Link",
    "NetworkRules",
    "OpenPort",
    "Publication",
    "render_add_network",
    "render_all",
    "render_close",
    "render_isolate",
    "render_link",
    "render_open",
    "render_publish",
    "render_release",
    "render_remove_network",
    "render_unlink",
    "render_unpublish",
]
