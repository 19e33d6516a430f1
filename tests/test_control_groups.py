"""Limits of control groups, in made-up `/proc` and `/sys` folders as kernels write them."""

import math
import sys

import pytest

from fast_style.inference.renderer import NetworkRenderer
from fast_style.models.config import NetworkConfig
from fast_style.models.model_file import StyleModel
from fast_style.options import EngineOptions
from fast_style.storage import hardware
from fast_style.storage.control_groups import core_quota, memory_left
from tests.conftest import make_card, make_weights

UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
ROOT_MOUNT = "23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
NONE_V1 = 9223372036854771712


def v1_mounts(root="/"):
    return (
        f"36 31 0:35 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        f"37 31 0:36 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    )


@pytest.fixture
def machine(tmp_path):
    """Write a machine's files; returns their root."""

    def write(cgroup, mounts, groups):
        files = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": ROOT_MOUNT + mounts}
        for folder, values in groups.items():
            for name, value in values.items():
                files[f"sys/fs/cgroup/{folder}/{name}"] = f"{value}\n"
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def test_v2_limit_of_a_container(machine):
    stat = "anon 5\ninactive_file 30\nactive_file 7"
    values = {"memory.max": 700, "memory.high": "max", "memory.current": 200, "memory.stat": stat}
    root = machine("0::/\n", UNIFIED, {".": {**values, "cpu.max": "150000 100000"}})
    assert memory_left(root) == 700 - (200 - 30)
    assert core_quota(root) == 1.5


def test_v2_limits_of_nested_slices_outside_containers(machine):
    path = "user.slice/user-1000.slice/job.scope"
    free = {"memory.max": "max", "memory.high": "max", "memory.current": 100}
    root = machine(
        f"0::/{path}\n",
        UNIFIED,
        {
            "user.slice": {
                **free,
                "memory.max": 900,
                "memory.current": 850,
                "cpu.max": "max 100000",
            },
            "user.slice/user-1000.slice": {**free, "cpu.max": "200000 100000"},
            path: {**free, "memory.max": 500, "cpu.max": "max 100000"},
        },
    )
    assert memory_left(root) == 50  # the outermost slice has the least left
    assert core_quota(root) == 2


def test_v2_high_mark_counts_as_a_limit(machine):
    values = {"memory.max": "max", "memory.high": 300, "memory.current": 100}
    assert memory_left(machine("0::/a\n", UNIFIED, {"a": values})) == 200


@pytest.mark.parametrize("mount_root", ["/", "/docker/abc"])
def test_v1_limits(machine, mount_root):
    """In a container without a namespace, the mount shows the container's own group."""
    inside = "docker/abc/" if mount_root == "/" else ""
    memory = {
        "memory.limit_in_bytes": 700,
        "memory.usage_in_bytes": 250,
        "memory.stat": "inactive_file 1\ntotal_inactive_file 50",
    }
    cpu = {"cpu.cfs_quota_us": 250000, "cpu.cfs_period_us": 100000}
    root = machine(
        "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n3:cpuset:/\n0::/x\n",
        v1_mounts(mount_root),
        {f"memory/{inside}": memory, f"cpu,cpuacct/{inside}": cpu},
    )
    assert memory_left(root) == 500
    assert core_quota(root) == 2.5


def test_v1_group_without_limits_below_one_with(machine):
    root = machine(
        "5:cpu,cpuacct:/batch/job\n4:memory:/batch/job\n",
        v1_mounts(),
        {
            "memory": {"memory.limit_in_bytes": NONE_V1, "memory.usage_in_bytes": 9000},
            "memory/batch": {"memory.limit_in_bytes": 400, "memory.usage_in_bytes": 100},
            "memory/batch/job": {"memory.limit_in_bytes": NONE_V1, "memory.usage_in_bytes": 60},
            "cpu,cpuacct/batch": {"cpu.cfs_quota_us": 300000, "cpu.cfs_period_us": 100000},
            "cpu,cpuacct/batch/job": {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100000},
        },
    )
    assert memory_left(root) == 300
    assert core_quota(root) == 3


def test_v1_and_v2_together(machine):
    """systemd's hybrid set-up: controllers in version 1, an empty version 2 for its own use."""
    mounts = v1_mounts() + UNIFIED.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    root = machine(
        "4:memory:/a\n1:name=systemd:/a\n0::/a\n",
        mounts,
        {"memory/a": {"memory.limit_in_bytes": 400, "memory.usage_in_bytes": 100}},
    )
    assert memory_left(root) == 300
    assert core_quota(root) is None


@pytest.mark.parametrize("cgroup", ["0::/../../other\n", "0::/gone\n", "", "nonsense\n0\n:::\n"])
def test_groups_that_cannot_be_seen(machine, cgroup):
    root = machine(cgroup, UNIFIED, {".": {"memory.current": 5}})
    assert memory_left(root) is None
    assert core_quota(root) is None


def test_mount_points_with_spaces(machine):
    mounts = UNIFIED.replace("/sys/fs/cgroup", r"/sys/fs/cgroup/my\040groups")
    values = {"memory.max": 30, "memory.current": 10}
    assert memory_left(machine("0::/a b\n", mounts, {"my groups/a b": values})) == 20


def test_no_control_groups(tmp_path):
    assert memory_left(tmp_path) is None
    assert core_quota(tmp_path) is None


def test_memory_is_the_least_of_machine_and_groups(machine, monkeypatch):
    values = {"memory.max": 3 << 20, "memory.current": 1 << 20}
    root = machine("0::/a\n", UNIFIED, {"a": values})
    monkeypatch.setattr(hardware, "_ROOT", root)
    assert hardware.available_memory() == 2 << 20
    (root / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    1024 kB\n")
    assert hardware.available_memory() == 1 << 20


@pytest.mark.parametrize(
    ("quota", "limit"),
    [("150000 100000", 2), ("50000 100000", 1), ("max 100000", None), ("6400000 100000", None)],
)
def test_core_limit_rounds_quotas_up(machine, monkeypatch, quota, limit):
    monkeypatch.setattr(hardware, "_ROOT", machine("0::/a\n", UNIFIED, {"a": {"cpu.max": quota}}))
    monkeypatch.setattr(hardware, "visible_cores", lambda: 8)
    assert hardware.core_limit() == limit
    assert hardware.usable_cores() == (limit or 8)


def test_12_megapixels_are_processed_in_strips_where_a_group_leaves_500_mb(machine, monkeypatch):
    """Whole they take 0.85 GB, in strips less than 0.5."""
    config = NetworkConfig()
    model = StyleModel(make_card(config=config), make_weights(config))
    renderer = NetworkRenderer(model, EngineOptions(engine="openvino", cache=False), 250)
    root = machine(
        "0::/a\n", UNIFIED, {"a": {"memory.max": 700 << 20, "memory.current": 200 << 20}}
    )
    (root / "proc/meminfo").write_text("MemAvailable: 16000000 kB\n")
    monkeypatch.setattr(hardware, "_ROOT", root)
    assert renderer._needs_strips(renderer.engine, 3000, 4000)
    (root / "sys/fs/cgroup/a/memory.max").write_text("max")
    assert not renderer._needs_strips(renderer.engine, 3000, 4000)


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_own_machine_is_read_without_errors():
    left, quota = memory_left(), core_quota()
    assert left is None or left > 0
    assert quota is None or 0 < quota < math.inf
