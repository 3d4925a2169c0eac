"""A logind for tests: on a D-Bus of its own, with delays that can be seen, and shutdowns that begin when told."""

import os
import re
import select
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, HeaderFields, MessageType, message_bus, new_error, new_method_return, new_signal
from jeepney.io.blocking import open_dbus_connection

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=PATH</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
"""
LOGIND = DBusAddress("/org/freedesktop/login1", interface="org.freedesktop.login1.Manager")


class FakeLogind:
    """`delays` are the arguments of each Inhibit; `is_delayed` whether one of them is still held."""

    def __init__(self, folder: Path, delay_seconds: float, override: Path | None = None) -> None:
        self.socket = folder / "bus"
        self.address = f"unix:path={self.socket}"
        self.delays: list[tuple[str, ...]] = []
        self._delay, self._override = delay_seconds, override
        self._held: list[int] = []
        config = folder / "bus.conf"
        config.write_text(CONFIG.replace("PATH", str(self.socket)))
        program = shutil.which("dbus-daemon")
        assert program, "the tests need dbus-daemon"
        self._daemon = subprocess.Popen([program, f"--config-file={config}", "--nofork", "--print-address"], stdout=-1)
        assert self._daemon.stdout is not None
        self._daemon.stdout.readline()  # it listens
        self._bus = open_dbus_connection(self.address, enable_fds=True)
        for name in ("org.freedesktop.login1", "org.freedesktop.systemd1"):
            self._bus.send_and_get_reply(message_bus.RequestName(name))
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._daemon.terminate()
        self._daemon.wait()
        self._daemon.stdout.close()  # type: ignore[union-attr]
        self._thread.join()
        self._bus.close()
        for fd in self._held:
            os.close(fd)

    def shut_down(self, *, is_beginning: bool = True) -> None:
        """Tells everybody that a shutdown begins, or that it was called off."""
        with self._writing:
            self._bus.send(new_signal(LOGIND, "PrepareForShutdown", "b", (is_beginning,)))

    @property
    def is_delayed(self) -> bool:
        """Whether somebody holds a delay: a pipe says so by not having ended."""
        ended = select.select(self._held, [], [], 0)[0]
        return len(ended) < len(self._held)

    def _serve(self) -> None:
        while True:
            try:
                message = self._bus.receive()
            except (OSError, ValueError):
                return
            if message.header.message_type is MessageType.method_call:
                given: list[int] = []
                answer = self._answer(message, given)
                with self._writing:
                    self._bus.send(answer)
                for fd in given:
                    os.close(fd)

    def _answer(self, message: Any, given: list[int]) -> Any:
        member = message.header.fields[HeaderFields.member]
        if member == "Get" and message.body[1] == "InhibitDelayMaxUSec":
            return new_method_return(message, "v", (("t", int(self._delay * 1_000_000)),))
        if member == "Inhibit":
            self.delays.append(message.body)
            reader, writer = os.pipe()
            self._held.append(reader)
            given.append(writer)
            return new_method_return(message, "h", (writer,))
        if member == "KillUnit":
            found = re.search(r"InhibitDelayMaxSec=(\d+)", self._override.read_text()) if self._override else None
            self._delay = float(found[1]) if found else self._delay
            return new_method_return(message)
        return new_error(message, "org.freedesktop.DBus.Error.UnknownMethod")


def until(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
