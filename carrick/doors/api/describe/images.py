"""Images: here, in archives, and in registries."""

from .containers import GRAPH_DRIVER
from .host_config import IMAGE_CONFIG
from .kinds import (
    BYTES,
    FLAG,
    IMAGE_ID,
    INTEGER,
    TEXT,
    TEXT_MAP,
    TEXTS,
    TIME,
    Array,
    Null,
    Object,
    Plain,
    before,
    choice,
    maybe,
)
from .operations import (
    REGISTRY_AUTH,
    TAR,
    Answer,
    Body,
    Operation,
    Operations,
    archive,
    done,
    filters,
    flag,
    json,
    lines,
    number,
    several,
    word,
)

ENTRY = Object(
    "ImageEntry",
    {
        "Containers": INTEGER,
        "Created": INTEGER,
        "Id": IMAGE_ID,
        "Labels": Null(TEXT_MAP),
        "ParentId": TEXT,
        "RepoDigests": TEXTS,
        "RepoTags": TEXTS,
        "SharedSize": INTEGER,
        "Size": INTEGER,
        "VirtualSize": before(INTEGER, 1, 44),
    },
)
_ROOT = Object("RootFS", {"Type": choice("layers"), "Layers": Array(IMAGE_ID)})
IMAGE = Object(
    "Image",
    {
        "Id": IMAGE_ID,
        "RepoTags": TEXTS,
        "RepoDigests": TEXTS,
        "Parent": TEXT,
        "Comment": TEXT,
        "Created": TIME,
        "Container": TEXT,
        "ContainerConfig": IMAGE_CONFIG,
        "DockerVersion": TEXT,
        "Author": TEXT,
        "Config": IMAGE_CONFIG,
        "Architecture": TEXT,
        "Variant": maybe(TEXT),
        "Os": TEXT,
        "Size": INTEGER,
        "VirtualSize": before(INTEGER, 1, 44),
        "GraphDriver": GRAPH_DRIVER,
        "RootFS": _ROOT,
        "Metadata": Object("ImageMetadata", {"LastTagTime": TIME}),
    },
)
_STEP = Object(
    "ImageHistory",
    {
        "Comment": TEXT,
        "Created": INTEGER,
        "CreatedBy": TEXT,
        "Id": Plain({"type": "string", "pattern": "^(<missing>|sha256:[0-9a-f]{64})$"}),
        "Size": INTEGER,
        "Tags": Null(TEXTS),
    },
)
_REMOVAL = Object("ImageRemoval", {"Untagged": maybe(TEXT), "Deleted": maybe(TEXT)})
_DETAIL = Object(
    "ProgressDetail",
    {"current": maybe(INTEGER), "total": maybe(INTEGER), "start": maybe(INTEGER), "units": maybe(TEXT)},
)
_FAILURE = Object("ProgressFailure", {"code": maybe(INTEGER), "message": TEXT})
PROGRESS = Object(
    "Progress",
    {
        "stream": maybe(TEXT),
        "status": maybe(TEXT),
        "progressDetail": maybe(_DETAIL),
        "progress": maybe(TEXT),
        "id": maybe(TEXT),
        "aux": maybe(Plain({"type": "object"})),
        "errorDetail": maybe(_FAILURE),
        "error": maybe(TEXT),
    },
)
_FOUND = Object(
    "SearchResult",
    {
        "name": TEXT,
        "description": TEXT,
        "star_count": INTEGER,
        "is_official": FLAG,
        "is_automated": FLAG,
    },
)
_PLATFORM = Object(
    "Platform",
    {
        "architecture": TEXT,
        "os": TEXT,
        "os.version": maybe(TEXT),
        "os.features": maybe(TEXTS),
        "variant": maybe(TEXT),
    },
)
_DESCRIPTOR = Object(
    "Descriptor",
    {
        "mediaType": TEXT,
        "digest": TEXT,
        "size": INTEGER,
        "urls": maybe(TEXTS),
        "annotations": maybe(Null(TEXT_MAP)),
        "data": maybe(Null(TEXT)),
        "platform": maybe(Null(_PLATFORM)),
        "artifactType": maybe(Null(TEXT)),
    },
)
_DISTRIBUTION = Object("Distribution", {"Descriptor": _DESCRIPTOR, "Platforms": Null(Array(_PLATFORM))})
_TAR = Answer("A tar archive", {TAR: BYTES})

