"""flannel's files: the network configuration that its users have, and the file that their tools read. Pure.

`net_conf` reads `net-conf.json` and says what it is as options of a routed network; `hooks` decides which of
its commands run when; `subnet_env` writes `subnet.env`, and the options that give a Docker Engine the bridge.
Rules are those of flannel's `pkg/subnet/config.go`, `pkg/backend/extension` and
`Documentation/configuration.md`.
"""

from .hooks import Hooks
from .net_conf import Backend, NetConf, NetworkRequest, parse_net_conf, request_of
from .subnet_env import (
    SubnetEnv,
    docker_options,
    parse_subnet_env,
    render_docker_env,
    render_subnet_env,
)

__all__ = [
    "Backend",
    "Hooks",
    "NetConf",
    "NetworkRequest",
    "SubnetEnv",
    "docker_options",
    "parse_net_conf",
    "parse_subnet_env",
    "render_docker_env",
    "render_subnet_env",
    "request_of",
]
