"""The running service and hostile clients: it stays healthy and answers with problems."""

import io
import itertools
import json
import os
import random
import signal
import socket
import struct
import time
import zlib

import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the service needs the extra serve")

from fast_style import Stylizer, encode_image, read_image
from tests.conftest import STYLE
from tests.running_service import PATIENCE, running

LINUX = os.path.isdir("/proc/self")
pytestmark = pytest.mark.skipif(not LINUX, reason="it reads /proc")

IDLE = 1.0
BOUNDARY = "boundary"
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")
BROKEN = 8  # of each format


@pytest.fixture(scope="module")
def service(tmp_path_factory, model_file):
    folder = tmp_path_factory.mktemp("service")
    options = ("--warm", STYLE, "--decoders", 1, "--in-flight", 1, "--queue", 2)
    options += ("--max-body-megabytes", 0.5, "--max-megapixels", 20, "--idle-seconds", IDLE)
    options += ("--body-seconds", 2.5, "--decode-megabytes", 64)
    with running(folder, *options, FAST_STYLE_MODELS=str(model_file.parent)) as service:
        yield service
        assert service.process.poll() is None
        assert "Traceback" not in service.log.read_text()


@pytest.fixture(scope="module")
def photo(astronaut):
    with Image.open(astronaut) as image:
        return saved(image.resize((64, 48)), "JPEG")


@pytest.fixture(scope="module")
def wanted(photo, model_file):
    return encode_image(Stylizer(model_file).stylize_photo(read_image(photo)), format="JPEG")[0]


@pytest.fixture(autouse=True)
def healthy(service, photo, wanted):
    """After each test the next photo is stylized, and no request is left in the service."""
    yield
    assert post(service, photo).content == wanted
    service.until("fast_style_in_flight", 0)
    assert service.metric("fast_style_queue_length") == 0
    assert service.metric("fast_style_held_bytes") == 0


def saved(image, format, **settings):
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


def post(service, photo):
    return service.client.post(
        f"{service.url}/v1/stylize", files={"photo": ("x", photo)}, data={"style": STYLE}
    )


def problem(answer, *statuses):
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code
    return answer.json()["detail"]


def form(photo):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="style"\r\n\r\n{STYLE}\r\n'
    head += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="x"\r\n\r\n'
    return head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()


def head(*lines):
    first = ("POST /v1/stylize HTTP/1.1", "Host: x")
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    return "\r\n".join((*first, kind, *lines, "", "")).encode()


def whole(photo):
    body = form(photo)
    return head(f"Content-Length: {len(body)}") + body


def answer_of(connection):
    """Read one answer: status, headers in lower case, body."""
    stream = connection.makefile("rb")
    status = int(stream.readline().split()[1])
    headers = dict(
        line.decode().strip().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n")
    )
    return status, headers, stream.read(int(headers["content-length"]))


def problem_in(connection, status):
    seen, headers, body = answer_of(connection)
    assert seen == status, body
    assert headers["content-type"] == "application/problem+json"
    return json.loads(body)["detail"]


def closed(connection):
    """Wait until the service closes a connection."""
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass


def refused_in_the_end(connection, pieces):
    """Send on and on, until the service has closed the connection."""
    end = time.monotonic() + PATIENCE
    try:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02)
            assert time.monotonic() < end
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def test_endless_body_is_refused(service):
    with service.connect() as connection:
        start = form(b"").partition(b"\r\n--boundary--")[0]
        chunk = b"2000\r\n" + bytes(0x2000) + b"\r\n"
        connection.sendall(head("Transfer-Encoding: chunked") + b"%x\r\n" % len(start))
        connection.sendall(start + b"\r\n")
        for _ in range(70):
            connection.sendall(chunk)
        assert "500,000 bytes" in problem_in(connection, 413)
        assert refused_in_the_end(connection, itertools.repeat(chunk))  # not read forever


def test_too_large_content_length_is_refused(service):
    with service.connect() as connection:
        connection.sendall(head("Content-Length: 99999999999"))
        assert "500,000 bytes" in problem_in(connection, 413)


