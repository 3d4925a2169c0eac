"""Where an etcd is: etcd://HOST[:PORT][?ca=FILE&cert=FILE&key=FILE]."""

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

DEFAULT_PORT = 2379


@dataclass(frozen=True, slots=True)
class Address:
    """Where an etcd is, and the files of its authority and of our certificate, "" for none."""

    host: str
    port: int
    ca: str = ""
    certificate: str = ""
    key: str = ""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """etcd://HOST[:PORT][?ca=FILE&cert=FILE&key=FILE]. Raises ValueError."""
        parts = urlsplit(url)
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
        if parts.scheme != "etcd" or not parts.hostname or parts.path.strip("/") or "," in parts.netloc:
            raise ValueError(f"{url} is not an etcd: etcd://HOST:PORT")
        unknown = sorted(set(options) - {"ca", "cert", "key"})
        if unknown:
            raise ValueError(f"{url}: unknown option {unknown[0]}; there are ca, cert and key")
        if ("cert" in options) != ("key" in options) or ("cert" in options and "ca" not in options):
            raise ValueError(f"{url}: cert and key go together, with ca")
        files = [options.get(name, [""])[0] for name in ("ca", "cert", "key")]
        return cls(parts.hostname, parts.port or DEFAULT_PORT, *files)

    @property
    def target(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
