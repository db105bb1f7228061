"""Images and volumes as doors use them: the stores of `host/runtime`, with their users and events."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

from ..host.runtime.image_store import (
    ImageRemoval,
    ImageStore,
    ImageUser,
    Progress,
    ProgressCallback,
    PushResult,
    RegistryAuth,
    RemoteImage,
    SearchResult,
)
from ..host.runtime.reference import parse_reference
from ..host.runtime.volume_store import Volume, VolumeStore
from ..model.containers import Image, ImageHistory
from ..model.errors import Conflict, InvalidRequest, NotFound
from ..model.ids import ContainerId, ImageId
from . import filters as filtering
from .clock import Clock
from .committing import Committer
from .events import EventBus
from .state import State
from .values import Filters

_IMAGE_FILTERS = {"dangling", "label", "before", "since", "until", "reference"}


class ImageService:
    def __init__(
        self, *, state: State, images: ImageStore, committer: Committer, events: EventBus, clock: Clock
    ) -> None:
        self._state = state
        self._images = images
        self._committer = committer
        self._events = events
        self._clock = clock

    def _users(self) -> list[ImageUser]:
        return [
            ImageUser(item.id, item.image_id, item.state.is_running)
            for item in self._state.containers.values()
        ]

    def _emit(self, action: str, image: Image, name: str = "") -> None:
        """Tell what was done to an image, with its labels; its name is its id but where it gets one."""
        self._events.emit("image", action, image.id, image.config.labels | {"name": name or image.id})

    def _emit_name(self, action: str, reference: str) -> None:
        """Tell what was done with a registry: there the name is what counts."""
        named = parse_reference(reference).with_default_tag()
        self._events.emit("image", action, named.familiar, {"name": named.familiar_name})

    async def _emit_made(self, image_id: str, reference: str) -> None:
        image = await self._images.get(image_id)
        self._emit("import", image)
        if reference:
            self._emit("tag", image, parse_reference(reference).familiar)

    async def pull(
        self,
        reference: str,
        progress: ProgressCallback,
        *,
        platform: str = "",
        auth: RegistryAuth | None = None,
        all_tags: bool = False,
    ) -> Image:
        if not all_tags:
            image = await self._images.pull(reference, progress, platform=platform, auth=auth)
            self._emit_name("pull", reference)
            return image
        pulled: Image | None = None
        is_news = False

        def without_status(line: Progress) -> None:
            nonlocal is_news
            if line.status.startswith("Status: "):
                # One for all of them, at the end.
                is_news = is_news or line.status.startswith("Status: Downloaded")
            else:
                progress(line)

        for tag in await self._images.remote_tags(reference, auth):
            name = f"{reference}:{tag}"
            pulled = await self._images.pull(name, without_status, platform=platform, auth=auth)
            self._emit_name("pull", name)
        if pulled is None:
            raise NotFound(f"manifest for {reference} not found: the repository has no tags")
        news = "Downloaded newer image for" if is_news else "Image is up to date for"
        progress(Progress(f"Status: {news} {reference}"))
        return pulled

    async def push(
        self,
        reference: str,
        progress: ProgressCallback,
        *,
        auth: RegistryAuth | None = None,
        all_tags: bool = False,
    ) -> tuple[PushResult, ...]:
        names = await self._names_in(reference) if all_tags else (reference,)
        results = []
        for number, name in enumerate(names):
            # One heading for all tags.
            report = progress if number == 0 else _without_heading(progress)
            results.append(await self._images.push(name, report, auth=auth))
            self._emit_name("push", name)
        return tuple(results)

    async def _names_in(self, repository: str) -> tuple[str, ...]:
        """Return the names of the images here in a repository, or the repository if there are none:
        the store knows the words to refuse it with."""
        found = sorted(
            tag
            for image in await self._images.list()
            for tag in image.repo_tags
            if tag.rpartition(":")[0] == repository
        )
        return tuple(found) or (repository,)

    async def check_credentials(self, server: str, auth: RegistryAuth) -> str:
        return await self._images.check_credentials(server, auth)

    async def remote(self, reference: str, auth: RegistryAuth | None = None) -> RemoteImage:
        return await self._images.remote(reference, auth)

    async def search(
        self,
        term: str,
        *,
        limit: int = 25,
        filters: Filters | None = None,
        auth: RegistryAuth | None = None,
    ) -> tuple[SearchResult, ...]:
        wanted = filters or {}
        filtering.check_names(wanted, {"is-automated", "is-official", "stars"})
        stars = max((_whole("stars", text) for text in wanted.get("stars", ())), default=0)
        is_official = filtering.flag(wanted, "is-official")
        is_automated = filtering.flag(wanted, "is-automated")
        return tuple(
            result
            for result in await self._images.search(term, limit=limit, auth=auth)
            if result.stars >= stars
            and is_official in (None, result.is_official)
            and is_automated in (None, result.is_automated)
        )

    async def import_url(
        self,
        url: str,
        reference: str,
        changes: tuple[str, ...],
        message: str,
        progress: ProgressCallback,
    ) -> str:
        image_id = await self._images.import_url(url, reference, changes, message, progress)
        await self._emit_made(image_id, reference)
        return image_id

    async def load(self, archive: AsyncIterable[bytes] | Path, progress: ProgressCallback) -> tuple[str, ...]:
        names = await self._images.load(archive, progress)
        for name in names:
            self._emit("load", await self._images.get(name))
        return names

    async def import_tar(
        self, archive: AsyncIterable[bytes], reference: str, changes: tuple[str, ...], message: str
    ) -> str:
        image_id = await self._images.import_tar(archive, reference, changes, message)
        await self._emit_made(image_id, reference)
        return image_id

    async def save(self, references: tuple[str, ...]) -> AsyncIterator[bytes]:
        async with aclosing(self._images.save(references)) as parts:
            async for part in parts:
                yield part
        for reference in references:
            with suppress(NotFound):
                self._emit("save", await self._images.get(reference))

    async def tag(self, reference: str, target: str) -> None:
        image = await self._images.get(reference)
        await self._images.tag(image.id, target)
        self._emit("tag", image, parse_reference(target).familiar)

    async def list(self, *, all: bool = False, filters: Filters | None = None) -> list[Image]:
        wanted = filters or {}
        filtering.check_names(wanted, _IMAGE_FILTERS)
        images = await self._images.list()
        moments = {
            name: (await self._images.get(wanted[name][-1])).created
            for name in ("before", "since")
            if wanted.get(name)
        }
        return [
            replace(image, repo_tags=filtering.tags_asked_for(image, wanted))
            for image in images
            if filtering.image_matches(image, wanted, moments, self._clock.now_ns())
        ]

    async def get(self, reference: str) -> Image:
        return await self._images.get(reference)

    async def history(self, reference: str) -> tuple[ImageHistory, ...]:
        return await self._images.history(reference)

    async def remove(self, reference: str, *, force: bool = False) -> tuple[ImageRemoval, ...]:
        image = await self._images.get(reference)
        removals = await self._images.remove(reference, force=force, users=self._users())
        for item in removals:
            if item.untagged:
                self._emit("untag", image)
            elif item.deleted == image.id:
                self._emit("delete", image)
        return removals

    async def prune(self, filters: Filters) -> tuple[tuple[ImageRemoval, ...], int]:
        filtering.check_names(filters, {"dangling", "until", "label", "label!"})
        all_unused = filtering.flag(filters, "dangling") is False
        others = {name: values for name, values in filters.items() if name != "dangling"}
        used = {user.image_id for user in self._users()}
        now_ns = self._clock.now_ns()
        chosen = [
            image
            for image in await self._images.list()
            if image.id not in used
            and (all_unused or not image.repo_tags)
            and filtering.image_matches(image, others, {}, now_ns)
        ]
        removals, reclaimed = await self._images.prune(chosen, used=used)
        doomed = {image.id: image for image in chosen}
        for item in removals:
            if (gone := doomed.get(ImageId(item.deleted))) is not None:
                self._emit("delete", gone)
        self._events.emit("image", "prune", "", {"reclaimed": str(reclaimed)})
        return removals, reclaimed

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
        """Make an image of a container."""
        return await self._committer.commit(
            container, reference, author=author, comment=comment, changes=changes, pause=pause
        )

    async def place(self, reference: str) -> Path:
        """Return where an image's files are."""
        return self._images.place((await self._images.get(reference)).id)

    async def bytes_on_disk(self) -> int:
        return await self._images.bytes_on_disk()


