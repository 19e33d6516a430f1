"""Parts of the service on their own: keys, rates, admission, and the processes that decode."""

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra serve")

from fast_style.errors import UsageError
from fast_style.images import read_image
from fast_style.service.admission import Admission
from fast_style.service.auth import KeyFile, RateLimit
from fast_style.service.decoder_pool import DecoderPool
from fast_style.service.problems import Problem
from fast_style.service.settings import ServiceSettings


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_keys_are_read_again_when_the_file_changes(tmp_path):
    path, clock = tmp_path / "keys", Clock()
    first, second = "a" * 16, "b" * 16
    path.write_text(f"alice:{first}\n# bob\n\n{second}\n")
    keys = KeyFile(path, clock)
    unnamed = f"key-{sha256(second.encode()).hexdigest()[:16]}"
    assert (keys.find_name(first), keys.find_name(second)) == ("alice", unnamed)
    assert (
        keys.find_name("") is keys.find_name(first[:-1]) is keys.find_name(f"alice:{first}") is None
    )
    path.write_text(f"carol:{second}\n")
    assert keys.find_name(first) == "alice"  # the file is checked once a second
    clock.now += 2
    assert (keys.find_name(first), keys.find_name(second)) == (None, "carol")
    path.write_text(f"{second}\n")  # other lines do not matter to an unnamed key
    clock.now += 2
    assert (keys.find_name(first), keys.find_name(second)) == (None, unnamed)
    path.write_text(f"carol:{second}\n")
    clock.now += 2
    assert keys.find_name(second) == "carol"
    path.write_text("short\n")  # it is just being written
    clock.now += 2
    assert keys.find_name(second) == "carol"
    path.unlink()
    clock.now += 2
    assert keys.find_name(second) == "carol"


def test_malformed_files_of_keys_are_refused(tmp_path):
    path = tmp_path / "keys"
    for content, word in (("# nothing\n", "no key"), ("alice:abc\n", "line 1"), ("\n\nx\n", "3")):
        path.write_text(content)
        with pytest.raises(UsageError, match=word):
            KeyFile(path)


def test_token_bucket_is_exact():
    """Three at once, then one every two seconds, independent of other callers."""
    clock = Clock()
    rate = RateLimit(30, 3, clock)
    assert [rate.take_token("a") for _ in range(5)] == [0, 0, 0, 2, 2]
    assert rate.take_token("b") == 0
    clock.now += 1.5
    assert rate.take_token("a") == 1
    clock.now += 0.5
    assert [rate.take_token("a"), rate.take_token("a")] == [0, 2]
    clock.now += 3600
    assert [rate.take_token("a") for _ in range(4)] == [0, 0, 0, 2]
    for number in range(10_001):  # who has not come for long is forgotten, with a full bucket
        rate.take_token(str(number))
    assert rate.take_token("a") == 0


def test_settings_are_checked():
    for wrong in ({"in_flight": 0}, {"rate": -1.0}, {"request_seconds": 0.0}, {"engine": "x"}):
        with pytest.raises(UsageError):
            ServiceSettings(**wrong)


def test_slots_are_given_in_order_and_released():
    async def main():
        admission, order = Admission(1, 2, 100), []

        async def visit(name, seconds):
            async with admission.slot():
                order.append(name)
                await asyncio.sleep(seconds)

        first = asyncio.create_task(visit("a", 0.2))
        await asyncio.sleep(0)
        others = [asyncio.create_task(visit(name, 0)) for name in "bc"]
        await asyncio.sleep(0)
        assert (admission.working, admission.waiting) == (1, 2)
        with pytest.raises(Problem, match="2 wait") as refused:
            admission.check()
        assert refused.value.status == 503
        assert int(refused.value.headers["Retry-After"]) >= 1
        others[0].cancel()
        await asyncio.gather(first, *others, return_exceptions=True)
        assert order == ["a", "c"]
        assert (admission.working, admission.waiting) == (0, 0)

    asyncio.run(main())


def test_slot_is_occupied_while_its_thread_works():
    """Its memory is, too; but the request is cancelled at once."""

    async def main():
        admission, go = Admission(1, 1, 100), threading.Event()

        async def visit():
            async with admission.slot() as slot:
                await slot.run(threads, go.wait, 30)

        with ThreadPoolExecutor(1) as threads:
            task = asyncio.create_task(visit())
            while not threads._work_queue.empty() or admission.working == 0:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert admission.working == 1
            go.set()
            while admission.working:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), 30))


def test_memory_of_bodies_is_bounded():
    admission = Admission(1, 1, 100)
    with admission.body() as one, admission.body() as other:
        one.reserve(60)
        other.reserve(40)
        with pytest.raises(Problem) as refused:
            one.reserve(1)
        assert refused.value.status == 503
        other.release()
        one.reserve(40)
        other.release()
    assert admission.body_bytes == 0


def in_a_pool(work, **options):
    """Run a coroutine function with a running pool."""
    settings = {"max_megapixels": 20, "seconds": 20, "megabytes": 300, **options}

    async def main():
        pool = DecoderPool(1, **settings)
        await pool.start()
        try:
            return await work(pool)
        finally:
            await pool.stop()

    return asyncio.run(asyncio.wait_for(main(), 60))


def test_decoders_return_what_read_image_returns(astronaut):
    body = astronaut.read_bytes()

    async def work(pool):
        return [await pool.decode(body, size) for size in (None, 100, 9999)]

    whole, small, same = in_a_pool(work)
    wanted = read_image(body)
    assert (whole.pixels == wanted.pixels).all()
    assert (same.pixels == wanted.pixels).all()
    assert max(small.pixels.shape) == 100
    assert (whole.format, whole.notes, whole.exif) == (wanted.format, wanted.notes, wanted.exif)
    assert whole.pixels.flags.writeable


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="it reads /proc")
def test_decoder_has_no_secrets_and_cannot_write_files(astronaut, monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")

    async def work(pool):
        await pool.decode(astronaut.read_bytes())
        (process,) = pool.process_ids
        with open(f"/proc/{process}/environ", "rb") as file:
            assert b"secret" not in file.read()
        with open(f"/proc/{process}/limits") as file:
            limits = {line[:26].strip(): line[26:].split()[0] for line in file}
        assert limits["Max file size"] == limits["Max core file size"] == "0"
        assert int(limits["Max address space"]) < 4e9

    in_a_pool(work)


def test_waiting_for_a_decoder_can_be_cancelled(astronaut):
    body = astronaut.read_bytes()

    async def work(pool):
        tasks = [asyncio.create_task(pool.decode(body)) for _ in range(6)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in done] == [True, False] * 3
        assert (await pool.decode(body)).width == read_image(body).width
        assert pool.restarts == 0

    in_a_pool(work)


def test_pool_refills_itself_once_processes_can_be_started_again(astronaut):
    resource = pytest.importorskip("resource")
    body = astronaut.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def work(pool):
        await pool.decode(body)
        assert pool.ready
        (process,) = pool.process_ids
        os.kill(process, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # no descriptor is free
        try:
            waiting = asyncio.create_task(pool.decode(body))
            while pool.process_ids:
                await asyncio.sleep(0.01)
            assert not pool.ready
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await waiting).width == read_image(body).width
        assert pool.ready

    in_a_pool(work)
