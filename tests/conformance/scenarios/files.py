"""Files in and out of containers: archives, export, commit."""

import io
import tarfile

from ..client import Client

_TAR = {"Content-Type": "application/x-tar"}


def _archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.uid, member.mtime = len(text), 7, 1_700_000_000
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def archives(client: Client) -> None:
    client.run_through("ar1", "mkdir /dir; echo abc >/dir/file; ln -s file /dir/link; ln -s /dir /away")
    for path in (
        "/dir",
        "/dir/",
        "/dir/.",
        "/dir/file",
        "/dir/link",
        "/away",
        "/away/",
        "/away/file",
        "dir/file",
        "/none",
        "/dir/file/",
        "/dir/none",
        "/etc/passwd",
        "/../../etc/group",
    ):
        client.head(f"/containers/ar1/archive?path={path}")
        client.get(f"/containers/ar1/archive?path={path}")
    client.get("/containers/ar1/archive")
    client.head("/containers/ar1/archive")
    client.get("/containers/ar1/archive?path=")
    client.put("/containers/ar1/archive?path=/dir", raw=_archive(new="text"), headers=_TAR)
    client.get("/containers/ar1/archive?path=/dir/new")
    client.put("/containers/ar1/archive?path=/dir&copyUIDGID=1", raw=_archive(owned="text"), headers=_TAR)
    client.get("/containers/ar1/archive?path=/dir/owned")
    client.put("/containers/ar1/archive?path=/none", raw=_archive(new="text"), headers=_TAR)
    client.put("/containers/ar1/archive?path=/dir/file", raw=_archive(new="text"), headers=_TAR)
    client.put("/containers/ar1/archive?path=/dir", raw=b"this is no archive", headers=_TAR)
    client.put("/containers/ar1/archive?path=/dir", raw=b"", headers=_TAR, note="empty")
    client.put("/containers/ar1/archive", raw=_archive(new="text"), headers=_TAR)
    client.put(
        "/containers/ar1/archive?path=/&noOverwriteDirNonDir=1", raw=_archive(dir="text"), headers=_TAR
    )
    client.put(
        "/containers/ar1/archive?path=/", raw=_archive(**{"../../up": "x"}), headers=_TAR, note="upwards"
    )
    client.run("ar2", HostConfig={"ReadonlyRootfs": True})
    client.put("/containers/ar2/archive?path=/", raw=_archive(new="text"), headers=_TAR, note="read-only")
    client.quiet("POST", "/containers/create?name=ar3", {"Image": "busybox"})
    client.put("/containers/ar3/archive?path=/etc", raw=_archive(new="text"), headers=_TAR, note="created")
    client.get("/containers/ar3/archive?path=/etc/new", note="created")


def export(client: Client) -> None:
    client.quiet("POST", "/containers/create?name=exp", {"Image": "busybox"})
    client.get("/containers/exp/export")


def commit(client: Client) -> None:
    client.run_through("co1", "echo x >/made", Labels={"of": "container"}, Env=["C=1"])
    for query in (
        "repo=committed&tag=one&comment=why&author=who",
        "repo=committed",
        "",
        "repo=committed&tag=ch&changes=ENV%20A%3Db&changes=CMD%20%5B%22ls%22%5D",
        "repo=UPPER",
        "repo=committed&tag=a%20b",
        "repo=committed&changes=NONSENSE",
        "repo=committed&changes=RUN%20true",
        "repo=committed&pause=0&tag=np",
    ):
        client.post(f"/commit?container=co1&{query}")
    client.post(
        "/commit?container=co1&repo=committed&tag=cfg", {"Cmd": ["pwd"], "Labels": {"x": "y"}}, note="config"
    )
    for tag in ("one", "latest", "ch", "cfg"):
        client.get(f"/images/committed:{tag}/json")
        client.get(f"/images/committed:{tag}/history")
