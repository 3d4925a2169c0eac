"""Guards: who is asked about every request, made from what is configured.

https://kubernetes.io/docs/concepts/security/controlling-access/
"""

from dataclasses import dataclass

from sampan.kit.clock import Clock
from sampan.server import front_proxy
from sampan.server.access import Access
from sampan.server.admission.chain import Lookup
from sampan.server.audit.log import Audit, Sink
from sampan.server.authn import Authenticator
from sampan.server.authz.authorizer import Authorizer
from sampan.server.config import ServerConfig
from sampan.server.flow.control import Flow
from sampan.server.metered_store import MeteredStore
from sampan.server.metrics import Metrics
from sampan.server.outbound import Outbound
from sampan.server.pipeline import Guards
from sampan.server.request_metrics import RequestMetrics
from sampan.server.tokens import Tokens
from sampan.store.protocol import Store


@dataclass(frozen=True, slots=True)
class Outside:
    """What comes from outside the server. `audit` is where lines go; without one, nothing is recorded."""

    clock: Clock
    outbound: Outbound | None
    front_proxy: front_proxy.Settings | None
    audit: Sink | None


def build(
    config: ServerConfig, outside: Outside, identities: tuple[Tokens, Lookup, Authorizer], metrics: Metrics
) -> Guards:
    """All of them."""
    tokens, lookup, authorizer = identities
    authenticator = Authenticator(tokens, lookup, outside.clock.now)
    authenticator.accounts.expose(metrics)
    if outside.front_proxy is not None:
        authenticator.front_proxy = front_proxy.FrontProxy(outside.front_proxy)
    if config.authentication is not None:
        from sampan.server.oidc.provider import Provider

        authenticator.anonymous = config.authentication.anonymous
        authenticator.issuers = [
            Provider(issuer, outside.outbound, outside.clock) for issuer in config.authentication.issuers
        ]
    audit = None
    if config.audit is not None and outside.audit is not None:
        audit = Audit(config.audit, outside.audit, outside.clock.now)
    return Guards(authenticator, Access(authorizer), Flow(outside.clock), RequestMetrics(metrics), audit)


async def rewrite(encrypted: Store) -> int:
    """Brings stored values to the form in which they would be written now; returns how many it changed."""
    from sampan.server.encryption.store import EncryptedStore

    return await encrypted.rewrite() if isinstance(encrypted, EncryptedStore) else 0


def store(metered: MeteredStore, config: ServerConfig) -> Store:
    """The store as the server uses it: encrypted where that is configured."""
    if config.encryption is None:
        return metered
    from sampan.server.encryption.store import EncryptedStore

    return EncryptedStore(metered, config.encryption)
