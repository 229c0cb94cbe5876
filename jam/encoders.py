"""Serializers: `jam_core.encoders` under the specification's path."""

from jam_core.encoders import BaseEncoder, JsonEncoder, MsgspecJsonEncoder

__all__ = ["BaseEncoder", "JsonEncoder", "MsgspecJsonEncoder"]