def _without_heading(progress: ProgressCallback) -> ProgressCallback:
    def report(line: Progress) -> None:
        if not line.status.startswith("The push refers to repository"):
            progress(line)

    return report


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidRequest(f"Invalid filter '{name}={text}'") from None


class VolumeService:
    def __init__(self, *, state: State, volumes: VolumeStore, events: EventBus) -> None:
        self._state = state
        self._volumes = volumes
        self._events = events

    async def create(
        self, name: str, *, driver: str, options: dict[str, str], labels: dict[str, str]
    ) -> Volume:
        volume = await self._volumes.create(name, driver=driver or "local", options=options, labels=labels)
        self._events.emit("volume", "create", volume.name, {"driver": volume.driver})
        return volume

    async def get(self, name: str) -> Volume:
        return await self._volumes.get(name)

    async def size(self, name: str) -> int:
        return await self._volumes.size(name)

    async def list(self, filters: Filters) -> list[Volume]:
        filtering.check_names(filters, {"dangling", "driver", "label", "name"})
        dangling = filtering.flag(filters, "dangling")
        return [
            volume
            for volume in await self._volumes.list()
            if filtering.matches_text(filters, "name", volume.name)
            and filtering.matches_exactly(filters, "driver", volume.driver)
            and filtering.matches_labels(filters, volume.labels)
            and (dangling is None or dangling == (not self._users(volume.name)))
        ]

    def _users(self, name: str) -> tuple[ContainerId, ...]:
        return tuple(
            item.id
            for item in self._state.containers.values()
            if any(point.name == name for point in item.mounts)
        )

    async def remove(self, name: str, *, force: bool = False) -> None:
        await self._volumes.remove(name, force=force, users=self._users(name))
        self._events.emit("volume", "destroy", name, {"driver": "local"})

    async def prune(self, filters: Filters) -> tuple[tuple[str, ...], int]:
        filtering.check_names(filters, {"all", "label", "label!"})
        every = filtering.flag(filters, "all")
        removed: list[str] = []
        reclaimed = 0
        for volume in await self._volumes.list():
            if self._users(volume.name) or not (volume.anonymous or every):
                continue
            if not filtering.matches_labels(filters, volume.labels):
                continue
            size = await self._volumes.size(volume.name)
            try:
                await self._volumes.remove(volume.name, users=self._users(volume.name))
            except Conflict:
                continue
            reclaimed += size
            removed.append(volume.name)
        self._events.emit("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return tuple(removed), reclaimed
