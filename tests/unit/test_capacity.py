"""Tests of how many passwords are hashed at once: by processors, by memory and by what the operator says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from handstamp.crypto.passwords import Cost, PasswordHasher
from handstamp.service.parts.capacity import PROCESS_BYTES, THREAD_BYTES, count_hashing_threads

MIB = 2**20
ARGON2 = 19 * MIB
MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes" / "handstamp.yaml"
CGROUPS = Path("/sys/fs/cgroup/memory")
_SEVENTY_SIGN_INS = """
import asyncio, os, sys
from handstamp.crypto.passwords import PasswordHasher
from handstamp.domain.limits import NetworkLimits
from handstamp.service.parts.capacity import count_hashing_threads
from handstamp.service.parts.hashing import Hashing

async def main():
    with open(sys.argv[1], "w") as members:
        members.write(str(os.getpid()))
    os.sched_getaffinity = lambda _: range(64)
    hasher = PasswordHasher("owasp")
    threads = count_hashing_threads(hasher.memory_bytes)
    hashing = Hashing(hasher, NetworkLimits(10_000).hashing, threads=threads)
    await asyncio.gather(*(hashing.hash("a sentence only ada would say") for _ in range(70)))
    hashing.close()
    print(threads)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have 64 cores and 256 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 64 * MIB, "SC_PAGE_SIZE": 4096}.__getitem__)


