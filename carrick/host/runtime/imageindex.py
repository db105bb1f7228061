"""Which images there are and what they are called: lookup, tags, and what a removal does.

Pure: an immutable value with functions from one to the next. `images` keeps it in a file and does
what the plans say. The rules and words are Docker's (moby/daemon/images).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from ...model.containers import Image
from ...model.errors import Conflict, InvalidRequest, NotFound
from ...model.ids import ImageId, short
from .image_store import ImageRemoval, ImageUser
from .reference import Reference, is_image_id, parse_reference


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image, and the digest of its OCI manifest (hex) among our blobs."""

    image: Image
    manifest: str
    blobs: tuple[str, ...] = ()
    """Hex digests of all its blobs, the manifests' too."""
    source: str = ""
    """The digest (hex) of the manifest as it came from a registry, or "": it goes out the same."""


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """All images by id. `orphans` were deleted by force while a stopped container was made of them: nobody
    sees them any more, but the container needs their files."""

    images: dict[ImageId, StoredImage] = field(default_factory=dict)
    orphans: dict[ImageId, StoredImage] = field(default_factory=dict)

    def find(self, reference: str) -> StoredImage:
        """Look up a name, a name with digest, an id or a prefix of one.

        Raises NotFound in Docker's words, InvalidRequest for an ambiguous prefix.
        """
        if reference.startswith("sha256:") and (found := self.images.get(ImageId(reference))):
            return found
        shown = reference
        try:
            named = parse_reference(reference).with_default_tag()
        except InvalidRequest:
            if not is_image_id(reference):
                raise
        else:
            shown = named.familiar
            for stored in self.images.values():
                if named.digest:
                    if f"{named.familiar_name}@{named.digest}" in stored.image.repo_digests:
                        return stored
                elif named.familiar in stored.image.repo_tags:
                    return stored
        if is_image_id(reference):
            prefix = "sha256:" + reference.removeprefix("sha256:")
            matches = [stored for key, stored in self.images.items() if key.startswith(prefix)]
            if len(matches) > 1:
                ids = ", ".join(sorted(short(match.image.id) for match in matches))
                raise InvalidRequest(f"image id prefix {reference} is ambiguous: {ids}")
            if matches:
                return matches[0]
        raise NotFound(f"No such image: {shown}")

    def tagged(self, named: Reference) -> StoredImage:
        """Return the image that a push means: names alone count, not ids.

        Raises NotFound in Docker's words for a push.
        """
        names = {tag for stored in self.images.values() for tag in stored.image.repo_tags}
        if not any(name.rpartition(":")[0] == named.familiar_name for name in names):
            raise NotFound(f"An image does not exist locally with the tag: {named.familiar_name}")
        for stored in self.images.values():
            if named.familiar in stored.image.repo_tags:
                return stored
        raise NotFound(f"tag does not exist: {named.familiar}")

    def add(
        self,
        stored: StoredImage,
        tags: Iterable[str] = (),
        digests: Iterable[str] = (),
        tagged_at: datetime | None = None,
    ) -> "ImageIndex":
        """Take an image in, with names; it may be there already."""
        known = self.images.get(stored.image.id)
        before = known.image if known is not None else stored.image
        image = replace(
            stored.image,
            parent=stored.image.parent or before.parent,
            tagged_at=before.tagged_at,
            repo_tags=before.repo_tags,
            repo_digests=tuple(sorted({*before.repo_digests, *digests})),
        )
        index = ImageIndex(
            self.images | {image.id: replace(stored, image=image)},
            {key: value for key, value in self.orphans.items() if key != image.id},
        )
        for tag in tags:
            index = index.tag(image.id, tag, tagged_at)
        return index

    def tag(self, image_id: ImageId, tag: str, moment: datetime | None = None) -> "ImageIndex":
        """Give an image a name (familiar, with its tag), taken from whoever had it.

        `moment` is now, where a person gives it and not a registry or an archive.
        """
        images = {}
        for key, stored in self.images.items():
            names = set(stored.image.repo_tags) - {tag} | ({tag} if key == image_id else set())
            images[key] = _with_tags(stored, names)
        if moment is not None:
            stored = images[image_id]
            images[image_id] = replace(stored, image=replace(stored.image, tagged_at=moment))
        return replace(self, images=images)

    def link(self, image_id: ImageId, parent: str) -> "ImageIndex":
        """Note what an image was made from, if that is here and it is one step away."""
        child, other = self.images.get(image_id), self.images.get(ImageId(parent))
        if child is None or other is None or child.image.history[:-1] != other.image.history:
            return self
        linked = replace(child, image=replace(child.image, parent=parent))
        return replace(self, images=self.images | {image_id: linked})

    def without(self, image_id: ImageId) -> "ImageIndex":
        """Forget an image."""
        return replace(self, images={key: value for key, value in self.images.items() if key != image_id})

    def orphan(self, image_id: ImageId) -> "ImageIndex":
        """Forget an image, but not its files."""
        return replace(self.without(image_id), orphans=self.orphans | {image_id: self.images[image_id]})

    def without_orphans(self, used: Collection[ImageId]) -> "ImageIndex":
        """Forget the orphans that nobody uses any more."""
        return replace(self, orphans={key: value for key, value in self.orphans.items() if key in used})

    def all(self) -> dict[ImageId, StoredImage]:
        """Return every image that has files here."""
        return self.orphans | self.images

    def blobs(self) -> frozenset[str]:
        """Return every blob that is needed."""
        return frozenset(blob for stored in self.all().values() for blob in stored.blobs)


