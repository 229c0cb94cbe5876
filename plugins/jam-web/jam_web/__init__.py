"""Jam's sessions in web frameworks.

Adapters: `jam_web.asgi`, `jam_web.fastapi`, `jam_web.flask`, `jam_web.django`; each imports its
framework only. Here is what they share; `jam_web.state` says how to write another.
"""

from jam_web.cookies import private_cache_control
from jam_web.driving import finish
from jam_web.session import AsyncSession, Flash, Session, WebSession
from jam_web.settings import WebOptions, WebSettings
from jam_web.state import Device, SessionState, WebSessions

__all__ = [
    "AsyncSession",
    "Device",
    "Flash",
    "Session",
    "SessionState",
    "WebOptions",
    "WebSession",
    "WebSessions",
    "WebSettings",
    "finish",
    "private_cache_control",
]
