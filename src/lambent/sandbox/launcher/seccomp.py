"""The system call filter of sandboxes: a classic BPF program made of the table in ``syscalls.py``.

A binary tree over the numbers, not a chain: when a filter is loaded the kernel runs it for every number, to find those
that it may always let pass (they then cost nothing), and every step of a chain counts hundreds of times there.
"""

import os
import struct
from collections.abc import Sequence
from typing import Final

from lambent.sandbox.launcher.syscalls import FAMILIES, MACHINES, Action, Family, Machine, Word

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP: Final = 0x05  # BPF_JMP | BPF_JA
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
# struct seccomp_data: int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; both machines are little-endian.
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_BIT: Final = 0x40000000
_NO_CALL: Final = 0xFFFFFFFF
_FAR: Final = 255
_PROGRAM_LIMIT: Final = 4096  # BPF_MAXINSNS

_Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant
_Rules = tuple[
    tuple[tuple[Word, ...], Action], ...
]  # the first that holds decides; when none does, the call is allowed
_Span = tuple[int, _Rules]  # from this number on, to the next span


def compile_filter(machine: str, families: Sequence[Family] = FAMILIES) -> bytes:
    """Return the program for ``machine`` (as uname names it). OSError for one without a table."""
    if machine not in MACHINES:
        raise OSError(f"there is no system call filter for {machine}: {' and '.join(MACHINES)} have one")
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 1, 0, MACHINES[machine].audit),
        (_RETURN, 0, 0, Action.KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        *_tree(_spans(MACHINES[machine], families)),
    ]
    if len(program) > _PROGRAM_LIMIT:
        raise OSError(f"a filter of {len(program)} instructions is too long")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def open_filter(program: bytes) -> int:
    """Return a descriptor to read ``program`` from, for one start: two that share it would share its offset, too."""
    descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
    os.write(descriptor, program)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def bubblewrap_arguments(descriptor: int) -> list[str]:
    """Return bubblewrap's options for the filter at ``descriptor``, which bubblewrap must inherit and closes."""
    return ["--seccomp", str(descriptor)]


def _spans(machine: Machine, families: Sequence[Family]) -> list[_Span]:
    """Return who decides about which numbers, in order, neighbours with the same rules in one span."""
    absent: _Rules = (((), Action.ABSENT),)
    rules: dict[int, _Rules] = dict.fromkeys(machine.numbers().values(), ())
    for family in families:
        for name, number in machine.numbers().items():
            if name in family.calls:
                rules[number] += ((family.when, family.action),)
    end = max(rules) + 1
    found = [(number, rules.get(number, absent)) for number in range(end)]
    found.append((end, absent))
    if machine.x32:
        # Calls of the x32 ABI have this bit and the architecture of the others; -1 is nobody's call and has it, too.
        found += [(_X32_BIT, (((), Action.KILL),)), (_NO_CALL, absent)]
    return [span for place, span in enumerate(found) if not place or found[place - 1][1] != span[1]]


def _tree(spans: Sequence[_Span]) -> list[_Instruction]:
    """Return the code that finds the span of the number in the accumulator and decides."""
    if len(spans) == 1:
        return _decision(spans[0][1])
    middle = len(spans) // 2
    below, above = _tree(spans[:middle]), _tree(spans[middle:])
    if len(below) > _FAR:
        return [(_IF_AT_LEAST, 0, 1, spans[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]
    return [(_IF_AT_LEAST, len(below), 0, spans[middle][0]), *below, *above]


def _decision(rules: _Rules) -> list[_Instruction]:
    """Return the code of a call's rules; it always ends in a return."""
    code: list[_Instruction] = [(_RETURN, 0, 0, Action.ALLOW)]
    for when, action in reversed(rules):
        if not when:
            code = []  # nothing after it is reached
        code = [*_rule(when, action), *code]
    return code


def _rule(when: Sequence[Word], action: Action) -> list[_Instruction]:
    """Return the code that returns ``action`` when all holds, and else goes on behind itself."""
    code: list[_Instruction] = [(_RETURN, 0, 0, action)]
    for word in reversed(when):
        code = [*_test(word, len(code)), *code]
    return code


def _test(word: Word, miss: int) -> list[_Instruction]:
    """Return the code that goes on when ``word`` holds, and else skips ``miss`` more instructions."""
    code: list[_Instruction] = [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * word.argument)]
    if word.mask != 0xFFFFFFFF:
        code.append((_AND, 0, 0, word.mask))
    found, none = (miss, 0) if word.excluded else (0, miss)
    for left in reversed(range(len(word.values))):
        code.append((_IF_EQUAL, left + found, 0 if left else none, word.values[len(word.values) - 1 - left]))
    return code
