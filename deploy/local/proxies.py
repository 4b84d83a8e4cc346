"""This machine's own ports are reached directly, also where a proxy leads to the rest of the world."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.local.ports import LOOPBACK

HERE = (LOOPBACK, "localhost")
NAMES = ("NO_PROXY", "no_proxy")
"""Most clients read both and prefer the small one; gRPC reads that one alone."""


def around_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """What an environment needs beside its own, so that no client asks a proxy for this machine. Empty where none is
    set: on a Mac, a list of exceptions alone makes Python overlook the system's own proxies."""
    if not any(value and name.lower().endswith("_proxy") for name, value in environment.items() if name not in NAMES):
        return {}
    needed = {}
    for name, other in (NAMES, NAMES[::-1]):
        kept = environment.get(name, environment.get(other, ""))
        hosts = [host.strip() for host in kept.split(",") if host.strip()]
        # With anything beside it, the star is no longer one.
        needed[name] = kept if "*" in hosts else ",".join([*hosts, *(host for host in HERE if host not in hosts)])
    return needed
