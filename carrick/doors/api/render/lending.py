"""What bridges of other engines have of our networks."""

from collections.abc import Iterable

from ....domains.flannel import docker_options, render_docker_env, render_subnet_env
from ....engine.cluster.lending import LentView
from ....engine.values import CreateNetwork
from . import Json


def render_lent(view: LentView) -> Json:
    env = view.env
    return {
        "NetworkID": view.network.id,
        "Network": view.network.name,
        "Bridge": view.bridge,
        "File": view.file,
        "Subnet": str(env.subnet4) if env is not None and env.subnet4 is not None else "",
        "IPv6Subnet": str(env.subnet6) if env is not None and env.subnet6 is not None else "",
        "MTU": env.mtu if env is not None else 0,
        "IPMasq": env is not None and env.masquerades,
        "Env": render_subnet_env(env) if env is not None else "",
        "DockerOptions": list(docker_options(env)) if env is not None else [],
        "DockerEnv": render_docker_env(docker_options(env)) if env is not None else "",
        "Problem": view.problem,
    }


def render_import(request: CreateNetwork, identifier: str, notes: Iterable[str]) -> Json:
    return {
        "Id": identifier,
        "Name": request.name,
        "Driver": request.driver,
        "Subnets": [pool.subnet for pool in request.pools],
        "Options": request.options,
        "Notes": list(notes),
    }
