"""Proxies that the environment names for downloads and remote services."""

import base64
import socketserver
import threading
from pathlib import Path

import pytest

from fast_style.errors import UsageError
from fast_style.storage import downloads
from fast_style.storage.downloads import connection_pool, download

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class _Proxy(socketserver.ThreadingTCPServer):
    """Answers every request itself, and remembers its first line and headers."""

    allow_reuse_address = daemon_threads = True

    def __init__(self):
        self.requests: list[list[str]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        lines = iter(lambda: self.rfile.readline().decode().strip(), "")
        self.server.requests.append(list(lines))
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nproxy")


@pytest.fixture
def proxy():
    with _Proxy() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("form", ["{}:{}", "http://{}:{}", "http://{}:{}/"])
def test_proxy_is_asked(proxy, monkeypatch, tmp_path: Path, variable, form):
    monkeypatch.setenv(variable, form.format(*proxy.server_address))
    download("http://models.invalid/style.safetensors", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"proxy"
    assert proxy.requests[0][0] == "GET http://models.invalid/style.safetensors HTTP/1.1"


def test_the_scheme_s_own_proxy_comes_first(proxy, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("ALL_PROXY", "127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "{}:{}".format(*proxy.server_address))
    download("http://models.invalid/x", tmp_path / "part")
    assert len(proxy.requests) == 1


def test_user_and_password_are_sent(proxy, monkeypatch, tmp_path: Path):
    host, port = proxy.server_address
    monkeypatch.setenv("ALL_PROXY", f"http://me:s%40cret@{host}:{port}")
    download("http://models.invalid/x", tmp_path / "part")
    pairs = (line.split(": ", 1) for line in proxy.requests[0][1:])
    sent = {name.lower(): value for name, value in pairs}
    name, _, value = sent["proxy-authorization"].partition(" ")
    assert (name, base64.b64decode(value)) == ("Basic", b"me:s@cret")


def test_no_proxy_is_heeded(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "models.invalid")
    assert connection_pool("http://models.invalid/x").proxy is None
    assert connection_pool("https://other.invalid/x").proxy.port == 1


@pytest.mark.parametrize("value", ["http://", "ftp://host:1", "host:port", "http://me:secret@h:x"])
def test_unusable_proxies_are_named_without_their_password(monkeypatch, value):
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(UsageError, match="in the environment cannot be used; expected") as raised:
        connection_pool("https://models.invalid/x")
    assert "secret" not in str(raised.value)


def test_socks_names_the_package_that_it_needs(monkeypatch):
    monkeypatch.setattr(downloads, "installed", lambda module: False)
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1080")
    with pytest.raises(UsageError, match="needs PySocks: pip install pysocks"):
        connection_pool("https://models.invalid/x")
