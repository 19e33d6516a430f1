"""A client of the demo without a browser, which implements the protocol of Streamlit's page.

Twenty browsers would need more of the two cores than the demo itself. This client opens the same
websocket, uploads by the same requests with the same tokens, and reads the same messages.
"""

import asyncio
import base64
import json
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any, Self

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect


class Visitor:
    """One session.

    Attributes:
        problems: the texts of alerts and exceptions that the page showed.
    """

    def __init__(self, port: int, style: str) -> None:
        self._port, self._query = port, f"style={style}"
        self._address = f"http://localhost:{port}"
        self._socket: ClientConnection | None = None
        self._session = self._uploader = self._token = ""
        self._deletions: list[str] = []
        self.problems: list[str] = []

    async def __aenter__(self) -> Self:
        """Open the page, and wait for its session and its uploader."""
        self._token = await asyncio.to_thread(self._fetch_token)
        self._socket = await connect(
            f"ws://localhost:{self._port}/_stcore/stream",
            subprotocols=["streamlit"],  # type: ignore[list-item]
            additional_headers={"Cookie": f"_streamlit_xsrf={self._token}"},
            origin=self._address,  # type: ignore[arg-type]
            max_size=None,
        )
        message = BackMsg()
        message.rerun_script.query_string = self._query
        await self._socket.send(message.SerializeToString())
        while not (self._uploader and self._session):
            await self._next()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the page."""
        if self._socket is not None:
            await self._socket.close()

    async def upload(self, path: Path) -> tuple[float, bytes]:
        """Upload a photo, replacing the previous one.

        Returns:
            Seconds until the result arrived, and its file.
        """
        assert self._socket is not None
        start = time.perf_counter()
        content = path.read_bytes()
        request = BackMsg()
        request.file_urls_request.request_id = str(uuid.uuid4())
        request.file_urls_request.file_names.append(path.name)
        request.file_urls_request.session_id = self._session
        await self._socket.send(request.SerializeToString())
        while True:
            answer = await self._next()
            if answer.WhichOneof("type") == "file_urls_response":
                (urls,) = answer.file_urls_response.file_urls
                break
        await asyncio.to_thread(self._send, "PUT", urls.upload_url, path.name, content)
        rerun = BackMsg()
        rerun.rerun_script.query_string = self._query
        state = rerun.rerun_script.widget_states.widgets.add(id=self._uploader)
        state.file_uploader_state_value.uploaded_file_info.add(
            name=path.name, size=len(content), file_id=urls.file_id, file_urls=urls
        )
        await self._socket.send(rerun.SerializeToString())
        while True:
            data = read_slider_data(await self._next())
            if data is not None and data["after_alt"].startswith(f"{path.name} "):
                break
        for url in self._deletions:
            await asyncio.to_thread(self._send, "DELETE", url, "", b"")
        self._deletions = [urls.delete_url]
        return time.perf_counter() - start, base64.b64decode(data["after"].partition(",")[2])

    async def _next(self) -> ForwardMsg:
        """Read a message; keep the session, the uploader and the problems that it shows."""
        assert self._socket is not None
        message = ForwardMsg()
        message.ParseFromString(await self._socket.recv(decode=False))
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._session = message.new_session.initialize.session_id
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            what = element.WhichOneof("type")
            if what == "file_uploader" and element.file_uploader.id.endswith("-upload"):
                self._uploader = element.file_uploader.id
            elif what in ("alert", "exception"):
                self.problems.append(str(element)[:300])
        return message

    def _fetch_token(self) -> str:
        with urllib.request.urlopen(f"{self._address}/_stcore/health", timeout=60) as answer:
            cookies = answer.headers.get_all("Set-Cookie") or []
        tokens = [c for c in cookies if c.startswith("_streamlit_xsrf=")]
        return tokens[0].partition("=")[2].partition(";")[0] if tokens else ""

    def _send(self, method: str, url: str, name: str, content: bytes) -> None:
        headers = {"X-Xsrftoken": self._token, "Cookie": f"_streamlit_xsrf={self._token}"}
        body = None
        if method == "PUT":
            mark = uuid.uuid4().hex
            headers["Content-Type"] = f"multipart/form-data; boundary={mark}"
            head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"'
            head += "\r\nContent-Type: image/jpeg\r\n\r\n"
            body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
        request = urllib.request.Request(
            self._address + url, data=body, headers=headers, method=method
        )
        urllib.request.urlopen(request, timeout=60).close()


def read_slider_data(message: ForwardMsg) -> dict[str, Any] | None:
    """Return the data of the before/after slider if a message is about it, or else None."""
    if message.WhichOneof("type") != "delta" or message.delta.WhichOneof("type") != "new_element":
        return None
    element = message.delta.new_element
    if element.WhichOneof("type") != "bidi_component":
        return None
    data: dict[str, Any] = json.loads(element.bidi_component.json)
    return data
