"""Keys for tests, made once per run: none is in the repository."""

from __future__ import annotations

from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


@cache
def private_pem(kind: str = "rsa", name: str = "") -> str:
    """Return a private key: rsa, short-rsa, ec or ed25519; another one for each name."""
    key: Any = {
        "rsa": lambda: generate_rsa_key(65537, 2048),
        "short-rsa": lambda: generate_rsa_key(65537, 1024),
        "ec": lambda: generate_ec_key(SECP256R1()),
        "ed25519": Ed25519PrivateKey.generate,
    }[kind]()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(private: str) -> str:
    key = load_pem_private_key(private.encode(), None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
