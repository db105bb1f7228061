"""Volumes."""

from .kinds import INTEGER, TEXT, TEXT_MAP, TEXTS, TIME, Array, Null, Object, choice, maybe, shown
from .operations import Operation, Operations, document, done, filters, flag, json

USAGE = Object("VolumeUsage", {"RefCount": INTEGER, "Size": INTEGER})
VOLUME = Object(
    "Volume",
    {
        "CreatedAt": shown(TIME),
        "Driver": TEXT,
        "Labels": Null(TEXT_MAP),
        "Mountpoint": shown(TEXT),
        "Name": TEXT,
        "Options": Null(TEXT_MAP),
        "Scope": shown(choice("local")),
        "UsageData": maybe(shown(USAGE)),
    },
)
CREATE = Object("VolumeCreate", {"Name": TEXT, "Driver": TEXT, "DriverOpts": TEXT_MAP, "Labels": TEXT_MAP})

OPERATIONS: Operations = {
    "GET /volumes": Operation(
        "List volumes",
        {200: json(Object("VolumeList", {"Volumes": Array(VOLUME), "Warnings": Null(TEXTS)}))},
        parameters=(filters("`name`, `driver`, `label`, `dangling`"),),
    ),
    "POST /volumes/create": Operation(
        "Create a volume, or find the one of that name",
        {201: json(VOLUME, "It is there")},
        errors=(404, 409, 501),
        body=document(CREATE),
    ),
    "POST /volumes/prune": Operation(
        "Remove the volumes that no container uses",
        {200: json(Object("VolumesPruned", {"VolumesDeleted": Null(TEXTS), "SpaceReclaimed": INTEGER}))},
        parameters=(filters("`all`, `label`, `label!`"),),
    ),
    "GET /volumes/{name}": Operation("Inspect a volume", {200: json(VOLUME)}, errors=(404,)),
    "DELETE /volumes/{name}": Operation(
        "Remove a volume",
        {204: done("Removed")},
        errors=(404, 409),
        parameters=(flag("force", "Do not mind if there is none"),),
    ),
}
