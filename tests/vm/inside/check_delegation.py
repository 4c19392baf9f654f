"""An ordinary user's launcher finds the group that systemd delegated to him, or says what is missing."""

from .users import group, run

KILLED = {"code": None, "signal": 9, "out_of_memory": True, "said": ""}


def test_a_delegated_group_gives_every_limit_to_a_launcher_and_to_its_successor():
    with group("session.slice/lambent.service") as path:
        seen = run("as_user.py", path, "first", "second")
        inside = f"/{path.relative_to('/sys/fs/cgroup')}"
        for which in ("first", "second"):
            look = seen[which]
            assert not {"memory_mib", "cpu_share", "freeze", "processes"} & set(look["missing"])
            assert look["born_in"].startswith(f"{inside}/lambent-")
            assert look["born_in"].endswith("/one")
            assert look["frozen"] is True
            assert look["hoard"] == KILLED
            assert look["peak_mib"] <= 64
            assert 10 <= int(look["forks"]) < 20
        assert seen["own"] == f"{inside}/lambent-host"
        assert seen["doctor"]["ok"] is True
        assert [entry.name for entry in path.iterdir() if entry.is_dir()] == ["lambent-host"]


def test_without_delegation_every_missing_limit_is_told_with_its_remedy():
    with group("session-3.scope", delegated=False) as path:
        seen = run("as_user.py", path, "first")
        for setting in ("memory_mib", "cpu_share", "freeze"):
            assert "not delegated" in seen["first"]["missing"][setting]
            assert "Delegate=yes" in seen["first"]["missing"][setting]
        assert seen["first"]["born_in"] == seen["own"] == f"/{path.name}"
        # The user ids' own count of processes still holds.
        assert 10 <= int(seen["first"]["forks"]) <= 20
        assert seen["doctor"]["ok"] is False
        assert "not delegated" in seen["doctor"]["detail"]
        assert "Delegate=yes" in seen["doctor"]["remedy"]


def test_a_controller_that_was_not_handed_down_is_told_and_the_others_act():
    with group("session.slice/lambent.service", controllers="memory pids") as path:
        seen = run("as_user.py", path, "first")
        missing = seen["first"]["missing"]
        assert "cpu" in missing["cpu_share"]
        assert not {"memory_mib", "freeze"} & set(missing)
        assert seen["first"]["hoard"] == KILLED
        assert seen["doctor"]["ok"] is False
        assert "cpu" in seen["doctor"]["detail"]
