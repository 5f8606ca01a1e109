"""Projects, people and data, for those who run them."""

from __future__ import annotations

from assay.collect.routing import Route

ROUTES: tuple[Route, ...] = ()
