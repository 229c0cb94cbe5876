"""The application for INSTALLED_APPS."""

from django.apps import AppConfig
from django.core.checks import register


class JamConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """Brings the system check and `clearsessions`."""

    name = "jam_web.django"
    label = "jam_web"

    def ready(self) -> None:
        """Have `manage.py check` look at the settings of the sessions."""
        from jam_web.django.checks import check_settings

        register(check_settings)
