"""Signed models: only what a trusted key has signed, and exactly that, is ever loaded."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.trainer.__main__ import registry_of
from shared.model_artifact.manifest import ArtifactFault, ArtifactRefused, Manifest, sealed
from shared.model_artifact.registry import ModelRegistry
from shared.model_artifact.signing import KeyFileError, ManifestSigner, ManifestVerifier
from shared.settings import ModelRegistrySettings
from tests.unit.model_artifact.artifacts import a_manifest, some_files

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
SIGNER = ManifestSigner(KEY)


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def refusal(verifier: ManifestVerifier, manifest: Manifest) -> ArtifactFault:
    with pytest.raises(ArtifactRefused) as refused:
        verifier.check(manifest)
    return refused.value.reason


def test_what_the_key_signed_is_taken() -> None:
    SIGNER.verifier.check(SIGNER.sign(a_manifest()))


def test_a_manifest_without_a_signature_is_refused() -> None:
    assert refusal(SIGNER.verifier, a_manifest()) is ArtifactFault.SIGNATURE


def test_a_signature_by_another_key_is_refused_also_under_the_trusted_ones_name() -> None:
    others = ManifestSigner(OTHER).sign(a_manifest())
    assert refusal(SIGNER.verifier, others) is ArtifactFault.SIGNATURE
    trusted_name = str(SIGNER.sign(a_manifest()).signature).partition(":")[0]
    claimed = msgspec.structs.replace(others, signature=f"{trusted_name}:{str(others.signature).partition(':')[2]}")
    assert refusal(SIGNER.verifier, claimed) is ArtifactFault.SIGNATURE


@pytest.mark.parametrize(
    "changes",
    [
        {"trained_at": "2030-01-01T00:00:00.000000Z"}, {"version": "0" * 16}, {"family": "xgboost"},
        {"files": {"model.onnx": "0" * 64}}, {"feature_names": ["tenure", "amount"]}, {"metrics": {"auc": 0.99}},
    ],
)  # fmt: skip
def test_no_field_can_be_changed_under_a_signature(changes: dict[str, object]) -> None:
    changed = msgspec.structs.replace(SIGNER.sign(a_manifest()), **changes)
    assert refusal(SIGNER.verifier, changed) is ArtifactFault.SIGNATURE


@given(st.integers(0, 63), st.integers(0, 7))
def test_no_bit_of_a_signature_can_be_changed(byte: int, bit: int) -> None:
    signed = SIGNER.sign(a_manifest())
    name, _, made = str(signed.signature).partition(":")
    raw = bytearray(base64.b64decode(made))
    raw[byte] ^= 1 << bit
    changed = msgspec.structs.replace(signed, signature=f"{name}:{base64.b64encode(raw).decode()}")
    assert refusal(SIGNER.verifier, changed) is ArtifactFault.SIGNATURE


@given(st.text(max_size=100))
def test_whatever_stands_for_a_signature_is_refused_and_nothing_worse(text: str) -> None:
    trusted_name = str(SIGNER.sign(a_manifest()).signature).partition(":")[0]
    for signature in (text, f"{trusted_name}:{text}"):
        changed = msgspec.structs.replace(a_manifest(), signature=signature)
        assert refusal(SIGNER.verifier, changed) is ArtifactFault.SIGNATURE


def test_a_signature_does_not_change_a_models_version() -> None:
    assert sealed(SIGNER.sign(a_manifest())).version == sealed(a_manifest()).version


def test_a_registry_with_keys_loads_promotes_and_returns_to_signed_models_only(tmp_path: Path) -> None:
    trusting = ModelRegistry(str(tmp_path), signer=SIGNER, verifier=SIGNER.verifier)
    good = trusting.register(a_manifest(), some_files())
    assert trusting.load(good).manifest.signature is not None
    trusting.promote(good, "test")
    unsigned = ModelRegistry(str(tmp_path)).register(a_manifest(), some_files(b"another graph"))
    for use in (trusting.load, lambda version: trusting.promote(version, "test")):
        with pytest.raises(ArtifactRefused, match="signature"):
            use(unsigned)
    assert trusting.current() == good
    ModelRegistry(str(tmp_path)).promote(unsigned, "someone without the key")
    with pytest.raises(ArtifactRefused, match="signature"):
        trusting.load(str(trusting.current()))
    assert trusting.rollback("test") == good


def test_a_model_that_was_left_unsigned_is_signed_when_it_is_registered_again(tmp_path: Path) -> None:
    version = ModelRegistry(str(tmp_path)).register(a_manifest(), some_files())
    trusting = ModelRegistry(str(tmp_path), signer=SIGNER, verifier=SIGNER.verifier)
    assert trusting.register(a_manifest(), some_files()) == version
    trusting.load(version)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.data())
def test_no_file_of_a_signed_model_can_be_changed_even_with_its_hash_put_right(
    tmp_path: Path, data: st.DataObject
) -> None:
    shutil.rmtree(tmp_path / "models", ignore_errors=True)
    trusting = ModelRegistry(str(tmp_path), signer=SIGNER, verifier=SIGNER.verifier)
    version = trusting.register(a_manifest(), some_files())
    name = data.draw(st.sampled_from(["model.onnx", "card.json"]))
    forged = some_files() | {name: data.draw(st.binary(min_size=1, max_size=50))}
    hoped = ModelRegistry(str(tmp_path)).register(a_manifest(), forged)
    if hoped != version:
        signature = trusting.load(version).manifest.signature
        folder = tmp_path / "models" / hoped / "manifest.json"
        manifest = msgspec.json.decode(folder.read_bytes(), type=Manifest)
        folder.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, signature=signature)))
        with pytest.raises(ArtifactRefused, match="signature"):
            trusting.load(hoped)


def test_while_one_key_follows_another_both_are_taken(tmp_path: Path) -> None:
    (tmp_path / "keys.pem").write_bytes(public_pem(OTHER) + b"\n# the new one\n" + public_pem(KEY))
    verifier = ManifestVerifier.from_file(tmp_path / "keys.pem")
    for key in (KEY, OTHER):
        verifier.check(ManifestSigner(key).sign(a_manifest()))


def test_the_trainer_signs_with_the_key_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(private_pem(KEY))
    (tmp_path / "keys.pem").write_bytes(public_pem(KEY))
    registry = registry_of(ModelRegistrySettings(uri=str(tmp_path / "models"), signing_key_file=tmp_path / "key.pem"))
    version = registry.register(a_manifest(), some_files())
    reader = ModelRegistry(registry.root.as_posix(), verifier=ManifestVerifier.from_file(tmp_path / "keys.pem"))
    assert reader.load(version).manifest.version == version


@pytest.mark.parametrize(
    "content",
    [b"", b"no key", public_pem(KEY)[:-40], private_pem(KEY)],
    ids=["empty", "no key", "half a key", "a private key"],
)
def test_a_file_without_public_keys_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys.pem").write_bytes(content)
    with pytest.raises(KeyFileError, match=r"keys\.pem"):
        ManifestVerifier.from_file(tmp_path / "keys.pem")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    elliptic = generate_private_key(SECP256R1())
    (tmp_path / "key.pem").write_bytes(elliptic.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "keys.pem").write_bytes(
        elliptic.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(KeyFileError, match="Ed25519"):
        ManifestSigner.from_file(tmp_path / "key.pem")
    with pytest.raises(KeyFileError, match="Ed25519"):
        ManifestVerifier.from_file(tmp_path / "keys.pem")
