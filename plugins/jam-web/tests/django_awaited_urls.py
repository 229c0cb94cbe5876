"""The same requests, by views that await."""

from django.urls import path

from .django_project import awaited_endpoint, plain

urlpatterns = [path("", awaited_endpoint), path("plain", plain)]
