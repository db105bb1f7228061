"""What is shown of containers: one with everything about it, or a list of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from ...host.runtime.api import Runtime
from ...host.runtime.image_store import ImageStore
from ...model.containers import Image
from ...model.errors import NotFound
from ...model.ids import SandboxId
from ...model.networks import Network
from .. import filters as filtering
from ..execs import ExecService
from ..state import State
from ..surroundings import Surroundings
from ..values import ContainerRecord, ContainerView, Filters
from .modes import MODES_WITHOUT_NETWORK


class Viewer:
    def __init__(
        self,
        *,
        state: State,
        runtime: Runtime,
        images: ImageStore,
        surroundings: Surroundings,
        execs: ExecService,
    ) -> None:
        self._state = state
        self._runtime = runtime
        self._images = images
        self._surroundings = surroundings
        self._execs = execs

    async def get(self, reference: str) -> ContainerView:
        record = self._state.find_container(reference)
        view = self._view(record, await self._image(record), self._state.network_or_none)
        own = view.sandbox.id if view.sandbox else SandboxId(record.id)
        directory = self._surroundings.directory(own)
        return replace(
            view,
            files={name: str(directory / name) for name in ("hosts", "resolv.conf", "hostname")},
            log_path=self._runtime.log_path(record.id),
            exec_ids=self._execs.of(record.id),
            layers=self._runtime.places(record.id, self._images.place(record.image_id)),
        )

    async def list(
        self, *, all: bool = False, limit: int = 0, filters: Filters | None = None
    ) -> list[ContainerView]:
        wanted = filters or {}
        matcher = filtering.ContainerMatcher(wanted, self._state)
        show_all = all or limit > 0 or matcher.names_states
        found = [
            record
            for record in self._state.containers.values()
            if (show_all or record.state.is_running) and matcher.matches(record)
        ]
        found.sort(key=lambda record: record.created, reverse=True)
        images = {image.id: image for image in await self._images.list()}
        find_network = cache(self._state.network_or_none)
        return [
            self._view(item, images.get(item.image_id), find_network)
            for item in (found[:limit] if limit else found)
        ]

    async def _image(self, record: ContainerRecord) -> Image | None:
        try:
            return await self._images.get(record.image_id)
        except NotFound:
            return None

    def _view(
        self, record: ContainerRecord, image: Image | None, find_network: Callable[[str], Network | None]
    ) -> ContainerView:
        """Return what a list shows of a container: there may be ten thousand in it."""
        sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
        ids = {}
        for item in record.attachments:
            if network := find_network(item.network):
                ids[item.network] = network.id
        mode = record.host_config.network_mode
        if mode in MODES_WITHOUT_NETWORK and (network := find_network(mode)):
            ids[mode] = network.id
        return ContainerView(record, sandbox, image, network_ids=ids)
