"""A service of a few lines for tests: the library behind http.server."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fast_style
from fast_style import Stylizer
from fast_style.styles.registry import list_styles


class Service:
    """A service, whose answers can be replaced.

    Attributes:
        answers: sent instead of the real ones, in order: status, headers, body.
        asked: method and path of every request, and the fields of forms.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[tuple[str, str, dict[str, bytes]]] = []
        self.keys: list[str | None] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @contextmanager
    def running(self) -> Iterator["Service"]:
        options = {"poll_interval": 0.01}
        thread = threading.Thread(target=self.server.serve_forever, kwargs=options)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def handler(self):
        service = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self.answer(*service.answer("GET", self.path, {}))

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
                parts = message_from_bytes(head + body, policy=policy.HTTP).iter_parts()
                fields = {
                    part.get_param("name", header="content-disposition"): part.get_payload(
                        decode=True
                    )
                    for part in parts
                }
                self.answer(*service.answer("POST", self.path, fields))

            def answer(self, status, headers, content):
                service.keys.append(self.headers["X-API-Key"])
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                with suppress(ConnectionError):  # the client has disconnected
                    self.end_headers()
                    self.wfile.write(content)

        return Handler

    def answer(self, method, path, fields):
        self.asked.append((method, path, fields))
        if self.answers:
            return self.answers.pop(0)
        cards = {entry.name: entry.card for entry in list_styles() if entry.card}
        if path == "/v1/styles":
            return document({"styles": [{"name": name} for name in cards]})
        if path.startswith("/v1/styles/"):
            name, _, what = path.removeprefix("/v1/styles/").partition("/")
            if name not in cards:
                return problem(404, f"there is no style {name!r}")
            card = cards[name]
            if what:
                return 200, {"Content-Type": "image/webp"}, card.thumbnail
            given = {"thumbnail": f"/v1/styles/{name}/thumbnail"} if card.thumbnail else {}
            return document(card.to_dict() | given)
        try:
            picture = Stylizer(fields["style"].decode()).stylize(
                fields["photo"],
                size=int(fields["size"]),
                stroke_size=fields["stroke_size"].decode()
                if fields["stroke_size"] == b"auto"
                else float(fields["stroke_size"]),
            )
        except fast_style.StyleNotFoundError as error:
            return problem(404, str(error))
        buffer = io.BytesIO()
        picture.save(buffer, fields["format"].decode())
        return 200, {"Content-Type": "image/png"}, buffer.getvalue()


def document(value):
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def problem(status, detail, **headers):
    body = {"type": "about:blank", "title": "No", "status": status, "detail": detail}
    kind = {"Content-Type": "application/problem+json", **headers}
    return status, kind, json.dumps(body).encode()