def _with_tags(stored: StoredImage, tags: Iterable[str]) -> StoredImage:
    return replace(stored, image=replace(stored.image, repo_tags=tuple(sorted(tags))))


@dataclass(frozen=True, slots=True)
class RemovalPlan:
    """What a removal does: the index after it, the image to delete if any, what to report."""

    index: ImageIndex
    deleted: ImageId | None
    report: tuple[ImageRemoval, ...]


def plan_removal(
    index: ImageIndex, reference: str, *, force: bool, users: Collection[ImageUser]
) -> RemovalPlan:
    """Decide what removing `reference` does.

    By name: the name goes, and with the last name the image. By id: all names go if there is one at
    most, or with `force`. An image that a container was made of is not deleted: unless forced that
    is a Conflict. If forced, the names go; with a running container the image stays without them, with
    stopped ones it becomes an orphan, since they need its files to start again.
    """
    stored = index.find(reference)
    image = stored.image
    using = sorted(
        (user for user in users if user.image_id == image.id), key=lambda user: not user.is_running
    )
    repositories = {tag.rpartition(":")[0] for tag in image.repo_tags}
    is_by_id = _is_by_id(image.id, reference)
    if not is_by_id:
        named = parse_reference(reference).with_default_tag()
        is_last = len(image.repo_tags) <= 1
        if is_last and using and not force:
            raise Conflict(
                f'conflict: unable to remove repository reference "{reference}" (must force) - '
                f"container {short(using[0].container_id)} is using its referenced image "
                f"{short(image.id)}"
            )
        removed = (
            tuple(image.repo_digests)
            if named.digest
            else (named.familiar, *_digests_without_tag(image, named.familiar))
        )
        if not is_last or (using and using[0].is_running):
            return _untag(index, stored, removed)
        removed = (*image.repo_tags, *image.repo_digests)
    else:
        if using and using[0].is_running:
            raise Conflict(
                f"conflict: unable to delete {short(image.id)} (cannot be forced) - image is being "
                f"used by running container {short(using[0].container_id)}"
            )
        if len(repositories) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {short(image.id)} (must be forced) - image is "
                "referenced in multiple repositories"
            )
        if using and not force:
            raise Conflict(
                f"conflict: unable to delete {short(image.id)} (must be forced) - image is being "
                f"used by stopped container {short(using[0].container_id)}"
            )
        removed = (*image.repo_tags, *image.repo_digests)
    report = tuple(ImageRemoval(untagged=name) for name in removed)
    if using:
        return RemovalPlan(index.orphan(image.id), None, (*report, ImageRemoval(deleted=image.id)))
    layers = tuple(
        ImageRemoval(deleted=layer) for layer in reversed(image.layers) if not _shared(index, image, layer)
    )
    return RemovalPlan(index.without(image.id), image.id, (*report, ImageRemoval(deleted=image.id), *layers))


def _is_by_id(image_id: ImageId, reference: str) -> bool:
    return is_image_id(reference) and image_id.removeprefix("sha256:").startswith(
        reference.removeprefix("sha256:")
    )


def _digests_without_tag(image: Image, tag: str) -> tuple[str, ...]:
    """Return the digests of a repository of which `tag` is the last name here."""
    repository = tag.rpartition(":")[0]
    others = {name.rpartition(":")[0] for name in image.repo_tags if name != tag}
    if repository in others:
        return ()
    return tuple(name for name in image.repo_digests if name.partition("@")[0] == repository)


def _untag(index: ImageIndex, stored: StoredImage, names: tuple[str, ...]) -> RemovalPlan:
    image = replace(
        stored.image,
        repo_tags=tuple(tag for tag in stored.image.repo_tags if tag not in names),
        repo_digests=tuple(name for name in stored.image.repo_digests if name not in names),
    )
    after = replace(index, images=index.images | {image.id: replace(stored, image=image)})
    return RemovalPlan(after, None, tuple(ImageRemoval(untagged=name) for name in names))


def _shared(index: ImageIndex, image: Image, layer: str) -> bool:
    return any(layer in other.image.layers for key, other in index.all().items() if key != image.id)
