"""The examples of web frameworks under their servers, as browsers use them."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from jam_testing import time_limit

from tests.isolated import ROOT
from tests.serving import Browser, free_port, served

COOKIE, VISITOR = "__Host-session", "__Host-visitor"
WORKERS = "3"
GUNICORN = ["gunicorn", "-w", WORKERS, "-b", "127.0.0.1:{port}"]
UWSGI = ["uwsgi", "--http-socket", "127.0.0.1:{port}", "--master", "--need-app", "--die-on-term"]
UWSGI += ["--processes", WORKERS, "--module"]
UVICORN = ["uvicorn", "--port", "{port}", "--workers", WORKERS]
SERVERS = {
    "flask run": ["flask", "--app", "flask_app", "run", "-p", "{port}"],
    "flask, gunicorn": [*GUNICORN, "flask_app:app"],
    "flask, gunicorn --preload": [*GUNICORN, "--preload", "-k", "gthread", "flask_app:app"],
    "flask, uwsgi": [*UWSGI, "flask_app:app"],
    "django, runserver": ["python", "django_app.py", "runserver", "--noreload", "{port}"],
    "django, gunicorn": [*GUNICORN, "django_app:application"],
    "django, uwsgi": [*UWSGI, "django_app:application"],
    "django, uvicorn": [*UVICORN, "django_app:asgi"],
    "fastapi, uvicorn": [*UVICORN, "fastapi_app:app"],
}
BY_DEFAULT = ("flask, gunicorn",)


@pytest.fixture(
    params=[
        pytest.param(name, marks=[] if name in BY_DEFAULT else pytest.mark.exhaustive)
        for name in SERVERS
    ]
)
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """Where a server serves an example."""
    port, programs = free_port(), Path(sys.executable).parent
    command = [part.format(port=port) for part in SERVERS[request.param]]
    if not (programs / command[0]).exists():
        pytest.skip(f"{command[0]} is not installed")
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
    }
    environment.pop("JAM_CONFIG", None)
    for name in ("flask_app.py", "django_app.py", "fastapi_app.py"):
        (tmp_path / name).write_text((ROOT / "examples" / name).read_text())
    if request.param.startswith("django"):
        set_up = "import django_app; from django.core.management import call_command as call; "
        set_up += "call('check'); call('migrate', verbosity=0); "
        set_up += "from django.contrib.auth.models import User; "
        set_up += "User.objects.create_user('ann', password='strawberry')"
        subprocess.run([sys.executable, "-c", set_up], cwd=tmp_path, env=environment, check=True)
    with served(command, port, tmp_path, environment):
        yield port


def test_two_devices_of_a_user(port: int) -> None:
    phone, laptop = Browser(port, "phone"), Browser(port, "laptop")
    assert phone.cookies.keys() == {"__Host-csrf"}
    phone.submit("/cart", item="<jam>")
    phone.submit("/cart", item="bread")
    phone.submit("/login", user="ann", password="wrong")
    assert "do not belong together" in phone.page
    assert COOKIE not in phone.cookies
    planted = phone.cookies[VISITOR]
    phone.log_in()
    assert "Hello ann" in phone.page
    assert "<li><jam><li>bread" in phone.page
    assert VISITOR not in phone.cookies
    attacker = Browser(port, "attacker")
    attacker.cookies |= {VISITOR: planted, COOKIE: planted}
    assert "bread" not in attacker.get("/").text
    laptop.log_in(remember="on")
    assert "phone" in laptop.page
    assert "laptop (this one)" in laptop.page
    with ThreadPoolExecutor(8) as clients:
        pages = [clients.submit(one.get, "/") for one in [phone, laptop] * 20]
        names = [re.findall(r"(\w+) \(this one\)", page.result().text) for page in pages]
        assert names == [["phone"], ["laptop"]] * 20
    phone.page = phone.get("/").text
    phone.submit("/everywhere")
    assert "Remember me" in phone.page
    assert "Remember me" in laptop.get("/").text


@pytest.mark.exhaustive
def test_a_reload_logs_nobody_out(tmp_path: Path) -> None:
    port, application = free_port(), tmp_path / "fastapi_app.py"
    application.write_text((ROOT / "examples" / "fastapi_app.py").read_text())
    command = [sys.executable, "-m", "uvicorn", "fastapi_app:app", "--reload", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "JAM_CONFIG"}
    with served(command, port, tmp_path, environment):
        browser = Browser(port, "phone")
        browser.submit("/cart", item="bread")
        browser.log_in()
        application.write_text(application.read_text().replace("Everywhere", "On all devices"))
        with time_limit(60, "the reload"):
            while "On all devices" not in (page := browser.get("/").text):
                assert "Everywhere" in page, "logged in"
                time.sleep(0.05)
        assert "bread" in page
        browser.page = page
        browser.submit("/cart", item="jam")
        assert "jam" in browser.page
