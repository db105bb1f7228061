"""Make an image of a container: what it runs and what it has changed, over the image it was made from."""

from dataclasses import fields

from ..host.runtime.api import Runtime
from ..host.runtime.image_store import CommitRequest, ImageStore
from ..host.runtime.oci import apply_changes
from ..host.runtime.reference import parse_reference
from ..model.containers import ContainerConfig, ContainerStatus, ImageConfig
from .events import EventBus, emit_container
from .state import State

_SHARED = tuple({item.name for item in fields(ImageConfig)} & {item.name for item in fields(ContainerConfig)})


class Committer:
    def __init__(self, *, state: State, images: ImageStore, runtime: Runtime, events: EventBus) -> None:
        self._state = state
        self._images = images
        self._runtime = runtime
        self._events = events

    async def commit(
        self,
        container: str,
        reference: str,
        *,
        author: str,
        comment: str,
        changes: tuple[str, ...],
        pause: bool,
    ) -> str:
        """Return the new image's id."""
        record = self._state.find_container(container)
        familiar = parse_reference(reference).familiar if reference else ""
        own = _image_config(record.config)
        changed = apply_changes(ImageConfig(), changes)
        merged = ContainerConfig(**{name: getattr(changed, name) for name in _SHARED}).with_image(own)
        request = CommitRequest(
            base=record.image_id,
            container_id=record.id,
            config=_image_config(merged),
            container_config=own,
            reference=reference,
            author=author,
            comment=comment,
        )
        pauses = pause and record.state.status is ContainerStatus.RUNNING
        if pauses:
            await self._runtime.pause(record.id)
            emit_container(self._events, record, "pause")
        try:
            image_id = await self._images.commit(self._runtime.layer(record.id), request)
        finally:
            if pauses:
                await self._runtime.resume(record.id)
                emit_container(self._events, record, "unpause")
        if familiar:
            attributes = request.config.labels | {"name": familiar}
            self._events.emit("image", "tag", image_id, attributes)
        emit_container(self._events, record, "commit", comment=comment, imageID=image_id, imageRef=familiar)
        return image_id


def _image_config(config: ContainerConfig) -> ImageConfig:
    return ImageConfig(**{name: getattr(config, name) for name in _SHARED})
