"""What the address of a server says of it."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """For store authors: tell whether a host is this one, so that nobody listens in between."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
