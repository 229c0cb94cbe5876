"""What a server's address says about it."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """For store authors: tell whether a host is this machine, so that nobody can listen."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
