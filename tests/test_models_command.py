"""`fast-style models`: add files and downloads to the user's folder, and remove them."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fast_style.errors import DownloadError, ModelFileError, UsageError
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import save_model
from fast_style.storage import downloads
from fast_style.styles import user_folder
from tests.commands import failure, invoke
from tests.conftest import STYLE, make_card, make_weights

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A local server with a list of responses, one for each request; the last is repeated."""

    def __init__(self, content: bytes) -> None:
        self.content, self.etag = content, '"1"'
        self.answers: list[Answer] = [self.whole]
        self.requests: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append({"path": self.path, **self.headers})
                answers = server.answers
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                answer(self)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/{STYLE}-new.safetensors"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def send(self, to: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(body)

    def whole(self, to: BaseHTTPRequestHandler) -> None:
        """Answer as a good server: with ranges, but only of the same file."""
        asked, proof = to.headers.get("Range"), to.headers.get("If-Range", self.etag)
        size = len(self.content)
        if asked is None or proof != self.etag:
            length = {"Content_Length": str(size), "ETag": self.etag}
            self.send(to, 200, self.content, **length)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send(
            to,
            206,
            self.content[start:],
            Content_Length=str(size - start),
            Content_Range=f"bytes {start}-{size - 1}/{size}",
            ETag=self.etag,
        )

    def broken_off(self, kept: int) -> Answer:
        """Answer with only the first bytes, and then close the connection."""

        def answer(to: BaseHTTPRequestHandler) -> None:
            start = int(to.headers.get("Range", "bytes=0-").removeprefix("bytes=")[:-1])
            size = len(self.content)
            about = {"Content_Length": str(size - start), "ETag": self.etag}
            if start:
                about["Content_Range"] = f"bytes {start}-{size - 1}/{size}"
            self.send(to, 206 if start else 200, self.content[start : start + kept], **about)

        return answer

    def plain(self, status: int, body: bytes = b"", **headers: str) -> Answer:
        return lambda to: self.send(to, status, body, **headers)


@pytest.fixture
def server(model_file: Path) -> Iterator[Server]:
    server = Server(model_file.read_bytes())
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture(autouse=True)
def own(workplace, monkeypatch) -> Path:
    """The user's folder, which does not exist yet; no pauses between attempts, no proxies."""
    folder = workplace / "own"
    monkeypatch.setenv("FAST_STYLE_MODELS", str(folder))
    monkeypatch.setattr(downloads.time, "sleep", lambda _: None)
    monkeypatch.delenv(downloads.OFFLINE_VARIABLE, raising=False)
    monkeypatch.setattr(downloads, "getproxies", dict)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class TestFiles:
    def test_file_is_added_used_and_removed(self, own, model_file):
        result = invoke("models", "add", model_file, "--name", "mine")
        path = own / "mine.safetensors"
        assert (result.code, result.out) == (0, f"{path}\n")
        assert hashlib.sha256(model_file.read_bytes()).hexdigest() in result.err
        assert path.read_bytes() == model_file.read_bytes()
        assert names(own) == [path.name]
        assert [row["name"] for row in invoke("styles", "--json").json].count("mine") == 1
        assert invoke("models", "path", "mine").out == f"{path}\n"
        assert invoke("models", "remove", "mine").code == 0
        assert names(own) == []
        assert "there is no style 'mine' in your own" in failure("models", "remove", "mine")

    def test_path_of_the_folder(self, own):
        assert invoke("models", "path").out == f"{own}\n"

    def test_invalid_files_are_not_added(self, own, workplace, model_file):
        (workplace / "cut.safetensors").write_bytes(model_file.read_bytes()[:-9])
        message = failure("models", "add", "cut.safetensors")
        assert "cut.safetensors is cut short" in message
        (workplace / "notes.txt").write_text("neither")
        assert "neither a model file nor a picture" in failure("models", "add", "notes.txt")
        assert "there is no model file" in failure("models", "add", "nothing.safetensors")
        assert names(own) == []

    def test_existing_name_needs_overwrite(self, own, model_file):
        assert invoke("models", "add", model_file).code == 0
        assert "--overwrite" in failure("models", "add", model_file)
        assert invoke("models", "add", model_file, "--overwrite").code == 0

    def test_names_stay_in_the_folder(self, own, model_file, workplace):
        assert "expected letters" in failure("models", "add", model_file, "--name", "../x", code=2)
        outside = workplace / "outside.safetensors"
        outside.write_bytes(model_file.read_bytes())
        assert "no style" in failure("models", "remove", "../outside")
        assert "no style" in failure("models", "remove", outside)
        assert outside.exists()

    def test_shipped_styles_are_not_removed(self):
        assert "only those there can be removed" in failure("models", "remove", "starry-night")

    def test_sha256_is_checked(self, own, model_file):
        wrong = "0" * 64
        message = failure("models", "add", model_file, "--sha256", wrong)
        assert "is not the file that was expected" in message
        assert names(own) == []
        right = hashlib.sha256(model_file.read_bytes()).hexdigest().upper()
        assert invoke("models", "add", model_file, "--sha256", right).code == 0
        message = failure("models", "add", model_file, "--sha256", "12ab", code=2)
        assert "expected 64 hexadecimal digits" in message


