"""The drivers that there are: ours and anyone's, found through the entry-point group."""

from collections.abc import Iterable
from importlib.metadata import entry_points

from ..model.errors import Conflict, NotFound
from .contract import Driver

GROUP = "carrick.drivers"


class DriverRegistry:
    """Drivers by name. Refuses duplicates, and names the known ones on a miss."""

    def __init__(self, drivers: Iterable[Driver] = ()) -> None:
        self._drivers: dict[str, Driver] = {}
        for driver in drivers:
            self.add(driver)

    def add(self, driver: Driver) -> None:
        if driver.name in self._drivers:
            raise Conflict(f"two network drivers are called {driver.name}; remove one of the packages")
        self._drivers[driver.name] = driver

    def get(self, name: str) -> Driver:
        """Return a driver; NotFound in Docker's words, with the drivers that there are."""
        try:
            return self._drivers[name]
        except KeyError:
            raise NotFound(
                f"could not find plugin {name} in v1 plugin registry: plugin not found",
                remedy=f"use one of these drivers: {', '.join(self.names())}",
            ) from None

    def names(self) -> list[str]:
        return sorted(self._drivers)

    def __contains__(self, name: str) -> bool:
        return name in self._drivers


def load_drivers() -> DriverRegistry:
    """Build the registry from every installed package's entry points (a class without arguments)."""
    return DriverRegistry(point.load()() for point in entry_points(group=GROUP))
