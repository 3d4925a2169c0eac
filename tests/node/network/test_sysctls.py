"""Host settings are put back when the last one who needs them leaves."""

from pathlib import Path

from sampan.node.network import sysctls


def test_the_last_to_leave_restores(tmp_path: Path) -> None:
    """Two owners, a repeated claim, and a stranger's release."""
    proc, run = tmp_path / "proc", tmp_path / "run"
    setting = proc / "net" / "ipv4" / "ip_forward"
    setting.parent.mkdir(parents=True)
    setting.write_text("0\n")
    for owner in ("a", "b", "a"):
        sysctls.claim(run, "net.ipv4.ip_forward", "1", owner, proc=proc)
    sysctls.release(run, "net.ipv4.ip_forward", "a", proc=proc)
    sysctls.release(run, "net.ipv4.ip_forward", "stranger", proc=proc)
    assert setting.read_text() == "1"
    sysctls.release(run, "net.ipv4.ip_forward", "b", proc=proc)
    assert setting.read_text() == "0"
    assert not run.exists()
    sysctls.release(run, "net.ipv4.ip_forward", "b", proc=proc)
    sysctls.claim(run, "net.ipv4.ip_forward", "1", "a", proc=proc)
    sysctls.release(run, "net.ipv4.ip_forward", "a", keep=True, proc=proc)
    assert setting.read_text() == "1"
    assert not run.exists()


def test_what_is_so_already_is_not_written(tmp_path: Path) -> None:
    """A write can be dear where a reading is not."""
    setting = tmp_path / "net" / "ipv4" / "ip_forward"
    setting.parent.mkdir(parents=True)
    setting.write_text("1\n")
    sysctls.ensure("net.ipv4.ip_forward", "1", tmp_path)
    assert setting.read_text() == "1\n"
    sysctls.ensure("net.ipv4.ip_forward", "0", tmp_path)
    assert setting.read_text() == "0"
