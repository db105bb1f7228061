"""Containers: create, look at, change and remove them. Starting and ending is `lifecycle`'s.

`service` is what doors call; each of the other modules is one thing that it does.
"""

from .service import ContainerService

__all__ = ["ContainerService"]
