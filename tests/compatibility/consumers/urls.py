"""The admin, and the dashboard of django-taskly."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("taskly/", include("django_taskly.urls"))]
