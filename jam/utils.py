"""`generate_aes_key` under the specification's path."""

from jam_core.codec import generate_aes_key

__all__ = ["generate_aes_key"]
