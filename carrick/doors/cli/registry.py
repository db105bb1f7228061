"""Which command lives where: the table that lets a command's module be imported only when it runs.

Each name maps to `module:ATTRIBUTE` below `carrick.doors.cli`. Docker's plain forms (`carrick ps`)
and its groups (`carrick container ls`) share the same commands.
"""

_LIFE = "commands.lifecycle"
_LOOK = "commands.looking"

CONTAINER = {
    "attach": "commands.attaching:ATTACH",
    "commit": "commands.files:COMMIT",
    "cp": "commands.copying:CP",
    "create": "commands.running:CREATE",
    "diff": "commands.files:DIFF",
    "exec": "commands.executing:EXEC",
    "export": "commands.files:EXPORT",
    "inspect": "commands.inspecting:CONTAINER_INSPECT",
    "kill": f"{_LIFE}:KILL",
    "logs": f"{_LOOK}:LOGS",
    "ls": "commands.listing:PS",
    "pause": f"{_LIFE}:PAUSE",
    "port": "commands.port:PORT",
    "prune": "commands.pruning:CONTAINER_PRUNE",
    "rename": f"{_LIFE}:RENAME",
    "restart": f"{_LIFE}:RESTART",
    "rm": f"{_LIFE}:RM",
    "run": "commands.running:RUN",
    "start": "commands.attaching:START",
    "stats": "commands.stats:STATS",
    "stop": f"{_LIFE}:STOP",
    "top": f"{_LOOK}:TOP",
    "unpause": f"{_LIFE}:UNPAUSE",
    "update": "commands.updating:UPDATE",
    "wait": f"{_LIFE}:WAIT",
}
CONTAINER_ALIASES = {"list": "ls", "ps": "ls", "remove": "rm"}

IMAGE = {
    "history": "commands.images:HISTORY",
    "import": "commands.transfer:IMPORT",
    "inspect": "commands.inspecting:IMAGE_INSPECT",
    "load": "commands.transfer:LOAD",
    "ls": "commands.images:IMAGES",
    "prune": "commands.pruning:IMAGE_PRUNE",
    "pull": "commands.transfer:PULL",
    "push": "commands.transfer:PUSH",
    "rm": "commands.images:RMI",
    "save": "commands.transfer:SAVE",
    "tag": "commands.images:TAG",
}
IMAGE_ALIASES = {"list": "ls", "remove": "rm"}

NETWORK = {
    "connect": "commands.networks:CONNECT",
    "create": "commands.network_create:CREATE",
    "disconnect": "commands.networks:DISCONNECT",
    "inspect": "commands.inspecting:NETWORK_INSPECT",
    "ls": "commands.network_listing:LS",
    "prune": "commands.pruning:NETWORK_PRUNE",
    "rm": "commands.networks:RM",
}
NETWORK_ALIASES = {"list": "ls", "remove": "rm"}

VOLUME = {
    "create": "commands.volumes:CREATE",
    "inspect": "commands.inspecting:VOLUME_INSPECT",
    "ls": "commands.volumes:LS",
    "prune": "commands.pruning:VOLUME_PRUNE",
    "rm": "commands.volumes:RM",
}
VOLUME_ALIASES = {"list": "ls", "remove": "rm"}

SYSTEM = {
    "df": "commands.system:DF",
    "events": "commands.events:EVENTS",
    "info": "commands.system:INFO",
    "install": "commands.installing:INSTALL",
    "prune": "commands.pruning:SYSTEM_PRUNE",
    "uninstall": "commands.installing:UNINSTALL",
}

CLUSTER = {
    "info": "commands.cluster:INFO",
    "init": "commands.cluster:INIT",
    "recover": "commands.cluster:RECOVER",
    "token": "commands.cluster:TOKEN",
}

NODE = {
    "activate": "commands.nodes:ACTIVATE",
    "drain": "commands.nodes:DRAIN",
    "inspect": "commands.nodes:INSPECT",
    "ls": "commands.nodes:LS",
    "rm": "commands.nodes:RM",
    "rotate-keys": "commands.nodes:ROTATE_KEYS",
    "update": "commands.nodes:UPDATE",
}
NODE_ALIASES = {"list": "ls", "remove": "rm"}

PEER = {"ls": "commands.nodes:PEER_LS"}
PEER_ALIASES = {"list": "ls"}

_LAB = "commands.lab"
LAB = {
    "cut": f"{_LAB}:CUT",
    "down": f"{_LAB}:DOWN",
    "etcd": "groups:LAB_ETCD",
    "exec": f"{_LAB}:EXEC",
    "heal": f"{_LAB}:HEAL",
    "kill": f"{_LAB}:KILL",
    "logs": f"{_LAB}:LOGS",
    "loss": f"{_LAB}:LOSS",
    "ls": f"{_LAB}:LS",
    "rate": f"{_LAB}:RATE",
    "start": f"{_LAB}:START",
    "status": f"{_LAB}:STATUS",
    "stop": f"{_LAB}:STOP",
    "up": f"{_LAB}:UP",
}
LAB_ETCD = {
    "compact": f"{_LAB}:ETCD_COMPACT",
    "move-leader": f"{_LAB}:ETCD_MOVE_LEADER",
    "start": f"{_LAB}:ETCD_START",
    "stop": f"{_LAB}:ETCD_STOP",
}

_FLANNEL = "commands.flannel"
FLANNEL = {
    "env": f"{_FLANNEL}:ENV",
    "import": f"{_FLANNEL}:IMPORT",
    "ls": f"{_FLANNEL}:LS",
    "release": f"{_FLANNEL}:RELEASE",
}
FLANNEL_ALIASES = {"list": "ls"}

PORT = {
    "add": "commands.port:ADD",
    "rm": "commands.port:RM",
}

GUEST = {"ls": "commands.guests:LS"}
GUEST_ALIASES = {"list": "ls"}

CNI = {
    "config": "commands.cni:CONFIG",
    "install": "commands.cni:INSTALL",
    "uninstall": "commands.cni:UNINSTALL",
}

_PLAIN = (
    *("attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause"),
    *("port", "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause"),
    *("update", "wait"),
)

ROOT = {
    **{name: CONTAINER[name] for name in _PLAIN},
    **{name: IMAGE[name] for name in ("history", "import", "load", "pull", "push", "save", "tag")},
    "cluster": "groups:CLUSTER",
    "cni": "groups:CNI",
    "completion": "commands.shell:COMPLETION",
    "container": "groups:CONTAINER",
    "doctor": "commands.doctor:DOCTOR",
    "events": SYSTEM["events"],
    "flannel": "groups:FLANNEL",
    "gc": "commands.guests:GC",
    "guest": "groups:GUEST",
    "image": "groups:IMAGE",
    "images": IMAGE["ls"],
    "info": SYSTEM["info"],
    "inspect": "commands.inspecting:INSPECT",
    "join": "commands.cluster:JOIN",
    "leave": "commands.cluster:LEAVE",
    "login": "commands.registries:LOGIN",
    "logout": "commands.registries:LOGOUT",
    "lab": "groups:LAB",
    "network": "groups:NETWORK",
    "node": "groups:NODE",
    "peer": "groups:PEER",
    "ps": CONTAINER["ls"],
    "rmi": IMAGE["rm"],
    "search": "commands.registries:SEARCH",
    "system": "groups:SYSTEM",
    "version": "commands.system:VERSION",
    "volume": "groups:VOLUME",
}
