"""Views that use Django's own applications, plain and awaited."""

from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.auth import alogin, alogout, get_user_model, login, logout
from django.contrib.auth import update_session_auth_hash as keep_logged_in
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path


def named(name: str) -> Any:
    user = get_user_model().objects.get(username=name)
    user.backend = "django.contrib.auth.backends.ModelBackend"
    return user


def put(request: HttpRequest, key: str, value: str) -> HttpResponse:
    request.session[key] = value
    return HttpResponse()


def nest(request: HttpRequest) -> HttpResponse:
    request.session.setdefault("cart", {}).setdefault("items", []).append("jam")
    return HttpResponse()


def who(request: HttpRequest) -> HttpResponse:
    data = {key: value for key, value in request.session.items() if not key.startswith("_auth")}
    return JsonResponse({"user": request.user.username, "data": data})


def log_in(request: HttpRequest, name: str) -> HttpResponse:
    login(request, named(name))
    return HttpResponse()


def log_in_and_fail(request: HttpRequest, name: str) -> HttpResponse:
    login(request, named(name))
    request.session["late"] = True
    return HttpResponse(status=500)


def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


def new_password(request: HttpRequest) -> HttpResponse:
    request.user.set_password("new")
    request.user.save()
    keep_logged_in(request, request.user)
    return HttpResponse()


def say(request: HttpRequest) -> HttpResponse:
    messages.info(request, "Saved")
    return HttpResponse()


def hear(request: HttpRequest) -> HttpResponse:
    return JsonResponse([str(one) for one in messages.get_messages(request)], safe=False)


EXPIRIES = {
    "closed": 0,
    "none": None,
    "hour": 3600,
    "at": timedelta(seconds=500),
}


def expire(request: HttpRequest, how: str) -> HttpResponse:
    request.session.set_expiry(EXPIRIES[how])
    return HttpResponse()


def devices(request: HttpRequest) -> HttpResponse:
    found = request.session.devices()
    return JsonResponse([[one.handle, one.is_this] for one in found], safe=False)


def revoke(request: HttpRequest, handle: str) -> HttpResponse:
    return JsonResponse(request.session.revoke(handle), safe=False)


def log_others_out(request: HttpRequest) -> HttpResponse:
    return JsonResponse(request.session.logout_others(), safe=False)


def cannot_be_stored(request: HttpRequest) -> HttpResponse:
    login(request, named("ann"))
    request.session["when"] = timedelta(1)
    return HttpResponse()


async def awaited_who(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    items = await request.session.aitems()
    data = {key: value for key, value in items if not key.startswith("_auth")}
    return JsonResponse({"user": user.username, "data": data})


async def awaited_put(request: HttpRequest, key: str, value: str) -> HttpResponse:
    await request.session.aset(key, value)
    return HttpResponse()


async def awaited_log_in(request: HttpRequest, name: str) -> HttpResponse:
    user = await get_user_model().objects.aget(username=name)
    await alogin(request, user, "django.contrib.auth.backends.ModelBackend")
    return HttpResponse(request.session.session_key)


async def awaited_log_out(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return HttpResponse()


async def awaited_powers(request: HttpRequest) -> HttpResponse:
    session = request.session
    count = await session.alogout_others()
    (this,) = await session.adevices()
    await session.aset_expiry(3600)
    await session.arotate()
    lives = await session.areload()
    return JsonResponse([count, this.is_this, lives, await session.arevoke("no")], safe=False)


async def blocking(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.session.get("a"))


def awaiting_in_a_thread(request: HttpRequest) -> HttpResponse:
    async_to_sync(request.session.aset)("b", "2")
    return HttpResponse(request.session["b"])


urlpatterns = [
    path("admin/", admin.site.urls),
    path("put/<key>/<value>", put),
    path("nest", nest),
    path("who", who),
    path("login/<name>", log_in),
    path("fail/<name>", log_in_and_fail),
    path("logout", log_out),
    path("password", new_password),
    path("say", say),
    path("hear", hear),
    path("expire/<how>", expire),
    path("devices", devices),
    path("revoke/<handle>", revoke),
    path("others", log_others_out),
    path("wrong", cannot_be_stored),
    path("awaited/who", awaited_who),
    path("awaited/put/<key>/<value>", awaited_put),
    path("awaited/login/<name>", awaited_log_in),
    path("awaited/logout", awaited_log_out),
    path("awaited/powers", awaited_powers),
    path("blocking", blocking),
    path("mixed", awaiting_in_a_thread),
]