OPERATIONS: Operations = {
    "GET /images/json": Operation(
        "List images",
        {200: json(Array(ENTRY))},
        errors=(404,),
        parameters=(
            flag("all", "Read by nobody: there are no intermediate images"),
            filters("`reference`, `label`, `dangling`, `before`, `since`, `until`"),
            flag("digests", "Read by nobody: digests are always shown"),
            flag("shared-size", "Read by nobody"),
        ),
    ),
    "GET /images/search": Operation(
        "Search a registry",
        {200: json(Array(_FOUND))},
        errors=(401, 403, 404, 501),
        parameters=(
            word("term", "What to look for", required=True),
            number("limit", "The first so many"),
            filters("`is-official`, `is-automated`, `stars`"),
            REGISTRY_AUTH,
        ),
    ),
    "GET /images/get": Operation(
        "Save several images",
        {200: _TAR},
        errors=(404,),
        parameters=(several("names", "Names or ids; also several in one, with commas"),),
    ),
    "POST /images/create": Operation(
        "Pull an image (`fromImage`), or make one of an archive (`fromSrc`)",
        {200: lines(PROGRESS, "Progress; a failure after the first line is the last")},
        errors=(401, 403, 404, 409, 501),
        parameters=(
            word("fromImage", "What to pull"),
            word("fromSrc", "`-`: the archive is the body; else a URL to fetch it from"),
            word("repo", "The name of the image made of an archive"),
            word("tag", "A tag or a digest"),
            word("message", "The comment of the image made of an archive"),
            word("platform", "os[/arch[/variant]]"),
            several("changes", "Instructions of a Dockerfile, one per line"),
            REGISTRY_AUTH,
        ),
        body=Body({TAR: BYTES, "*/*": BYTES}, required=False),
    ),
    "POST /images/load": Operation(
        "Take images from an archive",
        {200: lines(PROGRESS, "Progress; `Loaded image: NAME` is the result")},
        errors=(404, 409),
        parameters=(flag("quiet", "Only the result"), several("platform", "os[/arch[/variant]]")),
        body=archive(),
    ),
    "POST /images/prune": Operation(
        "Remove the images that no container uses",
        {
            200: json(
                Object("ImagesPruned", {"ImagesDeleted": Null(Array(_REMOVAL)), "SpaceReclaimed": INTEGER})
            )
        },
        parameters=(filters("`dangling`, `until`, `label`, `label!`"),),
    ),
    "GET /images/{name:path}/json": Operation(
        "Inspect an image",
        {200: json(IMAGE)},
        errors=(404,),
        parameters=(flag("manifests", "Read by nobody"),),
    ),
    "GET /images/{name:path}/history": Operation(
        "List the steps that made an image",
        {200: json(Array(_STEP), "The newest first")},
        errors=(404,),
    ),
    "GET /images/{name:path}/get": Operation("Save an image", {200: _TAR}, errors=(404,)),
    "POST /images/{name:path}/tag": Operation(
        "Give an image another name",
        {201: done("Named")},
        errors=(404, 409),
        parameters=(word("repo", "The name", required=True), word("tag", "`latest` without")),
    ),
    "POST /images/{name:path}/push": Operation(
        "Push an image to its registry",
        {200: lines(PROGRESS, "Progress; a failure after the first line is the last")},
        errors=(401, 403, 404, 409, 501),
        parameters=(word("tag", "The tag to push"), word("platform", "One platform only"), REGISTRY_AUTH),
    ),
    "DELETE /images/{name:path}": Operation(
        "Remove a name of an image, and with the last one the image",
        {200: json(Array(_REMOVAL))},
        errors=(403, 404, 409),
        parameters=(
            flag("force", "Also if containers that do not run are made of it"),
            flag("noprune", "Read by nobody: there are no parents"),
        ),
    ),
    "GET /distribution/{name:path}/json": Operation(
        "Look at an image in its registry",
        {200: json(_DISTRIBUTION)},
        errors=(401, 403, 404, 501),
        parameters=(REGISTRY_AUTH,),
    ),
}
