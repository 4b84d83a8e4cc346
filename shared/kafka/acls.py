"""Make the brokers' rules what is declared: `python -m shared.kafka.acls apply | check | print`.

Needs a principal that may alter the cluster, such as a super user; no service has that right. The client has no call
for rules, but the messages of the protocol, which are sent here as they are: so no Java is needed where this runs.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import CreateAclsRequest_v1, DeleteAclsRequest_v1, DescribeAclsRequest_v1
from aiokafka.protocol.api import Request

from shared.kafka.connection import admin_client
from shared.kafka.errors import GaveUp, TransientError
from shared.kafka.grants import OURS, ROLES, Grant, Operation, Resource, Rule, commands, named, rules
from shared.settings import KafkaSettings, ServiceSettings, load_settings
from shared.telemetry import logging, process

RESOURCES = {Resource.TOPIC: 2, Resource.GROUP: 3}
OPERATIONS = {
    Operation.READ: 3,
    Operation.WRITE: 4,
    Operation.CREATE: 5,
    Operation.DESCRIBE: 8,
    Operation.DESCRIBE_CONFIGS: 10,
    Operation.ALTER_CONFIGS: 11,
}
"""Numbers of the protocol (org.apache.kafka.common.resource.ResourceType, …acl.AclOperation)."""
ANY, ALLOW, LITERAL, PREFIXED = 1, 3, 3, 4
ANY_HOST = "*"
_USER = "User:"

_RESOURCE_OF = {number: resource for resource, number in RESOURCES.items()}
_OPERATION_OF = {number: operation for operation, number in OPERATIONS.items()}


class NotPermitted(GaveUp):
    """The brokers refuse to show or change their rules: the principal may not, or they have no authorizer."""


class _Message(Request[CreateAclsRequest_v1 | DeleteAclsRequest_v1 | DescribeAclsRequest_v1]):  # type: ignore[misc]
    """A message of one fixed version, which brokers from 2.0 to 4.1 and later speak."""

    API_KEY = -1

    def __init__(self, kind: Any, *fields: Any) -> None:
        self.API_KEY = kind.API_KEY
        self._CLASSES = (kind,)
        self._fields = fields

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(*self._fields)


@dataclass(frozen=True)
class Difference:
    """Between the declared rules and those of the brokers, about the principals that were asked for."""

    missing: Collection[Rule] = ()
    surplus: Collection[Rule] = ()
    foreign: Collection[str] = field(default_factory=tuple)
    """Rules of the brokers that no declaration could have made (denials, single hosts, other resources), of these
    principals or of everybody."""

    @property
    def none(self) -> bool:
        return not (self.missing or self.surplus or self.foreign)

    def lines(self) -> list[str]:
        """For people."""
        return [
            *(f"missing: {_words(rule)}" for rule in sorted(self.missing)),
            *(f"not declared: {_words(rule)}" for rule in sorted(self.surplus)),
            *(f"not declared: {text}" for text in sorted(self.foreign)),
        ]


async def difference(settings: KafkaSettings, wanted: Collection[Rule]) -> Difference:
    """Raises NotPermitted, TransientError."""
    async with _admin(settings) as admin:
        return await _difference(admin, wanted)


async def apply(settings: KafkaSettings, wanted: Collection[Rule]) -> Difference:
    """Create what is missing, remove what the same principals have beside it; give what was changed, and what is left
    for a person to look at. Rules of other principals stay as they are. May be repeated at any time.

    What is new comes before what is old goes: nobody is without a right in between. Raises NotPermitted and
    TransientError.
    """
    async with _admin(settings) as admin:
        found = await _difference(admin, wanted)
        if found.missing:
            answer = await _send(admin, _Message(CreateAclsRequest_v1, [_fields(rule) for rule in found.missing]))
            for code, message in answer.creation_responses:
                _raise_for(code, message)
        if found.surplus:
            answer = await _send(admin, _Message(DeleteAclsRequest_v1, [_fields(rule) for rule in found.surplus]))
            for code, message, _ in answer.filter_responses:
                _raise_for(code, message)
    return found


async def _difference(admin: AIOKafkaAdminClient, wanted: Collection[Rule]) -> Difference:
    answer = await _send(admin, _Message(DescribeAclsRequest_v1, ANY, None, ANY, None, None, ANY, ANY))
    _raise_for(answer.error_code, answer.error_message)
    principals = {rule.principal for rule in wanted}
    held: set[Rule] = set()
    foreign: list[str] = []
    for resource, name, pattern, entries in answer.resources:
        for principal, host, operation, permission in entries:
            bare = principal.removeprefix(_USER)
            if bare not in principals | {"*"}:
                continue
            plain = host == ANY_HOST and permission == ALLOW and pattern in (LITERAL, PREFIXED) and bare != "*"
            if plain and resource in _RESOURCE_OF and operation in _OPERATION_OF:
                grant = Grant(_RESOURCE_OF[resource], name, _OPERATION_OF[operation], pattern == PREFIXED)
                held.add(Rule(bare, grant))
            else:
                foreign.append(
                    f"{principal} from {host}: operation {operation}, permission {permission}, on resource "
                    f"{resource} {name}"
                )
    return Difference(set(wanted) - held, held - set(wanted), foreign)


def _fields(rule: Rule) -> tuple[Any, ...]:
    """Of a creation, and of a filter that fits that one rule only."""
    grant = rule.grant
    return (
        *(RESOURCES[grant.resource], grant.name, PREFIXED if grant.prefixed else LITERAL),
        *(f"{_USER}{rule.principal}", ANY_HOST, OPERATIONS[grant.operation], ALLOW),
    )


def _words(rule: Rule) -> str:
    grant = rule.grant
    return f"{rule.principal}: {grant.operation} {grant.resource.lower()} {grant.name}{'*' if grant.prefixed else ''}"


def _raise_for(code: int, message: str | None) -> None:
    if code:
        raise NotPermitted(f"{for_code(code).__name__}: {message}")


async def _send(admin: AIOKafkaAdminClient, message: _Message) -> Any:
    return await admin._send_request(message)


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    try:
        async with admin_client(settings) as admin:
            yield admin
    except (KafkaError, OSError) as error:
        raise TransientError(f"brokers at {settings.bootstrap_servers}: {error!r}") from error


class AclSettings(ServiceSettings):
    kafka: KafkaSettings = KafkaSettings()


async def _run(command: str, wanted: Collection[Rule], settings: AclSettings) -> None:
    if command == "apply":
        found = await apply(settings.kafka, wanted)
        _say([f"{len(found.missing)} rules created, {len(found.surplus)} removed"])
        _say(Difference(foreign=found.foreign).lines())
        return
    found = await difference(settings.kafka, wanted)
    _say(found.lines())
    if not found.none:
        raise SystemExit(process.EXIT_FAILED)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.kafka.acls", description="Who may do what at the brokers")
    parser.add_argument("command", choices=["apply", "check", "print"])
    parser.add_argument(
        "--also", metavar="NAME=ROLE", action="append", default=[], help=f"one more: {', '.join(sorted(ROLES))}"
    )
    arguments = parser.parse_args()
    try:
        wanted = rules({**OURS, **dict(named(text) for text in arguments.also)})
    except ValueError as error:
        parser.error(str(error))
    if arguments.command == "print":
        _say(commands(wanted))
        return
    settings = load_settings(AclSettings)
    logging.configure("acls", settings.log.level, settings.log.format)
    try:
        asyncio.run(_run(arguments.command, wanted, settings))
    except (GaveUp, TransientError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(process.EXIT_FAILED) from None


if __name__ == "__main__":
    main()
