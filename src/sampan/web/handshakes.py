"""Counts the TLS handshakes that fail, which event loops keep to themselves."""

import ssl


class Handshakes:
    """Those of one server context, from `watch` on. A client that goes away in silence is not told of."""

    def __init__(self) -> None:
        self.failed = 0

    def watch(self, context: ssl.SSLContext) -> None:
        """Has every connection of the context tell."""
        handshakes = self

        class Told(ssl.SSLObject):
            def do_handshake(self) -> None:
                try:
                    super().do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    raise  # there is more to come
                except ssl.SSLError:
                    handshakes.failed += 1
                    raise

        context.sslobject_class = Told
