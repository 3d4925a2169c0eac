"""VolumeFailure: why a pod's volumes can't be made ready, as its event says it."""


class VolumeFailure(Exception):
    """A volume can't be set up (now). `reason` is the event's reason; the text is its message."""

    def __init__(self, message: str, reason: str = "FailedMount") -> None:
        super().__init__(message)
        self.reason = reason


class Waiting(VolumeFailure):
    """A volume is on its way: nothing that an event would tell."""