class TestDownloads:
    def test_model_is_downloaded(self, own, server):
        result = invoke("models", "add", server.url)
        path = own / f"{STYLE}-new.safetensors"
        assert (result.code, result.out) == (0, f"{path}\n"), result.err
        assert server.sha256 in result.err
        assert path.read_bytes() == server.content
        assert names(own) == [path.name]
        assert server.requests[0]["User-Agent"].startswith("fast-style/")

    def test_interrupted_download_continues(self, own, server):
        server.answers = [server.broken_off(100), server.broken_off(50), server.whole]
        result = invoke("models", "add", server.url, "--name", "mine")
        assert result.code == 0
        assert result.err.count("broke off; trying again") == 2
        assert [r.get("Range") for r in server.requests] == [None, "bytes=100-", "bytes=150-"]
        assert (own / "mine.safetensors").read_bytes() == server.content

    def test_later_command_continues_a_download(self, own, server):
        server.answers = [server.broken_off(100), server.plain(503)]
        message = failure("models", "add", server.url, "-q")
        assert "100 bytes are kept" in message
        assert not any(name.endswith(".safetensors") for name in names(own))
        server.requests.clear()
        server.answers = [server.whole]
        assert invoke("models", "add", server.url).code == 0
        assert server.requests[0]["Range"] == "bytes=100-"
        assert names(own) == [f"{STYLE}-new.safetensors"]

    def test_changed_file_is_downloaded_from_the_start(self, own, server, tmp_path):
        server.answers = [server.broken_off(100), server.plain(404)]
        failure("models", "add", server.url, "-q")
        config = NetworkConfig(3, 0)
        save_model(tmp_path / "other", make_card(config=config), make_weights(config))
        server.content, server.etag = (tmp_path / "other").read_bytes(), '"2"'
        server.answers = [server.whole]
        assert invoke("models", "add", server.url).code == 0
        assert (own / f"{STYLE}-new.safetensors").read_bytes() == server.content

    def test_download_without_validator_starts_again(self, own, server):
        server.etag = 'W/"1"'
        server.answers = [server.broken_off(100), server.whole]
        assert invoke("models", "add", server.url).code == 0
        assert "Range" not in server.requests[1]
        # With a SHA-256 the end proves it.
        server.answers = [server.broken_off(100), server.whole]
        more = ("--sha256", server.sha256, "--overwrite")
        assert invoke("models", "add", server.url, *more).code == 0
        assert server.requests[3]["Range"] == "bytes=100-"

    @pytest.mark.parametrize("etag", ['"1"', 'W/"1"'])
    def test_server_without_ranges(self, own, server, etag):
        server.etag = etag
        size = str(len(server.content))
        whole = server.plain(200, server.content, Content_Length=size)
        server.answers = [server.broken_off(100), whole]
        assert invoke("models", "add", server.url, "--sha256", server.sha256).code == 0

    def test_wrong_range_is_refused(self, own, server):
        shifted = server.plain(
            206, server.content[90:], Content_Range=f"bytes 90-{len(server.content) - 1}/9999"
        )
        server.answers = [server.broken_off(100), shifted, server.whole]
        assert invoke("models", "add", server.url).code == 0
        assert (own / f"{STYLE}-new.safetensors").read_bytes() == server.content

    def test_retries_are_limited(self, own, server):
        server.answers = [server.broken_off(0)]
        message = failure("models", "add", server.url, "-q")
        assert "the connection broke off, 5 times in a row" in message
        assert not any(name.endswith(".safetensors") for name in names(own))

    def test_content_length_too_long(self, own, server):
        size = str(len(server.content) + 1)
        server.answers = [server.plain(200, server.content, Content_Length=size)]
        assert "broke off" in failure("models", "add", server.url, "-q")
        assert not any(name.endswith(".safetensors") for name in names(own))

    def test_content_length_too_short(self, own, server):
        size = str(len(server.content) - 1)
        server.answers = [server.plain(200, server.content, Content_Length=size)]
        message = failure("models", "add", server.url, "-q")
        assert f"{server.url} is cut short" in message
        assert names(own) == []

    def test_wrong_checksum_is_refused(self, own, server):
        wrong = "0" * 64
        message = failure("models", "add", server.url, "--sha256", wrong)
        assert f"its SHA-256 is {server.sha256}, not {wrong}" in message
        assert names(own) == []
        message = failure("models", "add", f"{server.url}#sha256={wrong}")
        assert "not the file that was expected" in message
        good = f"{server.url}#sha256={server.sha256}"
        message = failure("models", "add", good, "--sha256", wrong, code=2)
        assert "states another SHA-256" in message
        assert invoke("models", "add", good).code == 0

    @pytest.mark.parametrize("body", [b"", b"<!doctype html><title>Sign in</title>", bytes(999)])
    def test_response_that_is_not_a_model(self, own, server, body):
        server.content = body
        message = failure("models", "add", server.url)
        assert f"{server.url} is not a safetensors file" in message
        assert names(own) == []

    def test_too_large_download_is_refused(self, own, server, monkeypatch):
        huge = server.plain(200, b"x", Content_Length=str(10**12))
        server.answers = [huge]
        message = failure("models", "add", server.url, "--max-size", 1)
        assert "has 1000000000000 bytes, more than the limit of 1000000" in message
        endless = server.plain(200, bytes(3_000_000))  # without Content-Length
        server.answers = [endless]
        message = failure("models", "add", server.url, "--max-size", 1)
        assert "has more than 1000000 bytes: raise the limit with --max-size" in message
        assert names(own) == []

    @pytest.mark.parametrize("status", [403, 404, 410])
    def test_missing_url_is_reported(self, own, server, status):
        server.answers = [server.plain(status)]
        assert f"the server answers {status}" in failure("models", "add", server.url)
        assert len(server.requests) == 1

    def test_compressed_response_is_refused(self, own, server):
        server.answers = [server.plain(200, b"\x1f\x8b", Content_Encoding="gzip")]
        assert "compressed, which was not requested" in failure("models", "add", server.url)

    def test_redirects(self, own, server):
        server.answers = [server.plain(302, Location="/elsewhere.safetensors"), server.whole]
        assert invoke("models", "add", server.url).code == 0
        assert server.requests[1]["path"] == "/elsewhere.safetensors"
        server.answers = [server.plain(302, Location="/round")]
        message = failure("models", "add", server.url, "--overwrite")
        assert "redirects without end" in message
        server.answers = [server.plain(302, Location="file:///etc/passwd")]
        message = failure("models", "add", server.url, "--overwrite")
        assert "redirects to file:///etc/passwd, which is not http or https" in message

    def test_unreachable_server(self, own, server):
        server.http.server_close()
        server.http.shutdown()
        assert "there is no connection" in failure("models", "add", server.url, "-q")

    @pytest.mark.parametrize(
        "url", ["ftp://host/a.safetensors", "file:///a", "http://", "http://["]
    )
    def test_other_urls_are_refused(self, own, url):
        assert failure("models", "add", url, "--name", "x", code=2)

    def test_offline_makes_no_connection(self, own, server, monkeypatch, model_file):
        assert "--offline forbids" in failure("models", "add", server.url, "--offline")
        for value in ("1", "true", "yes"):
            monkeypatch.setenv(downloads.OFFLINE_VARIABLE, value)
            assert "FAST_STYLE_OFFLINE forbids" in failure("models", "add", server.url)
        assert server.requests == []
        assert invoke("models", "add", model_file, "--name", "local").code == 0
        for value in ("", "0", "no"):
            monkeypatch.setenv(downloads.OFFLINE_VARIABLE, value)
            assert invoke("models", "add", server.url, "--overwrite").code == 0

    def test_damaged_sidecar_is_ignored(self, own, server):
        server.answers = [server.broken_off(100), server.plain(404)]
        failure("models", "add", server.url, "-q")
        (sidecar,) = own.glob("*.json")
        assert json.loads(sidecar.read_text())["validator"] == '"1"'
        server.answers = [server.whole]
        for text in ("", "[]", '{"url": 3}', f'{{"url": "{server.url}", "validator": 5}}'):
            server.answers = [server.broken_off(100), server.plain(404)]
            failure("models", "add", server.url, "-q", "--overwrite")
            (sidecar,) = own.glob("*.json")
            sidecar.write_text(text)
            server.answers = [server.whole]
            assert invoke("models", "add", server.url, "--overwrite").code == 0

    def test_unwritable_folder_is_reported(self, own, server):
        own.write_text("a file in the way")
        assert "cannot be made" in failure("models", "add", server.url)

    def test_functions_of_the_library(self, own, server):
        with pytest.raises(UsageError):
            user_folder.add_url("ftp://x/y.safetensors", name="x")
        with pytest.raises(ModelFileError):
            user_folder.add_file(Path("nothing"), name="x")
        server.answers = [server.plain(500)]
        with pytest.raises(DownloadError, match="answers 500"):
            user_folder.add_url(server.url, pause=0)
