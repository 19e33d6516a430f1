"""The start, the end and the time limits of the running service."""

import os
import signal
import socket
import threading
from contextlib import ExitStack

import httpx
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the service needs the extra serve")

from tests.commands import command, invoke
from tests.conftest import STYLE
from tests.running_service import PATIENCE, running

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="it reads /proc")


@pytest.fixture
def place(tmp_path, model_file):
    return {"folder": tmp_path, "FAST_STYLE_MODELS": str(model_file.parent)}


def started(place, *options):
    return running(
        place["folder"],
        *("--warm", STYLE, "--decoders", 1, *options),
        FAST_STYLE_MODELS=place["FAST_STYLE_MODELS"],
    )


def post(service, path, answers):
    photo = {"photo": path.read_bytes()}
    data = {"style": STYLE, "size": "64"}
    answers.append(service.client.post(f"{service.url}/v1/stylize", files=photo, data=data))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_requests_in_flight_are_finished_before_exit(place, astronaut, number, code):
    with started(place) as service:
        service.signal_decoders(signal.SIGSTOP)
        answers = []
        client = threading.Thread(target=post, args=(service, astronaut, answers))
        client.start()
        service.until("fast_style_in_flight", 1)
        children = service.decoders()
        service.process.send_signal(number)
        while True:  # no connection is accepted any more
            try:
                service.client.get(f"{service.url}/readyz")
            except httpx.TransportError:
                break
        service.signal_decoders(signal.SIGCONT)
        client.join(PATIENCE)
        assert answers[0].status_code == 200
        assert answers[0].headers["content-type"] == "image/jpeg"
        assert service.process.wait(PATIENCE) == code
        assert not any(os.path.exists(f"/proc/{child}") for child in children)
        last = service.log.read_text().splitlines()[-1]
        assert last == f"fast-style: {'terminated' if code == 143 else 'interrupted'}"


def test_request_over_its_time_limit_gets_504(place, astronaut):
    with started(place, "--request-seconds", 0.7, "--decode-seconds", 2) as service:
        service.signal_decoders(signal.SIGSTOP)
        answers = []
        post(service, astronaut, answers)
        assert answers[0].status_code == 504
        assert "0.7 seconds" in answers[0].json()["detail"]
        service.until("fast_style_in_flight", 0)
        service.signal_decoders(signal.SIGCONT)
        while answers[-1].status_code == 504:  # this machine may be slow
            post(service, astronaut, answers)
        assert answers[-1].status_code == 200


class TestDecoders:
    """One service for all: each test leaves it with a decoder that works."""

    @pytest.fixture(scope="class")
    @classmethod
    def service(cls, tmp_path_factory, model_file):
        place = {"folder": tmp_path_factory.mktemp("service")}
        place["FAST_STYLE_MODELS"] = str(model_file.parent)
        with started(place, "--decode-seconds", 0.5, "--max-megapixels", 150) as service:
            yield service

    def test_hanging_decoder_is_replaced(self, service, astronaut):
        (decoder,) = service.decoders()
        restarts = service.metric("fast_style_decoder_restarts")
        service.signal_decoders(signal.SIGSTOP)
        answers = []
        post(service, astronaut, answers)
        assert answers[0].status_code == 200  # it had not begun: the photo was not the cause
        assert service.decoders() != [decoder]
        assert service.metric("fast_style_decoder_restarts") == restarts + 1

    def test_photo_that_takes_too_long_is_refused(self, service, astronaut, tmp_path):
        slow = tmp_path / "slow.png"
        Image.new("L", (12_000, 12_000)).save(slow, compress_level=1)
        restarts = service.metric("fast_style_decoder_restarts")
        answers = []
        post(service, slow, answers)
        assert answers[0].status_code == 422
        assert "0.5 seconds" in answers[0].json()["detail"]
        post(service, astronaut, answers)
        assert answers[1].status_code == 200
        assert service.metric("fast_style_decoder_restarts") == restarts + 1

    def test_killed_service_leaves_no_decoders(self, service):
        children = service.decoders()
        assert children
        service.process.kill()
        service.process.wait()
        for child in children:
            for _ in range(500):
                if not os.path.exists(f"/proc/{child}"):
                    break
                threading.Event().wait(0.02)
            else:
                pytest.fail("a decoder runs on without its service")


def test_wrong_options_end_the_start_with_one_line(workplace):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("serve", "--no-jobs", "--port", port, cwd=workplace)
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    (workplace / "keys").write_text("short\n")
    for options, word in (
        (("--keys", "keys"), "16 or more"),
        (("--keys", "none"), "No such file"),
        (("--in-flight", "0"), "--in-flight"),
        (("--port", "99999"), "65535 or less"),
        (("--engine", "abacus"), "abacus"),
    ):
        result = invoke("serve", "--no-jobs", *options)
        assert result.code == 2, result.err
        assert word in result.err


def test_idle_connections_keep_neither_clients_nor_decoders_out(place, astronaut):
    options = ("--warm", STYLE, "--decoders", 1, "--idle-seconds", 60)
    models = place["FAST_STYLE_MODELS"]
    with (
        running(place["folder"], *options, descriptors=256, FAST_STYLE_MODELS=models) as service,
        ExitStack() as idle,
    ):
        for _ in range(300):
            idle.enter_context(service.connect())
        service.signal_decoders(signal.SIGKILL)
        answers = []
        post(service, astronaut, answers)
        assert answers[0].status_code == 200
        assert service.client.get(f"{service.url}/readyz").status_code == 200
