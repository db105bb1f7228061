"""The host's packet filter and NAT for containers: what the nftables tables should contain.

`table` renders it; `chains` are documented for administrators in docs/reference/firewall.md.
"""

from .table import (
    Across,
    Firewall,
    Link,
    NetworkRules,
    OpenPort,
    Publication,
    render_add_network,
    render_all,
    render_close,
    render_isolate,
    render_link,
    render_open,
    render_publish,
    render_release,
    render_remove_network,
    render_unlink,
    render_unpublish,
)

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
