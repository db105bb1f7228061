"""Docker plugins: found in the usual places, called over HTTP, waited for, and not for ever."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from carrick.host.plugins import HttpPlugins, Places, Refused
from carrick.host.plugins.discovery import Address, Tls
from carrick.model.errors import Failed, InvalidRequest, NotFound, Unavailable, Unsupported
from carrick.testing.certificates import Authority
from carrick.testing.fake_plugin import FakePlugin, application, serve


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("sockets", "etc", "lib"):
        (tmp_path / name).mkdir()
    return Places((tmp_path / "sockets",), (tmp_path / "etc", tmp_path / "lib"))


@pytest.fixture
async def plugin(places: Places) -> AsyncIterator[FakePlugin]:
    found = FakePlugin(kernel=False)
    runner = await serve(found, places.sockets[0] / "tp.sock")
    yield found
    await runner.cleanup()


@pytest.fixture
async def plugins(places: Places) -> AsyncIterator[HttpPlugins]:
    found = HttpPlugins(places, timeout_s=5)
    yield found
    await found.close()


class TestPlaces:
    async def test_sockets_come_first(self, places: Places, plugin: FakePlugin) -> None:
        (places.specs[0] / "tp.spec").write_text("tcp://192.0.2.1:8080")
        assert places.find("tp") == Address(socket=str(places.sockets[0] / "tp.sock"))

    async def test_a_socket_in_a_directory_of_its_own(self, places: Places) -> None:
        runner = await serve(FakePlugin(kernel=False), places.sockets[0] / "deep" / "deep.sock")
        assert places.find("deep").socket.endswith("deep/deep.sock")
        await runner.cleanup()

    @pytest.mark.parametrize(
        ("name", "text", "address"),
        [
            ("x.spec", "tcp://192.0.2.1:8080\n", Address(host="192.0.2.1", port=8080)),
            ("x.spec", "unix:///run/x.sock", Address(socket="/run/x.sock")),
            ("x.spec", "http://[fd00::1]:81", Address(host="fd00::1", port=81)),
            ("x.json", '{"Name": "x", "Addr": "https://a.example:1"}', Address("", "a.example", 1, Tls())),
            (
                "x.json",
                '{"Addr": "tcp://a.example:1", "TLSConfig": {"CAFile": "/ca", "InsecureSkipVerify": true}}',
                Address("", "a.example", 1, Tls("/ca", insecure=True)),
            ),
        ],
    )
    def test_files_with_an_address(self, places: Places, name: str, text: str, address: Address) -> None:
        (places.specs[1] / name).write_text(text)
        assert places.find("x") == address
        (places.specs[1] / "x").mkdir()
        (places.specs[1] / name).rename(places.specs[1] / "x" / name)
        assert places.find("x") == address

    @pytest.mark.parametrize(
        ("name", "text"), [("x.spec", ""), ("x.spec", "ftp://a"), ("x.json", "["), ("x.json", "[]")]
    )
    def test_files_that_are_wrong(self, places: Places, name: str, text: str) -> None:
        (places.specs[0] / name).write_text(text)
        with pytest.raises(InvalidRequest, match="the plugin file"):
            places.find("x")

    @pytest.mark.parametrize("name", ["x", "../x", "..", "", "a/../../x", "/etc/passwd", "x\0", "x y"])
    def test_none_of_that_name(self, places: Places, name: str) -> None:
        (places.sockets[0] / "x.sock").write_text("a file, not a socket")
        with pytest.raises(
            NotFound, match=r"could not find plugin .* in v1 plugin registry: plugin not found"
        ):
            places.find(name)

    async def test_our_own_socket_is_no_plugin_to_us(self, places: Places, plugin: FakePlugin) -> None:
        own = Places(places.sockets, places.specs, own=places.sockets[0] / "tp.sock")
        with pytest.raises(NotFound):
            own.find("tp")


class TestCalls:
    async def test_it_is_activated_once(self, plugins: HttpPlugins, plugin: FakePlugin) -> None:
        assert plugins.knows("tp")
        assert not plugins.knows("other")
        found = await asyncio.gather(*(plugins.activate("tp") for _ in range(5)))
        assert found[0] == {"NetworkDriver", "IpamDriver"}
        assert plugin.calls == [("Plugin.Activate", {})]

    async def test_what_it_refuses(self, plugins: HttpPlugins, plugin: FakePlugin) -> None:
        plugin.behaviour["NetworkDriver.Leave"] = {"Err": "not now"}
        with pytest.raises(Refused, match=r"^remote: not now$"):
            await plugins.call("tp", "NetworkDriver.Leave", {})
        plugin.behaviour["IpamDriver.ReleasePool"] = {"Err": "nor now"}
        with pytest.raises(Refused, match=r"^remote: nor now$"):
            await plugins.call("tp", "IpamDriver.ReleasePool", {})
        with pytest.raises(Unsupported, match=r"has no NetworkDriver\.Dance"):
            await plugins.call("tp", "NetworkDriver.Dance", {})

    @pytest.mark.parametrize(
        ("status", "body", "words"),
        [
            (200, "hello", "something else than a JSON object"),
            (200, "[]", "something else than a JSON object"),
            (500, "broken", "NetworkDriver.Join: broken"),
            (500, '{"Err": "really"}', "NetworkDriver.Join: really"),
            (403, "", "NetworkDriver.Join: status 403"),
        ],
    )
    async def test_strange_answers(
        self, places: Places, plugins: HttpPlugins, status: int, body: str, words: str
    ) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=status, text=body)

        app = web.Application()
        app.router.add_post("/{method}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(places.sockets[0] / "odd.sock")).start()
        with pytest.raises(Refused, match=words):
            await plugins.call("odd", "NetworkDriver.Join", {})
        await runner.cleanup()

    async def test_one_that_hangs(self, places: Places, plugin: FakePlugin) -> None:
        plugin.behaviour["NetworkDriver.Join"] = {"Hang": True}
        plugins = HttpPlugins(places, timeout_s=0.3)
        with pytest.raises(
            Unavailable, match=r'plugin "tp" did not answer NetworkDriver\.Join within 0\.3 s'
        ):
            await plugins.call("tp", "NetworkDriver.Join", {})
        assert [method for method, _ in plugin.calls] == ["NetworkDriver.Join"]
        await plugins.close()

    async def test_one_that_is_gone_and_comes_back(self, places: Places) -> None:
        plugin, socket = FakePlugin(kernel=False), places.sockets[0] / "tp.sock"
        plugins = HttpPlugins(places, timeout_s=20)
        runner = await serve(plugin, socket)
        await plugins.activate("tp")
        await runner.cleanup()
        socket.unlink(missing_ok=True)
        calling = asyncio.create_task(plugins.call("tp", "IpamDriver.GetDefaultAddressSpaces", {}))
        await asyncio.sleep(0.2)
        runner = await serve(plugin, socket)
        assert (await calling)["LocalDefaultAddressSpace"] == "here"
        await runner.cleanup()
        with pytest.raises(Unavailable, match=r'plugin "tp" cannot be reached at unix://.*tp\.sock'):
            await plugins.call("tp", "Plugin.Activate", {}, patience_s=0.1)
        await plugins.close()

    async def test_one_that_is_no_plugin(self, places: Places) -> None:
        plugins = HttpPlugins(places)
        runner = await serve(
            FakePlugin(kernel=False, missing=("Plugin.Activate",)), places.sockets[0] / "n.sock"
        )
        with pytest.raises(Refused, match='"n" is no plugin'):
            await plugins.activate("n")
        await runner.cleanup()
        await plugins.close()

    async def test_over_tcp_with_certificates_on_both_sides(self, tmp_path: Path, places: Places) -> None:
        authority = Authority(tmp_path / "ca")
        server, client = authority.issue("plugin", ["127.0.0.1"]), authority.issue("docker")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(server.cert, server.key)
        runner = web.AppRunner(application(FakePlugin(kernel=False)))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        address = f"https://127.0.0.1:{runner.addresses[0][1]}"
        files = {"CAFile": str(authority.ca), "CertFile": str(client.cert), "KeyFile": str(client.key)}
        for name, options in {
            "good": files,
            "lax": {**files, "CAFile": "", "InsecureSkipVerify": True},
            "stranger": {**files, "CAFile": ""},
            "broken": {"CAFile": "/nonexistent"},
        }.items():
            text = json.dumps({"Name": name, "Addr": address, "TLSConfig": options})
            (places.specs[0] / f"{name}.json").write_text(text)
        plugins = HttpPlugins(places, timeout_s=2)
        assert "IpamDriver" in await plugins.activate("good")
        assert "IpamDriver" in await plugins.activate("lax")
        with pytest.raises(Unavailable, match=r"cannot be reached at tcp://127\.0\.0\.1"):
            await plugins.activate("stranger")
        with pytest.raises(Failed, match='certificates for plugin "broken" cannot be used'):
            await plugins.activate("broken")
        await plugins.close()
        await runner.cleanup()
