from __future__ import annotations

import pytest

from shared.contracts.topics import ALL
from shared.kafka import grants
from shared.kafka.grants import Operation, Resource


def test_who_is_declared_to_write_or_read_a_topic_may() -> None:
    for topic in ALL:
        for operation, roles in ((Operation.WRITE, topic.written_by), (Operation.READ, topic.read_by)):
            for role in roles:
                wanted = grants.Grant(Resource.TOPIC, topic.name, operation)
                assert wanted in grants.grants_of(role, "somebody"), (role, topic.name)


def test_a_role_that_nobody_declared_has_no_rights_to_give() -> None:
    with pytest.raises(KeyError):
        grants.grants_of("intern", "flit-intern")


def test_no_right_is_for_more_than_one_name_but_a_downstream_system_s_own_groups() -> None:
    every = grants.rules({**grants.OURS, "shop": "producers", "reporting": "consumers"})
    assert {rule.grant.name for rule in every if rule.grant.prefixed} == {"reporting."}
    assert not [rule for rule in every if "*" in rule.grant.name]


@pytest.mark.parametrize(
    "text",
    [
        *("shop", "shop=scorer", "flit-scorer=producers", "=producers", "a.b=consumers", "User:x=producers"),
        *("shop=intern", "flit-sink-b=scorer", "flit-sink=sink", "sink-b=sink"),
    ],
)
def test_nobody_gets_a_name_or_a_role_of_ours_that_is_not_his(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected NAME=ROLE|a name has|names of ours"):
        grants.named(text)


def test_a_second_principal_has_the_rights_of_the_first() -> None:
    name, role = grants.named("flit-sink-b=sink")
    assert grants.grants_of(role, name) == grants.grants_of("sink", "flit-sink")


def test_the_printed_commands_say_what_the_rules_say() -> None:
    every = grants.rules({**grants.OURS, "reporting": "consumers"})
    said = set()
    for line in grants.commands(every):
        words = line.split()
        principal = words[words.index("--allow-principal") + 1].removeprefix("User:")
        kind = next(word for word in words if word in ("--topic", "--group"))
        name, prefixed = words[words.index(kind) + 1], "prefixed" in words
        for place, word in enumerate(words):
            if word == "--operation":
                grant = grants.Grant(Resource(kind[2:].title()), name, Operation(words[place + 1]), prefixed)
                said.add(grants.Rule(principal, grant))
    assert said == every
