"""The keys that sign and verify, from PEM text or a file, and the set of known public ones.

The algorithm follows from the key, never from a token. To rotate: add the next public key to
LETSGO_API_TOKEN_PUBLIC_KEYS of those who verify, then change key and key id of those who sign, and
drop the old public key an hour later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from django.views.decorators.debug import sensitive_variables
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from . import TokenKeyMissing, TokenKeyUnusable, conf

MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key, its name, and the one algorithm that it is used with."""

    kid: str
    algorithm: str
    private: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)

    @property
    def issuer(self) -> str:
        return issuer_of(self.kid)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyingKey:
    """A public key, its name, and the one algorithm that it is used with."""

    kid: str
    algorithm: str
    public: RSAPublicKey | Ed25519PublicKey

    def as_jwk(self) -> dict[str, Any]:
        """Return the key as an entry of a JWK set."""
        if isinstance(self.public, RSAPublicKey):
            facts = RSAAlgorithm.to_jwk(self.public, as_dict=True)
        else:
            facts = OKPAlgorithm.to_jwk(self.public, as_dict=True)
        # What PyJWT adds for other uses (key_ops) would say the same twice.
        facts = {name: facts[name] for name in ("kty", "crv", "x", "n", "e") if name in facts}
        return {**facts, "kid": self.kid, "alg": self.algorithm, "use": "sig"}


def issuer_of(kid: str) -> str:
    """Return the `iss` of tokens that are signed with this key."""
    return f"letsgo:{kid}"


def signing_key(given: conf.Settings) -> SigningKey:
    """Return the key to sign with; TokenKeyMissing when none is set, TokenKeyUnusable when it is invalid."""
    if not given.private_key:
        raise TokenKeyMissing(conf.PRIVATE_KEY)
    if not given.key_id:
        raise TokenKeyMissing(conf.KEY_ID)
    private = _private_key(_pem(given.private_key, conf.PRIVATE_KEY))
    if private is None:
        raise TokenKeyUnusable(conf.PRIVATE_KEY, "it is not an unencrypted private RSA or Ed25519 key in PEM")
    return SigningKey(kid=given.key_id, algorithm=_algorithm(private, conf.PRIVATE_KEY), private=private)


def verifying_key(kid: str, given: conf.Settings) -> VerifyingKey | None:
    """Return the public key of this name, our own included; None when it is unknown."""
    if given.private_key and kid == given.key_id:
        own = signing_key(given)
        return VerifyingKey(kid=kid, algorithm=own.algorithm, public=own.private.public_key())
    if kid not in given.public_keys:
        return None
    setting = f"{conf.PUBLIC_KEYS}[{kid!r}]"
    public = _public_key(_pem(given.public_keys[kid], setting))
    if public is None:
        raise TokenKeyUnusable(setting, "it is not a public RSA or Ed25519 key in PEM")
    return VerifyingKey(kid=kid, algorithm=_algorithm(public, setting), public=public)


def verifying_keys(given: conf.Settings) -> list[VerifyingKey]:
    """Return all known public keys, our own first."""
    own = [given.key_id] if given.private_key and given.key_id else []
    kids = dict.fromkeys([*own, *given.public_keys])
    return [key for kid in kids if (key := verifying_key(kid, given)) is not None]


@sensitive_variables()
def _pem(source: str, setting: str) -> bytes:
    """Return PEM as bytes, from the text itself (also with its line ends written as \\n) or from a file."""
    if "-----BEGIN" in source:
        return source.replace("\\n", "\n").encode()
    try:
        return Path(source).expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError):
        pass
    # Raised here, not above: the error of the file would quote its name, which may be a key by mistake.
    raise TokenKeyUnusable(setting, "it is neither PEM text nor the path of a readable file")


# Reading a key takes as long as a signature.
@lru_cache(maxsize=16)
@sensitive_variables()
def _private_key(pem: bytes) -> RSAPrivateKey | Ed25519PrivateKey | None:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, (RSAPrivateKey, Ed25519PrivateKey)) else None


@lru_cache(maxsize=64)
def _public_key(pem: bytes) -> RSAPublicKey | Ed25519PublicKey | None:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, (RSAPublicKey, Ed25519PublicKey)) else None


def _algorithm(key: object, setting: str) -> str:
    """Return the one algorithm of a key's kind; refuse short RSA keys."""
    if not isinstance(key, (RSAPrivateKey, RSAPublicKey)):
        return "EdDSA"
    if key.key_size < MIN_RSA_BITS:
        raise TokenKeyUnusable(setting, f"an RSA key has at least {MIN_RSA_BITS} bits, not {key.key_size}")
    return "RS256"
