"""Who may do what at the brokers: declared once, for every topic and group. No client.

What the topics declare (written by, read by) is granted as it stands; what the services need beside it stands here,
each with its reason. Everything else is refused: the brokers know no right but these (StandardAuthorizer, nothing
allowed to whom no rule is about).

A role is what a rule is written for; a principal is a user of the brokers who has it. Our services' principals are
`flit-<service>`, as their consumer groups are. Outsiders have names of their own: `reporting=consumers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.contracts.topics import (
    ALL,
    DECISION_UPDATES,
    DECISIONS,
    FEATURES,
    OUTCOMES,
    TRANSACTIONS,
    Topic,
)


class Resource(StrEnum):
    """As Kafka's own tools spell them; so are operations."""

    TOPIC = "Topic"
    GROUP = "Group"


class Operation(StrEnum):
    READ = "Read"
    """Of a topic: fetch its records. Of a group: join it and commit. Both include Describe."""
    WRITE = "Write"
    """Includes Describe. An idempotent producer needs nothing beside it: brokers have asked for no right of its own
    (IdempotentWrite) since Kafka 3.0."""
    CREATE = "Create"
    DESCRIBE = "Describe"
    """Of a topic: that it is there, and where it ends. Of a group: its members and offsets."""
    ALTER_CONFIGS = "AlterConfigs"
    DESCRIBE_CONFIGS = "DescribeConfigs"


OUR_PREFIX = "flit-"
"""Of our principals and consumer groups. No outsider's name begins so."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Without dots: with one, a name's groups could be another name's."""


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """A right, without saying whose."""

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False
    """Whether `name` is only what names begin with."""


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """A right of one principal: an ACL of the brokers that allows, from any host."""

    principal: str
    """Without `User:`."""
    grant: Grant


def _on(operation: Operation, *topics: Topic) -> set[Grant]:
    return {Grant(Resource.TOPIC, topic.name, operation) for topic in topics}


def _groups(operation: Operation, *services: str) -> set[Grant]:
    return {Grant(Resource.GROUP, f"{OUR_PREFIX}{service}", operation) for service in services}


_BESIDE: dict[str, set[Grant]] = {
    # Days of history that the topics hold already aren't sent again.
    "ingestor": _on(Operation.READ, TRANSACTIONS, OUTCOMES),
    "features": {
        # A record in a partition that isn't its key's is sent again to the right one.
        *_on(Operation.WRITE, TRANSACTIONS, OUTCOMES),
        # A rebuild learns from its own vectors how far their effects had come.
        *_on(Operation.READ, FEATURES),
        *_groups(Operation.READ, "features"),
        # And from what the sink has committed how far the warehouse goes, where retention has taken records.
        *_groups(Operation.DESCRIBE, "sink"),
    },
    "scorer": {
        # Claims and accounts that Redis lost are restored from there.
        *_on(Operation.READ, DECISIONS, DECISION_UPDATES),
        # It says so where decisions are kept for less than claims live, or vectors for longer.
        *_on(Operation.DESCRIBE_CONFIGS, DECISIONS, FEATURES),
        *_groups(Operation.READ, "scorer"),
    },
    "sink": _groups(Operation.READ, "sink"),
    "trainer": _groups(Operation.READ, "trainer"),
    # Its audit reads everything, outside of any group, and compares with what the groups have committed.
    "ledger": {*_on(Operation.READ, *ALL), *_groups(Operation.DESCRIBE, "features", "scorer", "sink")},
    "operators": {
        # Dead letters are replayed to where their records lay.
        *_on(Operation.WRITE, TRANSACTIONS, OUTCOMES, FEATURES),
        # An erasure, a reconciliation and a repair look for records everywhere, and at what the sink has done.
        *_on(Operation.READ, *ALL),
        *_groups(Operation.DESCRIBE, "features", "scorer", "sink"),
    },
    # Creates the topics and sets what is declared of them. It can't apply these rules: who can, can do everything.
    "deployer": {
        *_on(Operation.CREATE, *ALL),
        *_on(Operation.DESCRIBE, *ALL),
        *_on(Operation.DESCRIBE_CONFIGS, *ALL),
        *_on(Operation.ALTER_CONFIGS, *ALL),
    },
}

ROLES: tuple[str, ...] = tuple(
    dict.fromkeys([role for topic in ALL for role in (*topic.written_by, *topic.read_by)] + list(_BESIDE))
)

OUTSIDE = frozenset({"producers", "repayment system", "consumers", "case management"})
"""Roles of other people's systems, of which there may be several or none: they are granted by name."""

OURS: dict[str, str] = {f"{OUR_PREFIX}{role}": role for role in ROLES if role not in OUTSIDE}
"""Principal → role, of what belongs to Flit Risk itself."""


def grants_of(role: str, principal: str) -> frozenset[Grant]:
    """All rights of a role. Raises KeyError for one that nobody declared."""
    if role not in ROLES:
        raise KeyError(role)
    written = [topic for topic in ALL if role in topic.written_by]
    read = [topic for topic in ALL if role in topic.read_by]
    found = {*_on(Operation.WRITE, *written), *_on(Operation.READ, *read), *_BESIDE.get(role, ())}
    if role in OUTSIDE and read:
        # Downstream systems name their groups themselves, within what is theirs: `reporting`, `reporting.hourly`.
        found.add(Grant(Resource.GROUP, principal, Operation.READ))
        found.add(Grant(Resource.GROUP, f"{principal}.", Operation.READ, prefixed=True))
    return frozenset(found)


def rules(principals: Mapping[str, str] = OURS) -> frozenset[Rule]:
    """Every right of these principals. `principals`: their roles."""
    return frozenset(Rule(name, grant) for name, role in principals.items() for grant in grants_of(role, name))


def named(text: str) -> tuple[str, str]:
    """`shop-a=producers`, an outsider, or `flit-sink-b=sink`, a second principal of ours, as while one password follows
    another: the principal and its role. Raises ValueError."""
    name, _, role = text.partition("=")
    if role not in ROLES:
        raise ValueError(f"{text}: expected NAME=ROLE, of {', '.join(sorted(ROLES))}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text}: a name has 1 to 64 letters, digits, _ and -")
    if name.startswith(OUR_PREFIX) if role in OUTSIDE else not name.startswith(f"{OUR_PREFIX}{role}-"):
        raise ValueError(f"{text}: names of ours, and no others, begin with {OUR_PREFIX}<service>-")
    return name, role


def topics_of(service: str) -> list[Topic]:
    """The topics that a service has to do with, in the order of their declaration."""
    named = {grant.name for grant in grants_of(service, "") if grant.resource is Resource.TOPIC}
    return [topic for topic in ALL if topic.name in named]


def commands(wanted: Iterable[Rule]) -> list[str]:
    """The same as calls of Kafka's own `kafka-acls`, one for each principal and resource; `$KAFKA_ACLS` stands for the
    command with its --bootstrap-server and --command-config."""
    together: dict[tuple[str, Resource, str, bool], list[Operation]] = {}
    for rule in sorted(wanted):
        grant = rule.grant
        together.setdefault((rule.principal, grant.resource, grant.name, grant.prefixed), []).append(grant.operation)
    return [_command(*what, operations) for what, operations in together.items()]


def _command(principal: str, resource: Resource, name: str, prefixed: bool, operations: list[Operation]) -> str:
    pattern = " --resource-pattern-type prefixed" if prefixed else ""
    wanted = " ".join(f"--operation {operation}" for operation in operations)
    return f"$KAFKA_ACLS --add --force --allow-principal User:{principal} {wanted} --{resource.lower()} {name}{pattern}"
