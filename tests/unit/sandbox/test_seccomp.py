"""The compiled filter beside its table: an interpreter of classic BPF runs it, an oracle reads the table."""

import dataclasses
import itertools
import os
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambent.sandbox.launcher.seccomp import bubblewrap_arguments, compile_filter, open_filter
from lambent.sandbox.launcher.syscalls import FAMILIES, MACHINES, Action, Family, Word

CONDITIONAL = {name for family in FAMILIES if family.when for name in family.calls}
REFUSED = {name for family in FAMILIES if not family.when for name in family.calls}
# What interpreters, C libraries and collectors of every runtime lean on; missing it they fail or get slow.
NEEDED = (
    *("read", "openat", "openat2", "mmap", "mprotect", "futex", "execve", "execveat", "wait4", "waitid", "exit_group"),
    *("memfd_create", "membarrier", "rseq", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"),
    *("statx", "close_range", "faccessat2", "pidfd_open", "pidfd_send_signal", "prlimit64", "getrandom", "seccomp"),
    *(
        "inotify_init1",
        "epoll_pwait",
        "eventfd2",
        "timerfd_create",
        "signalfd4",
        "splice",
        "copy_file_range",
        "sendfile",
    ),
    *(
        "sched_setaffinity",
        "get_mempolicy",
        "mlock",
        "memfd_secret",
        "setuid",
        "setresuid",
        "capget",
        "prctl",
        "io_setup",
    ),
)


def run(program, machine_word, number, arguments):
    """Return (what the program returns, instructions it took, whether it looked at an argument)."""
    packed = struct.pack("=IIQ6Q", number, machine_word, 0, *arguments)
    accumulator, at, steps, looked = 0, 0, 0, False
    while True:
        code, if_true, if_false, constant = struct.unpack_from("=HBBI", program, 8 * at)
        at, steps = at + 1, steps + 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", packed, constant)
                looked |= constant >= 16
            case 0x54:
                accumulator &= constant
            case 0x05:
                at += constant
            case 0x15:
                at += if_true if accumulator == constant else if_false
            case 0x35:
                at += if_true if accumulator >= constant else if_false
            case 0x06:
                return constant, steps, looked
            case _:
                raise AssertionError(f"instruction {code:#x}")


def expected(machine, families, architecture, number, arguments):
    """Read the table: the first family that holds."""
    facts = MACHINES[machine]
    if architecture != facts.audit:
        return Action.KILL
    if machine == "x86_64" and 0x40000000 <= number < 0xFFFFFFFF:
        return Action.KILL
    name = NAMES[machine].get(number)
    if name is None:
        return Action.ABSENT
    for family in families:
        if name in family.calls and all(holds(word, arguments) for word in family.when):
            return family.action
    return Action.ALLOW


def holds(word, arguments):
    return ((arguments[word.argument] & 0xFFFFFFFF & word.mask) in word.values) != word.excluded


NAMES = {key: {number: name for name, number in machine.numbers().items()} for key, machine in MACHINES.items()}
PROGRAMS = {machine: compile_filter(machine) for machine in MACHINES}
INTERESTING = sorted({value for family in FAMILIES for word in family.when for value in (*word.values, word.mask)})
interesting_words = st.builds(
    lambda value, bit, high: (value ^ bit) | high << 32,
    st.sampled_from(INTERESTING),
    st.sampled_from([0, *(1 << bit for bit in range(32))]),
    st.sampled_from([0, 1, 0xFFFFFFFF]),
)
words = interesting_words | st.integers(0, (1 << 64) - 1)
arguments = st.tuples(*[words] * 6)
machines = st.sampled_from(sorted(MACHINES))


@st.composite
def calls(draw, machine):
    known = sorted(MACHINES[machine].numbers().items())
    named = st.sampled_from([number for name, number in known])
    conditional = st.sampled_from([number for name, number in known if name in CONDITIONAL])
    number = draw(conditional | named | st.integers(0, 600) | st.integers(0, 0xFFFFFFFF))
    right = MACHINES[machine].audit
    foreign = st.sampled_from([each.audit for each in MACHINES.values()] + [0x40000003, 0x40000028])
    return draw(st.just(right) | foreign | st.integers(0, 0xFFFFFFFF)), number, draw(arguments)


@given(st.data(), machines)
def test_the_program_decides_as_the_table_does(data, machine):
    call = data.draw(calls(machine))
    assert run(PROGRAMS[machine], *call)[0] == expected(machine, FAMILIES, *call)


@given(st.data(), machines, st.sets(st.sampled_from(FAMILIES)))
def test_the_program_of_any_part_of_the_table_decides_as_that_part(data, machine, left_out):
    families = [family for family in FAMILIES if family not in left_out]
    program = compile_filter(machine, families)
    for _ in range(5):
        call = data.draw(calls(machine))
        assert run(program, *call)[0] == expected(machine, families, *call)


@given(st.data(), machines)
def test_a_program_with_far_jumps_decides_as_its_table(data, machine):
    every_other = sorted(MACHINES[machine].numbers().items(), key=lambda each: each[1])[::2]
    when = (Word(0, (1, 2, 3)), Word(1, (4, 5), mask=0xFF, excluded=True))
    families = [
        Family(name=name, action=Action.REFUSE, calls=(name,), when=when, why="", keeps="") for name, _ in every_other
    ]
    program = compile_filter(machine, families)
    assert b"\x05\x00\x00\x00" in program
    small = st.integers(0, 6)
    number = data.draw(st.integers(0, 480))
    call = (MACHINES[machine].audit, number, (data.draw(small), data.draw(small), 0, 0, 0, 0))
    assert run(program, *call)[0] == expected(machine, families, *call)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_is_decided_as_the_table_says_with_arguments_that_matter(machine):
    audit = MACHINES[machine].audit
    for number in (*range(600), 0x3FFFFFFF, 0x40000000, 0x40000001, 0x4000023B, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
        for first, second, third in itertools.product((0, 2, 16, 0x5412, 0x10000011), (0, 3, 0x2000), (0, 132)):
            call = (audit, number, (first, second, third, 0, 0, 0))
            assert run(PROGRAMS[machine], *call)[0] == expected(machine, FAMILIES, *call)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_one_that_the_kernel_takes(machine):
    program = PROGRAMS[machine]
    count = len(program) // 8
    assert 0 < count <= 4096
    for at, (code, if_true, if_false, constant) in enumerate(struct.iter_unpack("=HBBI", program)):
        last = at == count - 1
        assert code in (
            0x20,
            0x54,
            0x05,
            0x15,
            0x35,
            0x06,
        )  # all of them known to the kernel's search for allowed calls
        if code == 0x20:
            assert constant % 4 == 0
            assert constant <= 60
        if code in (0x15, 0x35):
            assert at + 1 + max(if_true, if_false) < count
        if code == 0x05:
            assert at + 1 + constant < count
        assert not last or code == 0x06


@pytest.mark.parametrize("machine", MACHINES)
def test_a_number_is_decided_by_a_tree_and_without_arguments_unless_a_rule_names_one(machine):
    for name, number in MACHINES[machine].numbers().items():
        _, steps, looked = run(PROGRAMS[machine], MACHINES[machine].audit, number, (0,) * 6)
        assert looked == (name in CONDITIONAL)
        assert looked or steps <= 12


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", NEEDED)
def test_what_runtimes_need_is_allowed_whatever_its_arguments(machine, name):
    number = MACHINES[machine].numbers()[name]
    result, _, looked = run(PROGRAMS[machine], MACHINES[machine].audit, number, (0,) * 6)
    assert (result, looked) == (Action.ALLOW, False)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_refused_without_a_condition_is_refused_whatever_its_arguments(machine):
    for name, number in MACHINES[machine].numbers().items():
        if name in REFUSED:
            result, _, looked = run(PROGRAMS[machine], MACHINES[machine].audit, number, (0,) * 6)
            assert result not in (Action.ALLOW, Action.KILL)
            assert not looked


def test_every_call_of_the_table_exists_somewhere_and_stands_alone_or_under_conditions():
    known = {name for machine in MACHINES.values() for name in machine.numbers()}
    for family in FAMILIES:
        assert set(family.calls) <= known
        assert all(family.calls.count(name) == 1 for name in family.calls)
        assert family.why
        assert family.keeps
        assert family.action not in (Action.ALLOW, Action.KILL)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert not REFUSED & CONDITIONAL
    assert len([name for family in FAMILIES if not family.when for name in family.calls]) == len(REFUSED)


def test_values_of_a_rule_lie_under_its_mask():
    for word in (word for family in FAMILIES for word in family.when):
        assert all(value & word.mask == value for value in word.values)
        assert 0 <= word.argument <= 5


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_those_of_the_kernels_headers(machine, header):
    if not os.path.exists(header):
        pytest.skip(f"{header} is not installed (linux-libc-dev)")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", Path(header).read_text()))
    numbers = MACHINES[machine].numbers()
    aliases = {"fstatat": "newfstatat", "sync_file_range2": "sync_file_range"}
    for name, number in found.items():
        if name not in ("syscalls", "arch_specific_syscall") and not 403 <= int(number) <= 423:
            assert numbers[aliases.get(name, name)] == int(number)


@pytest.mark.parametrize("machine", MACHINES)
def test_no_two_calls_share_a_number(machine):
    numbers = MACHINES[machine].numbers()
    assert len(set(numbers.values())) == len(numbers)
    assert numbers["file_setattr"] == 469
    assert numbers["read"] == {"x86_64": 0, "aarch64": 63}[machine]
    assert numbers["rseq"] == {"x86_64": 334, "aarch64": 293}[machine]


def test_the_program_is_the_same_each_time_and_another_with_another_table():
    assert compile_filter("x86_64") == PROGRAMS["x86_64"] != PROGRAMS["aarch64"]
    changed = [dataclasses.replace(FAMILIES[0], action=Action.ABSENT), *FAMILIES[1:]]
    assert compile_filter("x86_64", changed) != PROGRAMS["x86_64"]


def test_a_machine_without_a_table_is_refused_in_words():
    with pytest.raises(OSError, match="no system call filter for riscv64: x86_64 and aarch64 have one"):
        compile_filter("riscv64")


def test_a_program_longer_than_the_kernel_takes_is_refused():
    when = tuple(Word(argument, tuple(range(50))) for argument in (0, 1, 2))
    families = [
        Family(name=name, action=Action.REFUSE, calls=(name,), when=when, why="", keeps="")
        for name in list(MACHINES["x86_64"].numbers())[::2]
    ]
    with pytest.raises(OSError, match="instructions is too long"):
        compile_filter("x86_64", families)


def test_each_start_reads_the_whole_program_from_a_descriptor_of_its_own():
    first, second = open_filter(b"12345678"), open_filter(b"12345678")
    try:
        assert os.read(first, 99) == os.read(second, 99) == b"12345678"
        assert not os.get_inheritable(first)
        assert bubblewrap_arguments(first) == ["--seccomp", str(first)]
    finally:
        os.close(first)
        os.close(second)


def test_the_documentation_has_a_row_for_every_family_with_its_calls_and_its_answer():
    errors = {Action.REFUSE: "EPERM", Action.ABSENT: "ENOSYS", Action.NO_FAMILY: "EAFNOSUPPORT"}
    text = (Path(__file__).parents[3] / "docs/security.md").read_text()
    table = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in text.splitlines() if line[:2] == "| "]
    rows = {cells[0]: cells for cells in table}
    for family in FAMILIES:
        _, calls, answer, why, keeps = rows[family.name]
        assert tuple(re.findall(r"`(\w+)`", calls)) == family.calls
        assert answer == errors.get(family.action, "EPROTONOSUPPORT")
        assert (why, keeps) == (family.why, family.keeps)
