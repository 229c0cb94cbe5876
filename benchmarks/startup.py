"""What it takes to be ready: time and memory of fresh interpreters, one after the other in turn."""

import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from benchmarks.places import MissingError, open_place

# The memory is read where it is the interpreter's own: what getrusage says may be the parent's.
_PROGRAM = """\
import sys, time
sys.path[:0] = {paths!r}
begin = time.perf_counter()
{statements}
took = time.perf_counter() - begin
try:
    lines = open("/proc/self/status").read().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
except OSError:
    import resource
    unit = 1024 if sys.platform == "darwin" else 1
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
print(took, kib)
"""

_JAM = "from jam import Jam; Jam({{'session': {{{options}}}}}).session_get('nobody')"
_JAMLIB = "from jam import Jam; Jam(config={{'session': {{{options}}}}}).session.get('nobody')"
_DJANGO = """\
import django
from django.conf import settings
settings.configure(SECRET_KEY='x' * 60, INSTALLED_APPS=['django.contrib.sessions'], {options})
django.setup()
from django.contrib.sessions.backends.{backend} import SessionStore
"""
_DJANGO_TABLE = """\
from django.contrib.sessions.models import Session
from django.db import connection
with connection.schema_editor() as editor: editor.create_model(Session)
"""
_FLASK = "from flask import Flask; from flask_session.{module} import {name}; "

# What is measured: label -> statements. {directory} and {url} are filled in.
PROGRAMS = {
    "nothing": "pass",
    "import pluggy": "import pluggy",
    "import jam": "import jam",
    "from jam import Jam": "from jam import Jam",
    "jamlib: import jam": "import jam",
    "jamlib: from jam import Jam": "from jam import Jam",
    "Jam, JSON document": _JAM.format(
        options="'session_type': 'json', 'json_path': '{directory}/sessions.json'"
    ),
    "Jam, JSON directory": _JAM.format(
        options="'session_type': 'json', 'json_path': '{directory}/sessions'"
    ),
    "jamlib, JSON": _JAMLIB.format(
        options="'type': 'json', 'json_path': '{directory}/jamlib.json'"
    ),
    "cachelib, files": "from cachelib import FileSystemCache; "
    "FileSystemCache('{directory}/cachelib').get('nobody')",
    "Flask-Session, cachelib files": "from cachelib import FileSystemCache; "
    + _FLASK.format(module="cachelib", name="CacheLibSessionInterface")
    + "cache = FileSystemCache('{directory}/flask'); "
    "CacheLibSessionInterface(Flask('x'), cache)._retrieve_session_data('nobody')",
    "Django, files": _DJANGO.format(options="SESSION_FILE_PATH='{directory}'", backend="file")
    + "SessionStore('n' * 32).load()",
    "import redis": "import redis",
    "Jam, Redis": _JAM.format(options="'session_type': 'redis', 'redis_uri': '{url}'"),
    "jamlib, Redis": _JAMLIB.format(options="'type': 'redis', 'redis_uri': '{url}'"),
    "cachelib, Redis": "from cachelib import RedisCache; from redis import Redis; "
    "RedisCache(Redis.from_url('{url}')).get('nobody')",
    "Flask-Session, Redis": "from redis import Redis; "
    + _FLASK.format(module="redis", name="RedisSessionInterface")
    + "RedisSessionInterface(Flask('x'), Redis.from_url('{url}'))._retrieve_session_data('n')",
    "starsessions, Redis": "import asyncio; from redis.asyncio import Redis; "
    "from starsessions.stores.redis import RedisStore; "
    "asyncio.run(RedisStore(connection=Redis.from_url('{url}')).read('nobody', 60))",
    "import sqlalchemy": "import sqlalchemy",
    "Jam, SQLAlchemy on SQLite": _JAM.format(
        options="'session_type': 'sqlalchemy', 'database_uri': 'sqlite:///{directory}/jam.db'"
    ),
    "Flask-Session, SQLAlchemy on SQLite": (
        "from flask_sqlalchemy import SQLAlchemy; "
        + _FLASK.format(module="sqlalchemy", name="SqlAlchemySessionInterface")
        + "app = Flask('x'); "
        "app.config['SQLALCHEMY_DATABASE_URI'] = 'sqlite:///{directory}/flask.db'; "
        "app.app_context().push(); "
        "SqlAlchemySessionInterface(app, SQLAlchemy(app))._retrieve_session_data('nobody')"
    ),
    "Django, database on SQLite": _DJANGO.format(
        options="DATABASES=dict(default=dict(ENGINE='django.db.backends.sqlite3', "
        "NAME='{directory}/django.db'))",
        backend="db",
    )
    + _DJANGO_TABLE
    + "SessionStore('n' * 32).load()",
}


class Startup(NamedTuple):
    """What was measured: the median time of the statements, and of the peak of memory."""

    label: str
    milliseconds: float
    mebibytes: float
    failure: str = ""


def measure_startup(repeats: int) -> list[Startup]:
    """Run every program so many times, each time in another order."""
    try:
        with open_place("redis", {}) as place:
            return list(_measure(repeats, place.url))
    except MissingError:
        return list(_measure(repeats, ""))


def _measure(repeats: int, url: str) -> Iterator[Startup]:
    runs: dict[str, list[tuple[float, float]]] = {label: [] for label in PROGRAMS}
    failures: dict[str, str] = {}
    order = list(PROGRAMS)
    chance = random.Random(3)
    for repeat in range(repeats + 1):
        chance.shuffle(order)
        for label in order:
            try:
                run = _run(label, url)
            except subprocess.CalledProcessError as error:
                failures[label] = error.stderr.strip().splitlines()[-1]
            except metadata.PackageNotFoundError as error:
                failures[label] = f"not installed ({error.name})"
            else:
                if repeat:  # the first run writes the bytecode caches
                    runs[label].append(run)
    for label, figures in runs.items():
        if label in failures:
            yield Startup(label, 0, 0, failures[label])
        else:
            times, memory = zip(*figures, strict=True)
            yield Startup(label, statistics.median(times) * 1e3, statistics.median(memory) / 1024)


def _run(label: str, url: str) -> tuple[float, float]:
    """Return seconds and kibibytes of a program in a fresh interpreter and directory."""
    with tempfile.TemporaryDirectory(prefix="jam-benchmark-") as directory:
        statements = PROGRAMS[label].replace("{directory}", directory).replace("{url}", url)
        program = _PROGRAM.format(paths=[_root_of(label)], statements=statements)
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=directory,
            env=_environment(),
        )
    seconds, kibibytes = done.stdout.split()
    return float(seconds), float(kibibytes)


def _environment() -> dict[str, str]:
    # What is installed from a source tree has no bytecode yet, what pip installed has.
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _root_of(label: str) -> str:
    """Return where the package `jam` is that a program means: jamlib's has the same name."""
    if label.startswith("jamlib"):
        return str(metadata.distribution("jamlib").locate_file(""))
    import jam_core

    return str(Path(jam_core.__file__).parents[1])
