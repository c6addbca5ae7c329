"""Its URLs: none."""

urlpatterns: list[object] = []
