"""Ways to damage a file, and the loop that tries them until the time is up."""

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from fast_style.errors import FastStyleError

NUMBERS = [0, 1, 2, 7, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]


def mutated(random: Random, content: bytes, others: Sequence[bytes], near: int) -> bytes:
    """Damage a file in one to eight places, most of them among its first bytes.

    Args:
        random: where the choices come from.
        content: the file.
        others: files to take pieces from.
        near: how many bytes at the start are worth most of the damage.
    """
    data = bytearray(content)
    for _ in range(random.choice([1, 1, 1, 2, 3, 8])):
        end = len(data) if random.random() < 0.2 else min(near, len(data))
        place = random.randrange(end) if end else 0
        kind = random.randrange(8)
        if kind == 0 and data:
            data[min(place, len(data) - 1)] ^= 1 << random.randrange(8)
        elif kind == 1 and data:
            data[min(place, len(data) - 1)] = random.randrange(256)
        elif kind == 2:
            size = random.choice([1, 2, 4, 8])
            number = random.choice(NUMBERS) % 256**size
            data[place : place + size] = number.to_bytes(size, random.choice(["little", "big"]))
        elif kind == 3:
            del data[place : place + random.choice([1, 2, 8, 100])]
        elif kind == 4:
            other = random.choice(others)
            start = random.randrange(min(near, len(other)) or 1)
            data[place:place] = other[start : start + random.choice([1, 4, 30, 300])]
        elif kind == 5:
            del data[random.randrange(len(data) + 1) :]
        elif kind == 6:
            data[place:place] = data[place : place + random.choice([1, 8, 64])]
        else:
            text = random.choice([b"-", b"9" * 30, b"1e999", b"NaN", b"null", b"[]", b'"', b"{"])
            data[place : place + random.randrange(4)] = text
    return bytes(data)


def fuzz(
    about: str,
    make: Callable[[Random], bytes],
    read: Callable[[Path], object],
    suffix: str,
) -> int:
    """Make files and read them until the time is up.

    Args:
        about: what the command says of itself.
        make: gives a damaged file.
        read: reads it; may raise nothing but a FastStyleError.
        suffix: of the file's name.

    Returns:
        The exit code: 1 if anything else was raised; the file is kept for that.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=5, help="seconds that a file may take")
    options = parser.parse_args()
    outcomes: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    end = time.monotonic() + options.seconds
    n_files = options.seed * 10**9
    while time.monotonic() < end:
        content = make(Random(n_files))
        # Kept on disk while it is read: a crash of the process leaves the file that did it.
        path = folder / f"{n_files}{suffix}"
        path.write_bytes(content)
        start = time.monotonic()
        try:
            read(path)
            outcomes["read"] += 1
        except FastStyleError as error:
            outcomes[type(error).__name__] += 1
        except Exception as error:
            name = f"{type(error).__name__}: {str(error)[:80]}"
            if not failures[name]:
                traceback.print_exc()
                (folder / f"failure-{n_files}{suffix}").write_bytes(content)
            failures[name] += 1
        if time.monotonic() - start > options.slow:
            failures["slow"] += 1
            (folder / f"slow-{n_files}{suffix}").write_bytes(content)
        path.unlink()
        n_files += 1
    count = sum(outcomes.values()) + sum(failures.values())
    print(f"{count} files in {options.seconds:.0f} s: {dict(outcomes)}")
    if failures:
        print(f"unnamed: {dict(failures)}; files in {folder}", file=sys.stderr)
        return 1
    folder.rmdir()
    return 0