def write_tree(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """Write what a process sees of its cgroups."""
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


def room_for(memory: int) -> int:
    """Return how many threads fit into this memory beside one process."""
    return (memory - PROCESS_BYTES) // (ARGON2 + THREAD_BYTES)


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/memory"
V1_CPU = "sys/fs/cgroup/cpu"
TREES: dict[str, tuple[str, dict[str, str], int]] = {
    "no cgroups": ("", {}, 64),
    "no limits": ("0::/", {f"{V2}/cpu.max": "max 100000", f"{V2}/memory.max": "max"}, 64),
    "two processors": ("0::/", {f"{V2}/cpu.max": "200000 100000"}, 2),
    "two and a half": ("0::/", {f"{V2}/cpu.max": "250000 100000"}, 2),
    "a tenth of one": ("0::/", {f"{V2}/cpu.max": "10000 100000"}, 1),
    "512 MiB": ("0::/", {f"{V2}/memory.max": str(512 * MIB)}, room_for(512 * MIB)),
    "slowed at 300 MiB": ("0::/", {f"{V2}/memory.max": str(512 * MIB), f"{V2}/memory.high": str(300 * MIB)}, room_for(300 * MIB)),
    "too little for one": ("0::/", {f"{V2}/memory.max": str(100 * MIB)}, 1),
    "a unit of systemd": (
        "0::/system.slice/handstamp.service",
        {f"{V2}/system.slice/handstamp.service/cpu.max": "300000 100000"},
        3,
    ),
    "its slice has less": (
        "0::/system.slice/handstamp.service",
        {f"{V2}/system.slice/handstamp.service/cpu.max": "300000 100000", f"{V2}/system.slice/cpu.max": "100000 100000"},
        1,
    ),
    "v1, in a container": ("4:memory:/docker/abc", {f"{V1}/memory.limit_in_bytes": str(512 * MIB)}, room_for(512 * MIB)),
    "v1, a group": ("4:memory:/a", {f"{V1}/a/memory.limit_in_bytes": str(400 * MIB)}, room_for(400 * MIB)),
    "v1, no limits": (
        "4:memory:/\n3:cpu,cpuacct:/",
        {f"{V1}/memory.limit_in_bytes": "9223372036854771712", f"{V1_CPU}/cpu.cfs_quota_us": "-1"},
        64,
    ),
    "v1, processors": ("3:cpuacct,cpu:/", {f"{V1_CPU}/cpu.cfs_quota_us": "400000", f"{V1_CPU}/cpu.cfs_period_us": "100000"}, 4),
    "outside of its namespace": ("0::/../../other", {f"{V2}/cpu.max": "200000 100000"}, 2),
    "rubbish": ("x\n::\n0::/", {f"{V2}/cpu.max": "much", f"{V2}/memory.max": "-5"}, 64),
    "a period of nothing": ("0::/", {f"{V2}/cpu.max": "100 0"}, 64),
}


@pytest.mark.parametrize("name", TREES)
def test_processors_and_memory_limit_the_threads(tmp_path: Path, name: str) -> None:
    """The strictest limit of all cgroups above the process counts, in both versions of cgroups."""
    cgroup, files, expected = TREES[name]
    assert count_hashing_threads(ARGON2, root=write_tree(tmp_path, cgroup, files)) == expected


@pytest.mark.parametrize(("workers", "expected"), [(1, 8), (2, 4), (3, 3), (8, 1), (64, 1)])
def test_workers_share_the_processors(tmp_path: Path, workers: int, expected: int) -> None:
    """Each of several processes gets its part, rounded up: all processors are used even if they cannot be divided."""
    root = write_tree(tmp_path, "0::/", {f"{V2}/cpu.max": "800000 100000"})
    assert count_hashing_threads(ARGON2, workers=workers, root=root) == expected


def test_workers_share_the_memory(tmp_path: Path) -> None:
    """The supervisor and each worker need memory of their own first."""
    root = write_tree(tmp_path, "0::/", {f"{V2}/memory.max": str(1024 * MIB)})
    threads = count_hashing_threads(ARGON2, workers=4, root=root)
    assert 4 * threads * (ARGON2 + THREAD_BYTES) + 5 * PROCESS_BYTES <= 1024 * MIB


@pytest.mark.parametrize(("wanted", "workers", "expected"), [(1, 1, 1), (256, 1, 256), (10, 4, 2), (3, 8, 1)])
def test_the_setting_overrides_what_is_measured(tmp_path: Path, wanted: int, workers: int, expected: int) -> None:
    """`HASHING_THREADS` is the number for all processes of the machine together."""
    root = write_tree(tmp_path, "0::/", {f"{V2}/cpu.max": "200000 100000"})
    assert count_hashing_threads(ARGON2, workers=workers, wanted=wanted, root=root) == expected


@pytest.mark.usefixtures("real_hashing")
@pytest.mark.parametrize("cost", ["owasp", "rfc9106"])
def test_any_number_of_sign_ins_stays_inside_the_memory_of_the_manifest(tmp_path: Path, cost: Cost) -> None:
    """On a node with 64 cores, and no limit of processors as in the manifest, the pod is not killed."""
    (deployment,) = [each for each in yaml.safe_load_all(MANIFEST.read_text("utf-8")) if each["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    limits: dict[str, Any] = container["resources"]["limits"]
    (mebibytes,) = re.fullmatch(r"(\d+)Mi", limits["memory"]).groups()  # type: ignore[union-attr]
    assert "cpu" not in limits
    memory = int(mebibytes) * MIB
    needed = PasswordHasher(cost).memory_bytes
    threads = count_hashing_threads(needed, root=write_tree(tmp_path, "0::/", {f"{V2}/memory.max": str(memory)}))
    assert 1 < threads < 64
    assert PROCESS_BYTES + threads * (needed + THREAD_BYTES) <= memory


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """Yield a real cgroup with the memory of the manifest."""
    group = CGROUPS / "handstamp-test"
    try:
        group.mkdir(exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(512 * MIB))
    except OSError:
        pytest.skip("no cgroup of version 1 can be made here")
    yield group
    group.rmdir()


@pytest.mark.slow
def test_seventy_sign_ins_at_once_stay_inside_a_real_cgroup(small_cgroup: Path) -> None:
    """The kernel enforces the limit. With a thread for each of 64 cores, the same sign-ins would take 1.2 GiB."""
    arguments = [sys.executable, "-c", _SEVENTY_SIGN_INS, str(small_cgroup / "cgroup.procs")]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=180, check=False)
    assert ran.returncode == 0, ran.stderr
    assert 1 < int(ran.stdout) <= room_for(512 * MIB)
    assert (small_cgroup / "memory.failcnt").read_text().strip() == "0"
