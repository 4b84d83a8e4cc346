"""The bill of materials, CycloneDX 1.6 as JSON, made of the lock alone.

Of the lock, not of an environment: it holds for every machine, and says the same on each. Which of the packages an
image holds follows from the tree: the service's extra is a component of ours, and depends on what the extra names.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.supply_chain.lock import Package

SPECIFICATION = "1.6"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SPACE_OF_SERIALS = uuid.UUID("a2ac8a40-2b6f-5f5e-9d43-6d1f2a3f0f5c")
"""Any fixed one: the same lock has the same serial number."""


class UnlockedError(LookupError):
    """`pyproject.toml` names a package that the lock doesn't hold: `make lock` was forgotten."""


def bill_of_materials(packages: Sequence[Package], project: Mapping[str, Any]) -> dict[str, Any]:
    """`project`: the table of that name in pyproject.toml.

    Raises UnlockedError where it asks for more than the lock has.
    """
    known = {_normal(package.name): package.purl for package in packages}
    root = f"pkg:generic/{project['name']}@{project['version']}"
    extras: dict[str, list[str]] = project["optional-dependencies"]
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE_OF_SERIALS, ''.join(h for p in packages for h in p.hashes))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"license": {"id": project["license"]}}],
                "components": [
                    {"type": "application", "bom-ref": f"{root}#{extra}", "name": f"{project['name']}[{extra}]"}
                    for extra in sorted(extras)
                ],
            }
        },
        "components": [_component(package) for package in packages],
        "dependencies": [
            {
                "ref": root,
                "dependsOn": sorted(
                    [*_held(project["dependencies"], known), *(f"{root}#{extra}" for extra in extras)],
                ),
            },
            *({"ref": f"{root}#{extra}", "dependsOn": _held(names, known)} for extra, names in sorted(extras.items())),
            *({"ref": package.purl, "dependsOn": _below(package, packages)} for package in packages),
        ],
    }


def _component(package: Package) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        # One for each wheel and for the source: which of them is installed depends on the machine.
        "externalReferences": [
            {
                "type": "distribution",
                "url": package.purl,
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
            }
        ],
        "properties": [{"name": "flit:marker", "value": package.marker}] if package.marker else [],
    }


def _below(package: Package, packages: Sequence[Package]) -> list[str]:
    wanted = {_normal(package.name)}
    return sorted(one.purl for one in packages if wanted & {_normal(name) for name in one.wanted_by})


def _held(requirements: Sequence[str], known: Mapping[str, str]) -> list[str]:
    names = [_normal(match[0]) for requirement in requirements if (match := _NAME.match(requirement))]
    if lacking := sorted(set(names) - set(known)):
        raise UnlockedError(f"the lock lacks {', '.join(lacking)}: make lock")
    return sorted({known[name] for name in names})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
