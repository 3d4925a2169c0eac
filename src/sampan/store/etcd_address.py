"""Where an etcd is: etcd://HOST[:PORT],...[?ca=FILE&cert=FILE&key=FILE], each HOST:PORT a member; etcds:// with TLS."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

DEFAULT_PORT = 2379
PLAIN, SECURE = ("etcd", "http"), ("etcds", "https")
SCHEMES = tuple(f"{scheme}://" for scheme in (*PLAIN, *SECURE))
OPTIONS = ("ca", "cert", "key")
"""Files: the authority that signed etcd's certificates, our certificate, and its key."""


@dataclass(frozen=True, slots=True)
class Address:
    """The members (HOST, PORT), the files of their authority and of our certificate, and the user; "" for none."""

    members: tuple[tuple[str, int], ...]
    is_secure: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    user: str = ""
    password: str = ""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """etcd://[USER:PASSWORD@]HOST[:PORT],...[?ca=FILE&cert=FILE&key=FILE]; each member may bear its own scheme.

        etcds:// and https:// are with TLS, also without `ca`: then the system's authorities count. Raises ValueError.
        """
        scheme, _, rest = url.partition("://")
        if scheme not in (*PLAIN, *SECURE):
            raise ValueError(f"{shown(url)} is not an etcd: etcd://HOST:PORT, or several with commas")
        for other in (*PLAIN, *SECURE):  # as https://a:2379,https://b:2379
            if f",{other}://" in rest and (other in SECURE) != (scheme in SECURE):
                raise ValueError(f"{shown(url)}: an etcd's members are all with TLS, or all without")
            rest = rest.replace(f",{other}://", ",")
        place, _, query = rest.partition("?")
        user, at, place = place.rpartition("@")
        name, colon, password = user.partition(":")
        if at and not (name and colon):
            raise ValueError(f"{shown(url)}: a user comes with a password: etcd://USER:PASSWORD@HOST:PORT")
        members = tuple(_member(url, part) for part in place.rstrip("/").split(","))
        files = _options(url, query)
        is_secure = scheme in SECURE or bool(files["ca"] or files["cert"])
        return cls(members, is_secure, files["ca"], files["cert"], files["key"], unquote(name), unquote(password))

    def with_files(self, **files: str) -> "Address":
        """With other files, `ca`, `cert` and `key`; "" leaves what is. Raises ValueError for some that don't go together."""
        own = dict(zip(OPTIONS, (self.ca, self.certificate, self.key), strict=True))
        ca, certificate, key = (_absolute(files.get(name, "")) or own[name] for name in OPTIONS)
        made = dataclasses.replace(
            self, ca=ca, certificate=certificate, key=key, is_secure=self.is_secure or bool(ca or certificate)
        )
        return Address.parse(made.url)  # which checks it

    @property
    def targets(self) -> tuple[str, ...]:
        """The members as HOST:PORT."""
        return tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.members)

    @property
    def url(self) -> str:
        """What `parse` makes this of."""
        who = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user else ""
        files = zip(OPTIONS, (self.ca, self.certificate, self.key), strict=True)
        query = urlencode({name: file for name, file in files if file}, safe="/")
        scheme = SECURE[0] if self.is_secure else PLAIN[0]
        return f"{scheme}://{who}{','.join(self.targets)}" + (f"?{query}" if query else "")

    def __str__(self) -> str:
        """For people: without the password."""
        return f"{SECURE[0] if self.is_secure else PLAIN[0]}://{','.join(self.targets)}"


def is_etcd(store: str) -> bool:
    """Whether a store is named that several control planes can share."""
    return store.startswith(SCHEMES)


def shown(url: str) -> str:
    """For people, whether it is an address or not: without user and password."""
    return re.sub("//.*@", "//", url, flags=re.DOTALL)


def _member(url: str, text: str) -> tuple[str, int]:
    """Raises ValueError."""
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{shown(url)}: a member has no port that is one") from error
    if not parts.hostname or parts.path or parts.fragment:
        raise ValueError(f"{shown(url)} is not an etcd: etcd://HOST:PORT, or several with commas")
    return parts.hostname, port or DEFAULT_PORT


def _options(url: str, query: str) -> dict[str, str]:
    """Raises ValueError."""
    try:
        given = parse_qs(query, strict_parsing=True) if query else {}
    except ValueError as error:
        raise ValueError(f"{shown(url)}: its options are not ca=FILE&cert=FILE&key=FILE") from error
    unknown = sorted(set(given) - set(OPTIONS))
    if unknown:
        raise ValueError(f"{shown(url)}: there is an unknown option; there are ca, cert and key")
    if ("cert" in given) != ("key" in given):
        raise ValueError(f"{shown(url)}: cert and key go together")
    return {name: _absolute(given.get(name, [""])[0]) for name in OPTIONS}


def _absolute(file: str) -> str:
    """A control plane has another working directory than who starts it."""
    return str(Path(file).expanduser().absolute()) if file else ""
