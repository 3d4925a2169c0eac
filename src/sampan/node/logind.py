"""logind over the system's D-Bus: delays the machine's shutdown, and tells when one begins or is called off.

The calls wait for an answer and belong into a thread; `take_signals` doesn't. Needs jeepney (extra `systemd`).

https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.login1.html
"""

from collections import deque
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, DBusErrorResponse, MatchRule, Message, Properties, message_bus, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.wrappers import unwrap_msg

OVERRIDE = Path("/etc/systemd/logind.conf.d/99-kubelet.conf")
CALL_SECONDS = 5.0
_LOGIND = DBusAddress("/org/freedesktop/login1", "org.freedesktop.login1", "org.freedesktop.login1.Manager")
_SYSTEMD = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")
_MICRO = 1_000_000


class LogindError(Exception):
    """What can't be had of logind, and why."""


class Logind:
    """One connection. Raises LogindError wherever logind doesn't answer as it should."""

    def __init__(self) -> None:
        try:
            self._bus: DBusConnection = open_dbus_connection("SYSTEM", enable_fds=True, auth_timeout=CALL_SECONDS)
        except (OSError, RuntimeError, ValueError) as error:
            raise LogindError(f"there is no system bus: {error}") from error
        self._signals: deque[Message] = deque(maxlen=16)
        rule = MatchRule(
            type="signal", interface=_LOGIND.interface, member="PrepareForShutdown", path=_LOGIND.object_path
        )
        self._filter = self._bus.filter(rule, queue=self._signals)
        self._call(message_bus.AddMatch(rule))

    def fileno(self) -> int:
        """Readable when there may be signals."""
        return int(self._bus.sock.fileno())

    def longest_delay(self) -> float:
        """How many seconds a shutdown can be delayed at most."""
        answer = self._call(Properties(_LOGIND).get("InhibitDelayMaxUSec"))
        return float(answer[0][1]) / _MICRO

    def allow_delay(self, seconds: float) -> None:
        """Has logind allow a delay of so many seconds, by a file of its own, if it allows less."""
        if self.longest_delay() >= seconds:
            return
        try:
            OVERRIDE.parent.mkdir(parents=True, exist_ok=True)
            OVERRIDE.write_text(
                f"# Made for the kubelet's shutdownGracePeriod\n\n[Login]\nInhibitDelayMaxSec={seconds:.0f}\n"
            )
        except OSError as error:
            raise LogindError(f"{OVERRIDE} can't be written: {error}") from error
        self._call(new_method_call(_SYSTEMD, "KillUnit", "ssi", ("systemd-logind.service", "all", 1)))
        if (allowed := self.longest_delay()) < seconds:
            raise LogindError(
                f"unable to update logind InhibitDelayMaxSec to {seconds:g}s (ShutdownGracePeriod), current value of "
                f"InhibitDelayMaxSec ({allowed:g}s) is less than requested ShutdownGracePeriod"
            )

    def inhibit(self) -> int:
        """A file descriptor; the shutdown is delayed until it is closed."""
        arguments = ("shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay")
        answer = self._call(new_method_call(_LOGIND, "Inhibit", "ssss", arguments))
        return int(answer[0].to_raw_fd())

    def take_signals(self) -> list[bool]:
        """What has come since: True for a shutdown that begins, False for one that was called off.

        Raises LogindError when the connection has ended.
        """
        try:
            while True:
                self._bus.recv_messages(timeout=0)
        except TimeoutError:
            pass
        except (OSError, RuntimeError) as error:
            raise LogindError(f"the system bus has gone: {error}") from error
        found = [bool(message.body[0]) for message in self._signals]
        self._signals.clear()
        return found

    def close(self) -> None:
        """Ends the connection; a delay ends only with its descriptor."""
        self._filter.close()
        self._bus.close()

    def _call(self, message: Message) -> Any:
        try:
            return unwrap_msg(self._bus.send_and_get_reply(message, timeout=CALL_SECONDS))
        except (OSError, RuntimeError, DBusErrorResponse) as error:
            raise LogindError(f"{error}") from error
