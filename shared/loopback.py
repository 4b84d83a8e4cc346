"""This machine, as an address."""

from __future__ import annotations

import ipaddress


def is_loopback(address: str) -> bool:
    """Whether it is an address by which only this machine is reached; not for a name."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
