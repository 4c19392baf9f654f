"""How much memory a host has, where our own control group may use less of it; on plain files."""

import pytest

from lambent.sandbox import host_memory
from lambent.sandbox.host_memory import HostMemory, MemoryReading, default_budget_mib, default_reserve_mib

MIB = 1 << 20
MEMINFO = "MemTotal:       8192000 kB\nMemFree:         100000 kB\nMemAvailable:   4096000 kB\nBuffers: 1 kB\n"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Let the reader see the files of ``tmp_path`` as the kernel's."""
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "group").mkdir()
    monkeypatch.setattr(host_memory, "_MEMINFO", str(tmp_path / "meminfo"))
    monkeypatch.setattr(host_memory, "_PRESSURE", str(tmp_path / "pressure"))
    monkeypatch.setattr(host_memory, "own_memory_groups", lambda: (0, []))

    def put(version, **files):
        for name, text in files.items():
            (tmp_path / "group" / name.replace("__", ".")).write_text(text)
        monkeypatch.setattr(host_memory, "own_memory_groups", lambda: (version, [str(tmp_path / "group")]))

    return put


def test_the_host_is_read_where_no_group_bounds_us(host):
    assert HostMemory().read() == MemoryReading(8000, 4000, 0.0)


def test_a_group_of_v2_with_less_counts_and_its_inactive_page_cache_is_available(host):
    host(2, memory__max=f"{1000 * MIB}", memory__current=f"{700 * MIB}", memory__stat=f"inactive_file {200 * MIB}\n")
    assert HostMemory().read() == MemoryReading(1000, 500, 0.0)


def test_a_group_of_v1_with_less_counts(host):
    usage = {"memory__usage_in_bytes": f"{700 * MIB}", "memory__stat": f"total_inactive_file {100 * MIB}\n"}
    host(1, memory__limit_in_bytes=f"{1000 * MIB}", **usage)
    assert HostMemory().read() == MemoryReading(1000, 400, 0.0)


@pytest.mark.parametrize(("version", "file", "text"), [(2, "max", "max"), (1, "limit_in_bytes", "9223372036854771712")])
def test_a_group_without_a_limit_does_not_count(host, version, file, text):
    host(version, **{f"memory__{file}": text})
    assert HostMemory().read() == MemoryReading(8000, 4000, 0.0)


def test_waiting_for_memory_is_known_where_the_kernel_counts_it(host, tmp_path):
    (tmp_path / "pressure").write_text("some avg10=12.50 avg60=1.00 avg300=0.00 total=9\nfull avg10=0.00\n")
    assert HostMemory().read().stalled_percent == 12.5


def test_this_host_can_be_read():
    reading = HostMemory().read()
    assert 0 < reading.available_mib <= reading.total_mib
    assert 0 < default_reserve_mib(reading) < default_budget_mib(reading) < reading.total_mib
