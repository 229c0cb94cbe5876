"""The application's requests in Flask, each in a thread of its own, as its servers have it."""

import json
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, request, session, stream_with_context
from flask.typing import ResponseReturnValue
from jam_web import finish
from jam_web.flask import JamSessions

from jam_core import Jam

from .site import PLAN, Gates, perform, plan_of


def flask_app(gates: Gates, jam: Jam, **options: Any) -> Flask:
    """The application in Flask."""
    app = Flask(__name__)
    JamSessions(app, jam, **options)

    @app.route("/", methods=["GET", "POST"])
    def endpoint() -> ResponseReturnValue:
        plan = plan_of({PLAN: request.headers[PLAN]})

        def results(steps: list[Any]) -> str:
            return json.dumps(finish(perform(session, steps, gates.block))) + "\n"

        before = results(plan["steps"])

        def stream() -> Iterator[str]:
            yield before
            for steps in plan["chunks"]:
                yield results(steps)

        body = stream_with_context(stream()) if plan["chunks"] else before
        return Response(body, plan["status"], plan["headers"])

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    return app