def test_slow_head_ends_the_connection(service):
    """Byte by byte, and it would never be complete."""
    with service.connect() as connection:
        assert refused_in_the_end(connection, (b"%c" % byte for byte in head("X: " + "x" * 9999)))
    with service.connect() as silent:
        closed(silent)


@pytest.mark.parametrize("pause", [0.2, 3 * IDLE])
def test_slow_body_gets_408(service, pause):
    """Too slow as a whole, or with too long a pause."""
    with service.connect() as connection:
        connection.sendall(head("Content-Length: 400000") + form(b"")[:50])
        connection.settimeout(pause)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                assert connection.recv(1, socket.MSG_PEEK)
                break
            except TimeoutError:
                connection.sendall(b"x")
        connection.settimeout(PATIENCE)
        assert "2.5 seconds" in problem_in(connection, 408)


def test_truncated_forms_are_refused(service, photo):
    body = form(photo)
    for length in (0, 1, 30, 90, len(body) // 2, len(body) - 3):
        with service.connect() as connection:
            connection.sendall(head(f"Content-Length: {length}") + body[:length])
            assert "cut off" in problem_in(connection, 400)
        with service.connect() as connection:  # and the client goes before the body is there
            connection.sendall(head(f"Content-Length: {len(body)}") + body[:length])


@pytest.mark.parametrize(
    "body",
    [
        b"nothing",
        b"--other\r\n\r\n",
        b"--boundary\r\nno header\r\n\r\n",
        b"--boundary\r\nContent-Disposition: form-data\r\n\r\nx\r\n--boundary--\r\n",
        b'--boundary\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--boundary--\r\n',
        b"--boundary\r\n" + b"X: y\r\n" * 500,
        b"--boundary\r\nX: " + b"y" * 50_000,
        form(b"").replace(STYLE.encode(), b"x" * 20_000),
        b'--boundary\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 80,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_malformed_forms_are_refused(service, body):
    with service.connect() as connection:
        connection.sendall(head(f"Content-Length: {len(body)}") + body)
        problem_in(connection, 400)


def test_invalid_http_is_refused(service):
    for data in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nA B\r\n\r\n"):
        with service.connect() as connection:
            connection.sendall(data + b"\r\n\r\n")
            assert "HTTP" in problem_in(connection, 400)
    with service.connect() as connection:  # in the middle of a body
        connection.sendall(head("Transfer-Encoding: chunked") + b"zzz\r\n")
        closed(connection)


def test_compression_bombs_are_refused(service):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    def png(width, height, *chunks):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        end = chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + end

    zeros = zlib.compress(bytes(100_000_000), 9)
    assert len(zeros) < 200_000
    claims = png(60_000, 60_000, chunk(b"IDAT", zeros))
    assert "20 megapixels" in problem(post(service, claims), 422)
    problem(post(service, png(40, 40, chunk(b"zTXt", b"x\0\0" + zeros), chunk(b"IDAT", b""))), 422)
    problem(post(service, png(4, 4, chunk(b"iCCP", b"x\0\0" + zeros), chunk(b"IDAT", zeros))), 422)
    bmp = bytearray(saved(Image.new("RGB", (4, 4)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 100_000, 100_000)
    problem(post(service, bytes(bmp)), 422)
    gif = bytearray(saved(Image.new("L", (4, 4)), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    problem(post(service, bytes(gif)), 422)
    # Within the limit of pixels, but more than a decoder may have of memory.
    large = saved(Image.new("RGB", (4400, 4400)), "PNG")
    assert "memory" in problem(post(service, large), 422)


def kinds_of_broken_picture():
    rng = random.Random(8)
    ramp = Image.merge("RGB", [Image.linear_gradient("L").rotate(a) for a in (0, 90, 180)])
    for format in FORMATS:
        valid = saved(ramp.resize((90, 70)), format)
        for number in range(BROKEN):
            data = bytearray(valid)
            if number % 4 == 0:
                data = data[: rng.randrange(12, len(data) - 8)]
            elif number % 4 == 1:  # a hole
                at = rng.randrange(12, len(data) - 8)
                del data[at : at + rng.randrange(1, 40)]
            else:
                reach = 120 if number % 4 == 2 else len(data)
                for _ in range(rng.randrange(1, 30)):
                    data[rng.randrange(8, min(reach, len(data)))] = rng.randrange(256)
            yield format, number, bytes(data)


def test_broken_pictures_are_refused_or_decoded_as_by_the_library(service, model_file):
    """Each gets a sentence, or the very picture that the library makes of it."""
    cases = list(kinds_of_broken_picture())
    assert len(cases) >= 64
    stylizer, sentences = Stylizer(model_file, max_megapixels=20), set()
    for format, number, data in cases:
        answer = post(service, data)
        if answer.status_code == 200:
            stylized = stylizer.stylize_photo(read_image(data, max_megapixels=20))
            kind = "PNG" if stylized.alpha is not None else "JPEG"
            plain = type(stylized)(stylized.pixels, stylized.alpha, dpi=stylized.dpi)
            assert answer.content == encode_image(plain, format=kind)[0], (format, number)
        else:
            sentences.add(problem(answer, 415, 422))
    assert len(sentences) > 20


def test_killed_decoder_is_replaced(service, photo, wanted):
    (first,) = service.decoders()
    os.kill(first, signal.SIGKILL)
    assert post(service, photo).content == wanted  # it had not begun: the photo is tried again
    (second,) = service.decoders()
    assert second != first
    assert service.metric("fast_style_decoder_restarts") == 1


def test_overload_is_refused_and_disconnected_clients_free_their_slots(service, photo, wanted):
    """One request is worked on, two wait, and more are refused."""
    service.signal_decoders(signal.SIGSTOP)
    try:
        clients = [service.connect() for _ in range(3)]
        for client in clients:
            client.sendall(whole(photo))
        service.until("fast_style_queue_length", 2)
        assert service.metric("fast_style_in_flight") == 1
        with service.connect() as late:  # refused before its body is read
            late.sendall(head("Content-Length: 400000"))
            status, headers, body = answer_of(late)
            assert (status, headers["content-type"]) == (503, "application/problem+json")
            assert 1 <= int(headers["retry-after"]) <= 60
            assert json.loads(body)["title"] == "The service is busy"
        clients[1].close()
        service.until("fast_style_queue_length", 1)
        clients[0].close()  # its photo is with the decoder already
        service.until("fast_style_queue_length", 0)
        with service.connect() as other:
            other.sendall(whole(photo))
            service.until("fast_style_queue_length", 1)
            service.signal_decoders(signal.SIGCONT)
            for client in (clients[2], other):
                assert answer_of(client)[::2] == (200, wanted)
        clients[2].close()
    finally:
        service.signal_decoders(signal.SIGCONT)
    assert '"status": 499' in service.log.read_text()


def test_clients_that_disconnect_at_once_leave_nothing_behind(service, photo):
    before = service.metric("fast_style_megapixels_total")
    for _ in range(60):
        with service.connect() as client:
            client.sendall(whole(photo))
    service.until("fast_style_in_flight", 0)
    service.until("fast_style_queue_length", 0)
    assert service.metric("fast_style_megapixels_total") - before <= 60 * 64 * 48 / 1e6


def test_responses_on_a_reused_connection_are_not_delayed(service):
    """With Nagle's algorithm each of them would wait 40 ms for a delayed acknowledgement."""
    seconds = []
    with service.connect() as connection:
        for _ in range(40):
            start = time.perf_counter()
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer_of(connection)[0] == 200
            seconds.append(time.perf_counter() - start)
    assert min(seconds[20:]) < 0.03


def test_pipelined_requests_are_answered_in_order(service, photo, wanted):
    with service.connect() as connection:
        connection.sendall(whole(photo) * 2)  # the second before the first is answered
        stream = connection.makefile("rb")
        for _ in range(2):
            assert b" 200 " in stream.readline()
            lines = list(iter(stream.readline, b"\r\n"))
            (length,) = (int(line.split()[1]) for line in lines if b"content-length" in line)
            assert stream.read(length) == wanted
